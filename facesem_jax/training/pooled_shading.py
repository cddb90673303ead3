r"""What light from the side says of the mean surface of many heads: photometric stereo of the mean.

Light differs from head to head. Over many heads and their mirror images, what a canonical point
shows is a linear function of the light's unit direction l,

.. math:: \bar I_p(l) = a_p + b_p l_x, \qquad \frac{b_p}{a_p} = \kappa \frac{n_x}{1 + \gamma n_z}

with n the mean surface's normal and :math:`\gamma` the mean of diffuse over ambient light
(Lambert's law, `facesem_jax.decomposer.shading`). Heads are painted alike left and right, so paint
drops out. From top to bottom it does not: dark hair passes for light from below, and where light is
read from pictures its slope is the paint's as much as the surface's. So :math:`l_y` takes no part.
Light that is read also errs, which lowers b: :math:`\kappa` is fitted to the surface so far, so
that shading says where the surface is steep, and parallax
(`facesem_jax.training.pooled_surface`) how steep it is altogether. Woodham 1980, "Photometric
method for determining surface orientation from multiple images", of one mean head instead of one
object.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facesem_jax.checks import check_shape
from facesem_jax.conv import PRECISION
from facesem_jax.decomposer.camera import Intrinsics
from facesem_jax.decomposer.config import DecomposerConfig
from facesem_jax.decomposer.shading import light_direction, normals_from_depth
from facesem_jax.training.canonical_texture import (
    CanonicalPoints,
    canonical_grid,
    in_sight,
    texture_in_view,
)
from facesem_jax.training.pooled_surface import (
    NormalEquations,
    PooledSurfaceConfig,
    SurfaceFunctions,
)

#: Times that weights and kappa are found from each other.
_REWEIGHTED = 3
#: Of the moments' diagonal: a point that hardly any head shows must not stop the others.
_RIDGE = 1e-6


class PooledShading(NamedTuple):
    """Sums over heads, with q = (1, l_x).

    Attributes:
      moments: ``q q^T``, times whether the point is in sight.
      shown: Mean of the channels in [0, 1], times q, times whether the point is in sight.
    """

    moments: Float[Array, "m 2 2"]
    shown: Float[Array, "m 2"]


def pooled_shading(
    images: Float[Array, "n h w c"],
    view: Float[Array, "n 6"],
    light: Float[Array, "n 4"],
    points: CanonicalPoints,
    config: DecomposerConfig,
    camera: Intrinsics,
) -> PooledShading:
    """The sums over some heads; those of several calls add up.

    Args:
      images: From `facesem_jax.training.canonical_texture.blurred`, in [-1, 1].
      view: Theirs.
      light: Theirs, (ambient, diffuse, d_x, d_y).
      points: On the surface so far.
      config: Gives the centre of the rotation.
      camera: Intrinsics.

    Raises:
      FacesemError: If there are not as many lights as images.
    """
    check_shape("light", light, (len(images), 4))
    texture = texture_in_view(images, view, points, config, camera)
    bright = (jnp.mean(texture, axis=-1) + 1) / 2
    across = light_direction(light)[:, 0]
    q = jnp.stack([jnp.ones_like(across), across], axis=-1)
    sight = in_sight(view, points)
    moments = jnp.einsum("nm,nj,nk->mjk", sight, q, q, precision=PRECISION)
    return PooledShading(moments, jnp.einsum("nm,nj->mj", sight * bright, q, precision=PRECISION))


def shading_with_mirror_images(pooled: PooledShading, points: CanonicalPoints) -> PooledShading:
    """The sums over the heads and their mirror images, whose light comes from the other side."""
    flip = np.array([1, -1])
    moments, shown = (np.asarray(x)[points.mirrored] for x in pooled)
    return PooledShading(
        pooled.moments + moments * flip[:, None] * flip, pooled.shown + shown * flip
    )


def relative_slopes(pooled: PooledShading) -> Float[np.ndarray, " m"]:
    """``b / a`` of every point, by least squares; 0 where no head shows it."""
    moments, shown = (np.asarray(x, np.float64) for x in pooled)
    seen = np.maximum(moments[:, :1, :1], 1e-9)
    fit = np.linalg.solve(moments / seen + _RIDGE * np.eye(2), (shown / seen[:, 0])[..., None])
    constant, slope = fit[:, 0, 0], fit[:, 1, 0]
    return np.where(moments[:, 0, 0] > 0, slope / np.maximum(constant, 1e-3), 0)


def shading_equations(
    pooled: PooledShading,
    functions: SurfaceFunctions,
    depth: Float[np.ndarray, "h w"],
    camera: Intrinsics,
    config: PooledSurfaceConfig,
) -> NormalEquations:
    r"""What shading adds to a step of the surface's fit.

    .. math:: \omega \sum_p w_p \left( \frac{b_p}{\kappa a_p} (1 + \gamma n_z) - n_x \right)^2

    with :math:`\omega` and :math:`\gamma` ``config.shading`` and ``config.diffuse``, and w_p as for
    parallax, of the outliers ``config.bent``. Light that is not read, or the wrong way round
    (:math:`\kappa \le 0`), adds nothing.

    Args:
      pooled: On the surface so far, mirror images included.
      functions: What the surface may be changed by.
      depth: The surface so far.
      camera: Intrinsics.
      config: Weights.
    """
    grid = canonical_grid(len(depth), config.window)

    def normals(depth):
        return grid.sample(normals_from_depth(depth[None], camera))[0]

    depth = jnp.asarray(depth, jnp.float32)
    maps = jnp.asarray(functions.maps, jnp.float32)
    change = jax.vmap(lambda f: jax.jvp(normals, (depth,), (f,))[1])(maps)
    across, _, along = np.asarray(normals(depth), np.float64).T
    slopes, seen = relative_slopes(pooled), np.asarray(pooled.moments, np.float64)[:, 0, 0]
    share = np.minimum(seen, config.least) / config.least
    fallen, weight = slopes * (1 + config.diffuse * along), share
    for _ in range(_REWEIGHTED):
        kappa = np.sum(weight * fallen * across) / np.maximum(np.sum(weight * across**2), 1e-12)
        if not kappa > 0:
            count = len(functions.bending)
            return NormalEquations(np.zeros((count, count)), np.zeros(count), 0.0)
        error = fallen / kappa - across
        weight = share / (1 + error**2 / config.bent**2)
    columns = config.diffuse * slopes / kappa * change[..., 2] - change[..., 0]
    root = np.sqrt(config.shading * weight)
    left = np.sqrt(np.sum(weight * error**2) / np.maximum(np.sum(weight), 1e-9))
    columns = np.asarray(columns * root, np.float64)
    return NormalEquations(columns @ columns.T, columns @ (error * root), float(left))
