"""Exact results on Gaussian distributions and their mixtures."""
