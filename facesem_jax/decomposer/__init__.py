"""The semantic decomposer: image -> view, light, depth, albedo (Unsup3D), and its renderer."""

from facesem_jax.decomposer.config import DecomposerConfig
from facesem_jax.decomposer.decomposer import Decomposer, Decomposition

__all__ = ["Decomposer", "DecomposerConfig", "Decomposition"]
