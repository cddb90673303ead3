"""Unsupervised disentanglement of linear-encoded facial semantics, in functional JAX."""

from facesem_jax.direction_files import load_directions
from facesem_jax.errors import FacesemError
from facesem_jax.loading import load_crop, load_decomposer, load_encoder, load_generator

__all__ = [
    "FacesemError",
    "load_crop",
    "load_decomposer",
    "load_directions",
    "load_encoder",
    "load_generator",
]
