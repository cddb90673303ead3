r"""The mean surface of many heads, from what their mean pictures show as they turn.

Carried back into the canonical frame (`facesem_jax.training.canonical_texture`), a head's picture
shows some other texture than the next head's, so single pictures say little of depth, and what they
say is drowned by errors of the view. The mean over hundreds of heads that are seen alike has
neither: on the right surface it is the same mean texture from every side, on a wrong one it lies
displaced, the farther the more they turn. The surface is fitted to that by Gauss and Newton's
method,

.. math:: \min_{c, \mu} \sum_b \sum_p w_{bp} \left\| \bar T_{bp}(d) - \mu_p \right\|^2
   + \lambda \sum_j f_j^4 c_j^2, \quad d = d_0 + \sum_j c_j \phi_j

with :math:`\bar T_{bp}` the mean over the heads of a bin b of views of what they show of point p,
:math:`w_{bp}` how many of them show it, up to a number, times :math:`1 / (1 + e_{bp}^2 / o^2)`
(Geman and McClure: outlines move over the surface, and no surface explains them), and
:math:`\phi_j` products of cosines, alike left and right, with f_j their whole waves.
"""

import dataclasses
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from facesem_jax.checks import check_shape
from facesem_jax.decomposer.camera import Intrinsics
from facesem_jax.decomposer.config import DecomposerConfig
from facesem_jax.errors import FacesemError
from facesem_jax.training.canonical_texture import (
    CanonicalPoints,
    canonical_grid,
    in_sight,
    texture_in_view,
)

#: Times that weights and mean texture are found from each other.
_REWEIGHTED = 3
#: Of a constant's stiffness, in units of f^4: a constant is not free either.
_CONSTANT = 1e-3


@dataclasses.dataclass(frozen=True)
class PooledSurfaceConfig:
    """How the mean surface is fitted.

    Attributes:
      window: Half axes (x, y) in pixels of a 64-pixel image of the points that count.
      yaw: Edges of the bins, degrees; alike on either side of 0.
      pitch: Edges of the bins, degrees.
      columns: Cosines across, of 0, 2, 4, ... half waves.
      rows: Cosines from top to bottom, of 0, 1, 2, ... half waves.
      stiffness: Lambda, a share of the data's own mean curvature.
      outlier: Error of a mean pixel, of the range [-1, 1], at which it counts half.
      shading: Weight of what light from the side says (`facesem_jax.training.pooled_shading`); 0
        for none.
      diffuse: Diffuse over ambient light, for the same.
      bent: Error of a normal's x at which it counts half.
      least: Heads from which on a bin counts fully at a point.
      rounds: Of Gauss and Newton's method.
    """

    window: tuple[float, float] = (24.0, 30.0)
    yaw: tuple[float, ...] = tuple(range(-36, 37, 8))
    pitch: tuple[float, ...] = (-15, -5, 5, 15)
    columns: int = 6
    rows: int = 9
    stiffness: float = 1e-3
    outlier: float = 0.1
    shading: float = 0.0
    diffuse: float = 1.0
    bent: float = 0.1
    least: int = 100
    rounds: int = 4

    def __post_init__(self):
        """Refuses numbers that cannot be."""
        for name in ("yaw", "pitch"):
            edges = getattr(self, name)
            if len(edges) < 2 or not all(a < b for a, b in itertools.pairwise(edges)):
                raise FacesemError(f"{name} is {edges}; expected at least two rising edges.")
        if any(a != -b for a, b in zip(self.yaw, self.yaw[::-1], strict=True)):
            raise FacesemError(f"yaw is {self.yaw}; a head and its mirror image need edges alike.")
        positive = *self.window, self.stiffness, self.outlier, self.least, self.bent
        counts = self.columns, self.rows, self.rounds
        if not all(x > 0 for x in positive) or min(counts) < 1:
            raise FacesemError(f"{self}: every number but shading and diffuse must be above 0.")
        if not (self.shading >= 0 and self.diffuse >= 0):
            raise FacesemError(f"{self}: shading and diffuse must be 0 or above.")

    @property
    def shape(self) -> tuple[int, int]:
        """Bins of yaw, and of pitch."""
        return len(self.yaw) - 1, len(self.pitch) - 1


class PooledTextures(NamedTuple):
    """Sums over the heads of each bin of views.

    Attributes:
      texture: What they show, times whether it is in sight.
      slope: Its derivative by the depth of the point, along the pixel's ray.
      seen: How many show it.
    """

    texture: Float[Array, "b m c"]
    slope: Float[Array, "b m c"]
    seen: Float[Array, "b m"]


def view_bins(view: Float[np.ndarray, "n 6"], config: PooledSurfaceConfig) -> Int[np.ndarray, " n"]:
    """The bin of each view, or one past the last where it is in none.

    Args:
      view: As in `facesem_jax.decomposer.Decomposition.view`.
      config: The edges.

    Raises:
      FacesemError: If the views have a wrong shape.
    """
    check_shape("view", view, (None, 6))
    pitch, yaw = np.degrees(np.asarray(view, np.float64)[:, :2]).T
    row, column = (np.digitize(x, e) - 1 for x, e in ((yaw, config.yaw), (pitch, config.pitch)))
    turns, nods = config.shape
    inside = (row >= 0) & (row < turns) & (column >= 0) & (column < nods)
    return np.where(inside, row * nods + column, turns * nods)


