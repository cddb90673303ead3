"""How much of a change lies in one place."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.signal import fftconvolve

from facesem_jax.checks import check_shape
from facesem_jax.errors import FacesemError


class CompactRegion(NamedTuple):
    """The best compact region of a change.

    Attributes:
      mask: Where it is.
      share: Of the change's energy that it holds.
      area: Share of the frame that it covers: what an even change would score.
      two_sided: Whether it is a pair of discs, one the mirror image of the other.
    """

    mask: Bool[np.ndarray, "h w"]
    share: float
    area: float
    two_sided: bool


def _disc(radius: float) -> Float[np.ndarray, "k k"]:
    reach = int(np.ceil(radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return (y**2 + x**2 <= radius**2).astype(np.float64)


def compact_region(energy: Float[np.ndarray, "h w"], area: float = 0.1) -> CompactRegion:
    r"""The disc, or the pair of discs left and right, that holds most of the energy.

    A disc covers the given share of the frame. Faces have two sides, and an edit of both eyes is
    local all the same: a disc of half the area and its mirror image in the frame's upright axis
    compete with the single one, where they do not overlap. Places are searched exhaustively, with
    the disc within the frame as far as its centre is.

    Args:
      energy: Squared change per pixel, not negative.
      area: Share of the frame, between 0 and 1.

    Returns:
      The region.

    Raises:
      FacesemError: On a wrong shape, negative or not finite energy, none at all, or an area out of
        range.

    Example:
      >>> energy = np.zeros((32, 32))
      >>> energy[10, 6] = energy[10, 25] = 1.0
      >>> found = compact_region(energy)
      >>> found.two_sided, round(found.share, 6)
      (True, 1.0)
    """
    energy = np.asarray(energy, np.float64)
    check_shape("energy", energy, (None, None))
    total = energy.sum()
    if not np.isfinite(total) or total <= 0 or energy.min() < 0:
        raise FacesemError("the energy of the change is negative, not finite or zero everywhere.")
    if not 0 < area < 1:
        raise FacesemError(f"area is {area}; expected between 0 and 1.")
    height, width = energy.shape

    def inside(radius):
        return np.maximum(fftconvolve(energy, _disc(radius), mode="same"), 0)

    radius = np.sqrt(area * energy.size / np.pi)
    one = inside(radius)
    small = np.sqrt(area * energy.size / 2 / np.pi)
    pair = inside(small)
    pair = pair + pair[:, ::-1]
    # Discs whose centres are nearer than a diameter would count what lies in both twice.
    apart = np.abs(2 * np.arange(width) - (width - 1)) >= 2 * small
    pair[:, ~apart] = 0
    two_sided = bool(pair.max() > one.max())
    scores, reach = (pair, small) if two_sided else (one, radius)
    y, x = np.unravel_index(np.argmax(scores), scores.shape)
    grid_y, grid_x = np.mgrid[:height, :width]
    mask = (grid_y - y) ** 2 + (grid_x - x) ** 2 <= reach**2
    if two_sided:
        mask = mask | mask[:, ::-1]
    return CompactRegion(mask, float(energy[mask].sum() / total), float(mask.mean()), two_sided)


def share_inside(
    change: Float[np.ndarray, "n h w c"], mask: Bool[np.ndarray, "h w"]
) -> Float[np.ndarray, " n"]:
    """Share of every face's change, in energy, inside a region; NaN for no change.

    Args:
      change: Per face.
      mask: The region.

    Raises:
      FacesemError: On wrong shapes.

    Example:
      >>> change = np.ones((1, 2, 2, 3))
      >>> share_inside(change, np.array([[True, False], [False, False]]))
      array([0.25])
    """
    mask = np.asarray(mask, bool)
    check_shape("change", change, (None, *mask.shape, None))
    energy = np.sum(np.square(np.asarray(change, np.float64)), axis=-1)
    total = energy.sum(axis=(1, 2))
    return energy[:, mask].sum(axis=1) / np.where(total > 0, total, np.nan)
