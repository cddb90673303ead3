"""How good directions are: measures that are the same for every method that finds them."""

from facesem_jax.metrics.bootstrap import Interval, mean_interval
from facesem_jax.metrics.calibration import Calibration, calibrate
from facesem_jax.metrics.locality import CompactRegion, compact_region, share_inside
from facesem_jax.metrics.spans import explained_share, redundancy

__all__ = [
    "Calibration",
    "CompactRegion",
    "Interval",
    "calibrate",
    "compact_region",
    "explained_share",
    "mean_interval",
    "redundancy",
    "share_inside",
]