def pooled_textures(
    images: Float[Array, "n h w c"],
    view: Float[Array, "n 6"],
    bins: Int[Array, " n"],
    points: CanonicalPoints,
    config: DecomposerConfig,
    camera: Intrinsics,
    count: int,
) -> PooledTextures:
    """The sums over some heads; those of several calls add up.

    Args:
      images: From `facesem_jax.training.canonical_texture.blurred`.
      view: Theirs.
      bins: From `view_bins`.
      points: On the surface so far.
      config: Gives the centre of the rotation.
      camera: Intrinsics.
      count: Number of bins.
    """
    depth = points.position[:, 2]

    def shown(z):
        along = points.position * (z / depth)[:, None]
        return texture_in_view(images, view, points._replace(position=along), config, camera)

    texture, slope = jax.jvp(shown, (depth,), (jnp.ones_like(depth),))
    sight = in_sight(view, points)

    def total(x):
        return jax.ops.segment_sum(x, bins, count)

    return PooledTextures(
        total(texture * sight[..., None]), total(slope * sight[..., None]), total(sight)
    )


def with_mirror_images(
    pooled: PooledTextures, points: CanonicalPoints, config: PooledSurfaceConfig
) -> PooledTextures:
    """The sums over the heads and their mirror images."""
    turns, nods = config.shape

    def both(x):
        mirrored = x.reshape(turns, nods, *x.shape[1:])[::-1].reshape(x.shape)
        return x + mirrored[:, points.mirrored]

    return PooledTextures(*(both(x) for x in pooled))


class SurfaceFunctions(NamedTuple):
    """What the surface may be changed by.

    Attributes:
      maps: The functions, of unit amplitude.
      at_points: The same at the points of the textures.
      bending: ``f^4``, f in whole waves, of each.
    """

    maps: Float[np.ndarray, "k h w"]
    at_points: Float[np.ndarray, "k m"]
    bending: Float[np.ndarray, " k"]


def surface_functions(size: int, config: PooledSurfaceConfig) -> SurfaceFunctions:
    """Products of cosines, alike left and right.

    Args:
      size: Height and width of the canonical maps; even.
      config: How many, and the window.
    """
    centres = (np.arange(size) + 0.5) / size
    across = np.arange(config.columns)[:, None]
    down = np.arange(config.rows)[:, None]
    x = np.cos(2 * np.pi * across * (centres - 0.5))
    y = np.cos(np.pi * down * centres)
    maps = (x[:, None, None, :] * y[None, :, :, None]).reshape(-1, size, size)
    grid = canonical_grid(size, config.window)
    at_points = np.asarray(grid.sample(jnp.asarray(maps[..., None])))[..., 0]
    waves = (across**2 + down.T**2 / 4).reshape(-1)
    return SurfaceFunctions(maps, at_points.astype(np.float64), waves**2 + _CONSTANT)


class NormalEquations(NamedTuple):
    """Of Gauss and Newton's method: a step s has ``curvature @ s = -slope``.

    Attributes:
      curvature: Columns' products.
      slope: Their products with the errors.
      left: Root mean square of the errors, weighted.
    """

    curvature: Float[np.ndarray, "k k"]
    slope: Float[np.ndarray, " k"]
    left: float


def parallax_equations(
    pooled: PooledTextures, functions: SurfaceFunctions, config: PooledSurfaceConfig
) -> NormalEquations:
    """What the mean pictures' shifts say of the surface.

    Args:
      pooled: On the surface so far, mirror images included.
      functions: From `surface_functions`.
      config: Weights.

    Raises:
      FacesemError: If no point is seen from two sides.
    """
    texture, slope, seen = (np.asarray(x, np.float64) for x in pooled)
    heads = np.maximum(seen, 1e-9)[..., None]
    texture, slope = texture / heads, slope / heads
    share = np.minimum(seen, config.least) / config.least
    if not (np.count_nonzero(share, axis=0) > 1).any():
        raise FacesemError("no point of the surface is seen from two sides; give more heads.")
    weight, error = share, texture
    for _ in range(_REWEIGHTED):
        error = texture - _mean_texture(texture, weight)
        weight = share / (1 + np.mean(np.square(error), axis=-1) / config.outlier**2)
    left = np.sqrt(
        np.sum(weight * np.mean(np.square(error), axis=-1)) / np.maximum(np.sum(weight), 1e-9)
    )
    root = np.sqrt(weight)[..., None]
    # The mean texture moves with the surface: what all sides share says nothing of depth.
    moved = root * (slope - _mean_texture(slope, weight))
    columns = np.einsum("bmc,km->bmck", moved, functions.at_points)
    columns = columns.reshape(-1, len(functions.bending))
    return NormalEquations(columns.T @ columns, columns.T @ (root * error).reshape(-1), float(left))


def surface_step(
    parallax: NormalEquations,
    shading: NormalEquations | None,
    functions: SurfaceFunctions,
    coefficients: Float[np.ndarray, " k"],
    config: PooledSurfaceConfig,
) -> Float[np.ndarray, " k"]:
    """One step of Gauss and Newton's method.

    Args:
      parallax: From `parallax_equations`, on the surface that the coefficients say.
      shading: From `facesem_jax.training.pooled_shading.shading_equations`; ``None`` for none.
      functions: From `surface_functions`.
      coefficients: c so far.
      config: Gives the stiffness.

    Returns:
      New coefficients.
    """
    curvature, slope = parallax.curvature, parallax.slope
    mean = np.trace(curvature) / len(coefficients)
    if shading is not None:
        curvature, slope = curvature + shading.curvature, slope + shading.slope
    stiff = config.stiffness * mean * functions.bending
    return coefficients - np.linalg.solve(curvature + np.diag(stiff), slope + stiff * coefficients)


def _mean_texture(texture, weight):
    total = np.maximum(np.sum(weight, axis=0), 1e-9)[:, None]
    return np.sum(weight[..., None] * texture, axis=0) / total
