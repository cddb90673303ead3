"""Unsupervised disentanglement of linear-encoded facial semantics, in functional JAX."""

from typing import TYPE_CHECKING

from facesem_jax.errors import FacesemError
from facesem_jax.lazy import lazy_names

if TYPE_CHECKING:  # The same names, for editors and the documentation.
    from facesem_jax.direction_files import load_directions
    from facesem_jax.loading import load_crop, load_decomposer, load_encoder, load_generator

__all__ = [
    "FacesemError",
    "load_crop",
    "load_decomposer",
    "load_directions",
    "load_encoder",
    "load_generator",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "direction_files": ["load_directions"],
        "loading": ["load_crop", "load_decomposer", "load_encoder", "load_generator"],
    },
)
