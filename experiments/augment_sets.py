"""Training sets of `experiments.augment`: what each of the four ways adds to narrow data."""

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, UInt8

from facesem_jax.errors import FacesemError
from facesem_jax.semantics.extrapolation import extrapolate, semantic_per_label
from facesem_jax.viz.pictures import rgb
from facesem_jax.viz.sheets import shrink

#: In the order of the tables.
WAYS = ("nothing", "copies", "extrapolated", "balanced")
ADDED = 2
"""Faces added to each face of the narrow set."""
_SHIFT, _BRIGHTNESS = 2, 0.1


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Faces with a label from a source that knows nothing of generator and decomposer.

    Attributes:
      images: In [-1, 1].
      latents: Their w, as the encoder sees it.
      labels: In the label's unit, 0 in the middle.
    """

    images: Float[np.ndarray, "n h w 3"]
    latents: Float[np.ndarray, "n d"]
    labels: Float[np.ndarray, " n"]

    def at(self, index) -> "Labelled":
        """Some of the faces."""
        return Labelled(self.images[index], self.latents[index], self.labels[index])


@dataclasses.dataclass(frozen=True)
class Extrapolation:
    """How faces are moved to where the data has none.

    Attributes:
      gradient: Gradient of the decomposer's semantic in W, its unit per unit of w.
      step: Move of w by one unit of that semantic, the others left where they are.
      draw: Latents to images in [-1, 1].
    """

    gradient: Float[np.ndarray, " d"]
    step: Float[np.ndarray, " d"]
    draw: Callable[[Float[np.ndarray, "n d"]], Float[np.ndarray, "n h w 3"]]


def extrapolated(
    narrow: Labelled, count: int, wide: float, way: Extrapolation, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "m h w 3"], Float[np.ndarray, " m"]]:
    """Faces of the narrow set, moved so that their labels fill the wide range evenly.

    A face with label y gets the label y' and ``w + slope (y' - y) step``: the label that is
    predicted for it, never measured.

    Args:
      narrow: The set.
      count: Faces wanted.
      wide: Labels from minus this to this.
      way: The direction.
      rng: Draws faces and labels.
    """
    slope = semantic_per_label(narrow.latents, narrow.labels, way.gradient)
    rows = rng.integers(0, len(narrow.labels), count)
    labels = rng.uniform(-wide, wide, count)
    moved = extrapolate(narrow.latents[rows], narrow.labels[rows], labels, way.step, slope)
    return way.draw(moved), labels


def copies(
    narrow: Labelled, count: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "m h w 3"], Float[np.ndarray, " m"]]:
    """Faces of the narrow set, every other one mirrored, all shifted and brightened a little."""
    rows = rng.integers(0, len(narrow.labels), count)
    images, labels = narrow.images[rows].copy(), narrow.labels[rows].copy()
    images[::2], labels[::2] = images[::2, :, ::-1], -labels[::2]
    pad = np.pad(images, ((0, 0), (_SHIFT,) * 2, (_SHIFT,) * 2, (0, 0)), mode="edge")
    height, width = images.shape[1:3]
    for i, (y, x) in enumerate(rng.integers(0, 2 * _SHIFT + 1, (count, 2))):
        images[i] = pad[i, y : y + height, x : x + width]
    # In the images' own precision: in float64 thousands of faces are copied at twice their size.
    light = rng.uniform(-_BRIGHTNESS, _BRIGHTNESS, (count, 1, 1, 1)).astype(images.dtype)
    return np.clip(images + light, -1, 1), labels


def even_rows(
    labels: Float[np.ndarray, " n"], wide: float, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Rows whose labels fill the wide range as evenly as there are faces, without repeats.

    Args:
      labels: Of all faces.
      wide: Labels from minus this to this.
      count: Rows wanted; fewer come if there are not as many.
      rng: Draws them.
    """
    edges = np.linspace(-wide, wide, 17)
    bins = [
        rng.permutation(np.flatnonzero((labels >= low) & (labels < high)))
        for low, high in itertools.pairwise(edges)
    ]
    # Round by round, one face of every bin that still has some.
    rounds = [[b[i] for b in bins if i < len(b)] for i in range(max(len(b) for b in bins))]
    return np.array([row for one in rounds for row in rng.permutation(one)][:count], int)


def training_set(
    way: str,
    rows: np.ndarray,
    pool: Labelled,
    wide: float,
    extrapolation: Extrapolation,
    seed: int,
) -> tuple[Float[np.ndarray, "m h w 3"], Float[np.ndarray, " m"]]:
    """The narrow set and what one of the `WAYS` adds to it, `ADDED` faces for each.

    Args:
      way: "nothing"; "copies"; "extrapolated"; "balanced", which adds other real faces of the
        pool, as evenly as there are, and is the ceiling.
      rows: The narrow set's, of the pool.
      pool: Real faces of all labels.
      wide: Labels from minus this to this.
      extrapolation: The direction.
      seed: Seeds what is added.

    Raises:
      FacesemError: On an unknown way.
    """
    rng = np.random.default_rng(seed)
    narrow, count = pool.at(rows), ADDED * len(rows)
    if way == "nothing":
        return narrow.images, narrow.labels
    if way == "copies":
        images, labels = copies(narrow, count, rng)
    elif way == "extrapolated":
        images, labels = extrapolated(narrow, count, wide, extrapolation, rng)
    elif way == "balanced":
        others = np.delete(np.arange(len(pool.labels)), rows)
        more = pool.at(others[even_rows(pool.labels[others], wide, count, rng)])
        images, labels = more.images, more.labels
    else:
        raise FacesemError(f"unknown way {way!r}; known are {', '.join(WAYS)}.")
    return np.concatenate([narrow.images, images]), np.concatenate([narrow.labels, labels])


def as_pixels(images: Float[np.ndarray, "n h w 3"], size: int) -> UInt8[np.ndarray, "n s s 3"]:
    """Images as the regressor reads them."""
    return rgb(np.clip(shrink(images, size), -1, 1))
