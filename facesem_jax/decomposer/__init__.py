"""The semantic decomposer: image -> view, light, depth, albedo (Unsup3D), and its renderer."""

from facesem_jax.decomposer.config import DecomposerConfig
from facesem_jax.decomposer.crop import CROPS, CropBox, crop_and_resize
from facesem_jax.decomposer.decomposer import Decomposer, Decomposition

__all__ = [
    "CROPS",
    "CropBox",
    "Decomposer",
    "DecomposerConfig",
    "Decomposition",
    "crop_and_resize",
]
