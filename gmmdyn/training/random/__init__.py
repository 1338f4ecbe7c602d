"""Random numbers of compiled loops and kernels."""
