"""Unsupervised disentanglement of linear-encoded facial semantics, in functional JAX."""

__version__ = "0.1.0"
