"""Means to order 1/D and fluctuations of the order parameters: the theory `finite-size`."""
