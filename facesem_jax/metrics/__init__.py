"""How good directions and generators are: measures that are the same for every method."""

from facesem_jax.laplacian_pyramid import laplacian_pyramid
from facesem_jax.metrics.bootstrap import Interval, mean_interval
from facesem_jax.metrics.calibration import Calibration, calibrate
from facesem_jax.metrics.face_network import FaceNetwork, embed_faces
from facesem_jax.metrics.kernel_distance import KernelDistance, kernel_distance, polynomial_mmd
from facesem_jax.metrics.laplacian_patches import patch_distances
from facesem_jax.metrics.linear_predictability import linear_predictability
from facesem_jax.metrics.locality import CompactRegion, compact_region, share_inside
from facesem_jax.metrics.path_length import PathLength, lerp, path_length, slerp
from facesem_jax.metrics.precision_recall import Coverage, precision_recall
from facesem_jax.metrics.spans import explained_share, redundancy

__all__ = [
    "Calibration",
    "CompactRegion",
    "Coverage",
    "FaceNetwork",
    "Interval",
    "KernelDistance",
    "PathLength",
    "calibrate",
    "compact_region",
    "embed_faces",
    "explained_share",
    "kernel_distance",
    "laplacian_pyramid",
    "lerp",
    "linear_predictability",
    "mean_interval",
    "patch_distances",
    "path_length",
    "polynomial_mmd",
    "precision_recall",
    "redundancy",
    "share_inside",
    "slerp",
]
