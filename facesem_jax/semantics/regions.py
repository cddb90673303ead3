"""Names for U maps: which part of the face a component acts on.

**Left and right are the subject's own, as anatomy has it: the left eye is on the right-hand side of
the image.** Coordinates are fractions of the canonical frame, x to the right, y downwards.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from facesem_jax.checks import check_shape
from facesem_jax.errors import FacesemError

DEAD = "dead"
"""The name of a map that is zero everywhere."""
BROAD = "face"
"""The name of a map of which no region holds a fair share."""


@dataclass(frozen=True)
class Anchors:
    """Where the face's parts lie in the canonical frame, as (x, y) fractions of its size.

    The defaults were read off the bundled decomposer's mean albedo, a frontal face cropped tightly.
    ``left`` is the subject's left, so its x is the larger one.
    """

    eye_right: tuple[float, float] = (0.35, 0.42)
    eye_left: tuple[float, float] = (0.65, 0.42)
    brow_right: tuple[float, float] = (0.34, 0.33)
    brow_left: tuple[float, float] = (0.66, 0.33)
    nose_tip: tuple[float, float] = (0.50, 0.66)
    mouth: tuple[float, float] = (0.50, 0.87)
    chin: tuple[float, float] = (0.50, 0.98)


class Region(NamedTuple):
    """A soft region: an axis-aligned Gaussian of height 1, in fractions of the frame."""

    x: float
    y: float
    sigma_x: float
    sigma_y: float


class RegionName(NamedTuple):
    """The name of a map.

    Attributes:
      name: A region, its plural where both sides are active, "face" or "dead".
      confidence: The share of the map's energy that lies in the best region, in [0, 1].
      shares: The share of every region; they sum to 1 (0 for a dead map).
    """

    name: str
    confidence: float
    shares: dict[str, float]


def default_regions(anchors: Anchors = Anchors()) -> dict[str, Region]:
    """The regions that a few anchors imply.

    Sizes are multiples of the distance between the eyes (across) and from the eyes to the mouth
    (down), so that the atlas follows a frame that is cropped otherwise.

    Raises:
      FacesemError: If an anchor is outside the frame, the left parts are not to the right of the
        right ones in the image, or brows, eyes, nose, mouth, chin are not in this order downwards.
    """
    points = {f.name: np.asarray(getattr(anchors, f.name), float) for f in fields(anchors)}
    for name, point in points.items():
        if point.shape != (2,) or not np.all((point >= 0) & (point <= 1)):
            raise FacesemError(f"Anchor {name} is {tuple(point)}; expected (x, y) within [0, 1].")
    if points["eye_left"][0] <= points["eye_right"][0]:
        raise FacesemError(
            "eye_left must have the larger x: left is the subject's own left, "
            "on the right-hand side of the image."
        )
    eyes = (points["eye_left"] + points["eye_right"]) / 2
    brows = (points["brow_left"] + points["brow_right"]) / 2
    nose, mouth, chin = points["nose_tip"], points["mouth"], points["chin"]
    heights = [brows[1], eyes[1], nose[1], mouth[1], chin[1]]
    if np.any(np.diff(heights) <= 0):
        raise FacesemError("Anchors must go down the face: brows, eyes, nose_tip, mouth, chin.")
    across = points["eye_left"][0] - points["eye_right"][0]
    down = mouth[1] - eyes[1]

    def region(point, sigma_x, sigma_y, offset=(0.0, 0.0)):
        x, y = point[0] + offset[0] * across, point[1] + offset[1] * down
        return Region(float(x), float(y), sigma_x * across, sigma_y * down)

    regions = {
        "forehead": region(brows, 0.5, 0.2, (0, -0.45)),
        "nose": region(nose, 0.18, 0.26, (0, -0.15)),
        "philtrum": region((nose + mouth) / 2, 0.15, 0.09, (0, 0.04)),
        "mouth": region(mouth, 0.3, 0.13),
        "chin": region(chin, 0.35, 0.14),
    }
    edges = {"left": 1.0, "right": 0.0}
    for side, sign in (("left", 1), ("right", -1)):
        eye, brow, edge = points[f"eye_{side}"], points[f"brow_{side}"], edges[side]
        regions |= {
            f"{side} eye": region(eye, 0.25, 0.15),
            f"{side} brow": region(brow, 0.27, 0.11),
            f"{side} cheek": region((eye[0], nose[1]), 0.25, 0.2, (sign * 0.1, 0.08)),
            f"{side} jaw corner": region((eye[0], chin[1]), 0.25, 0.2, (sign * 0.2, -0.1)),
            f"{side} temple": region((edge, brows[1]), 0.2, 0.2),
            f"{side} contour": region((edge, nose[1]), 0.12, 0.45),
            f"{side} upper corner": region((edge, 0.0), 0.3, 0.2),
        }
    return regions


class Atlas:
    """Soft region masks that divide the canonical frame among them.

    Every pixel is shared out in proportion to the regions' Gaussians, so the masks sum to 1
    everywhere and a map's shares sum to 1. Beside eyes, brows, nose and so on there are "temple",
    "contour" (the frame's upright edges) and "upper corner" (hair and background).

    Args:
      height: Rows of the maps.
      width: Columns of the maps.
      regions: Name to :class:`Region`; "left X" and "right X" form the pair "Xs".

    Raises:
      FacesemError: If there are no regions or a sigma is not positive.
    """

    def __init__(self, height: int = 64, width: int = 64, regions: dict[str, Region] | None = None):
        regions = default_regions() if regions is None else regions
        if not regions:
            raise FacesemError("An atlas needs at least one region.")
        for name, r in regions.items():
            if not (r.sigma_x > 0 and r.sigma_y > 0):
                raise FacesemError(f"Region {name} has a sigma that is not positive: {r}.")
        self.names = tuple(regions)
        r = np.asarray(list(regions.values()), float)[:, :, None, None]
        y = ((np.arange(height) + 0.5) / height)[:, None]
        x = ((np.arange(width) + 0.5) / width)[None, :]
        exponent = -0.5 * (((x - r[:, 0]) / r[:, 2]) ** 2 + ((y - r[:, 1]) / r[:, 3]) ** 2)
        # A softmax of the exponents: far from every region all Gaussians underflow, their ratio
        # does not.
        weights = np.exp(exponent - exponent.max(axis=0))
        self.masks: Float[np.ndarray, "regions h w"] = weights / weights.sum(axis=0)

    def shares(self, map_: Float[np.ndarray, "h w c"]) -> dict[str, float]:
        """The share of the map's energy in each region; all 0 for a dead map."""
        map_ = np.asarray(map_, float)
        check_shape("map_", map_, (*self.masks.shape[1:], None))
        peak = np.abs(map_).max()
        if not np.isfinite(peak):
            raise FacesemError("map_ has NaN or infinite entries.")
        energy = np.sum((map_ / peak) ** 2, axis=-1) if peak > 0 else np.zeros(map_.shape[:2])
        inside = np.tensordot(self.masks, energy, axes=2)
        return dict(zip(self.names, (inside / (energy.sum() or 1)).tolist(), strict=True))

    def name(
        self, map_: Float[np.ndarray, "h w c"], balance: float = 0.2, fair_share: float = 0.25
    ) -> RegionName:
        """Names a map by the region that holds most of its energy.

        Args:
          map_: One component's map (h, w, c).
          balance: A pair counts as one region ("eyes") where the weaker side has at least this
            fraction of the stronger side's energy.
          fair_share: A map whose best region holds less than this is called "face".

        Returns:
          A :class:`RegionName`.

        Raises:
          FacesemError: On a wrong shape or a non-finite entry.
        """
        shares = self.shares(map_)
        if not any(shares.values()):
            return RegionName(DEAD, 0.0, shares)
        scores = dict(shares)
        bases = dict.fromkeys(
            n.split(" ", 1)[1] for n in shares if n.startswith(("left ", "right "))
        )
        for base in bases:
            sides = [shares.get(f"{side} {base}", 0.0) for side in ("left", "right")]
            if min(sides) >= balance * max(sides) > 0:
                scores[f"{base}s"] = sum(sides)
        name = max(scores, key=scores.get)
        return RegionName(name if scores[name] >= fair_share else BROAD, scores[name], shares)


def unique_labels(names: Sequence[str]) -> list[str]:
    """Labels for commands: "left-eye-1", "mouth-1", "mouth-2", ... in the order given.

    Args:
      names: Region names in order of explained variance.
    """
    seen: Counter[str] = Counter()
    labels = []
    for name in names:
        seen[name] += 1
        labels.append(f"{name.lower().replace(' ', '-')}-{seen[name]}")
    return labels
