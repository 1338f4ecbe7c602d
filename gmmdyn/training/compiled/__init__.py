"""What compiled loops and kernels share: scalar functions, random numbers, CUDA."""
