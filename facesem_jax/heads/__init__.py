"""Heads with known truth: a linear model of shape, painted albedo, pictures from a seed."""

from facesem_jax.heads.drawing import HeadImages, HeadScene, canonical_vertices, draw_heads
from facesem_jax.heads.model import HeadModel, Regions, head_vertices, load_heads, vertex_normals
from facesem_jax.heads.painting import Paint, hair_weight, paint_albedo
from facesem_jax.heads.sampling import HeadParameters, HeadSampling, sample_heads

__all__ = [
    "HeadImages",
    "HeadModel",
    "HeadParameters",
    "HeadSampling",
    "HeadScene",
    "Paint",
    "Regions",
    "canonical_vertices",
    "draw_heads",
    "hair_weight",
    "head_vertices",
    "load_heads",
    "paint_albedo",
    "sample_heads",
    "vertex_normals",
]
