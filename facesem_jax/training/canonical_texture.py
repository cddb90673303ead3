r"""What the pixels of faces look like in the canonical frame, as a linear Gaussian model.

A photograph's own pixels are carried back into the canonical frame: each canonical point is moved
into the view and the photograph is sampled where it falls. Under the right view the result looks
like the texture of every other face; under a wrong one the nose lies beside its place. Which
textures faces have is learned from faces that hardly turn, whose view is known well enough, by
principal components: the appearance model of "Active Appearance Models" (Cootes, Edwards, Taylor
2001) on the decomposer's depth.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facesem_jax.checks import check_shape
from facesem_jax.conv import PRECISION
from facesem_jax.decomposer.camera import Intrinsics, project, rotation_matrix, to_view, unproject
from facesem_jax.decomposer.config import DecomposerConfig
from facesem_jax.decomposer.grid_sample import bilinear_sample
from facesem_jax.decomposer.shading import normals_from_depth
from facesem_jax.errors import FacesemError
from facesem_jax.generators.resample import blur
from facesem_jax.training.principal_components import unit_components

#: Cosines of the surface with the line of sight between which a point comes into view.
_GRAZING, _FACING = 0.25, 0.6


class CanonicalPoints(NamedTuple):
    """Points of the mean canonical surface, left and right alike.

    Attributes:
      position: x, y, z, scene units.
      normal: Of unit length, z away from the camera.
      mirrored: Number of the point on the other side.
    """

    position: Float[Array, "m 3"]
    normal: Float[Array, "m 3"]
    mirrored: np.ndarray


class CanonicalTexture(NamedTuple):
    r"""Textures :math:`\mu + B c + \epsilon` with normal c and :math:`\epsilon`.

    Attributes:
      points: Where the texture is known.
      mean: mu, the numbers of all points after each other.
      basis: B; its columns have the lengths of what they add.
      noise: Variance of epsilon.
    """

    points: CanonicalPoints
    mean: Float[Array, " m3"]
    basis: Float[Array, "m3 k"]
    noise: Float[Array, ""]


class CanonicalGrid(NamedTuple):
    """Every second pixel of an ellipse about the middle; the grid is its own mirror image.

    Attributes:
      u: Column of each point, pixels.
      v: Row of each point, pixels.
      mirrored: Number of the point on the other side.
    """

    u: Float[np.ndarray, " m"]
    v: Float[np.ndarray, " m"]
    mirrored: np.ndarray

    def sample(self, maps: Float[Array, "n h w c"]) -> Float[Array, "n m c"]:
        """Maps at the points, between their pixels."""
        at = [jnp.asarray(q, maps.dtype)[None, None] for q in (self.u, self.v)]
        at = [jnp.broadcast_to(q, (maps.shape[0], *q.shape[1:])) for q in at]
        return bilinear_sample(maps, *at)[:, 0]


def canonical_grid(size: int, window: tuple[float, float]) -> CanonicalGrid:
    """The points that textures are known at.

    Args:
      size: Height and width of the canonical maps; even.
      window: Half axes (x, y) in pixels of a 64-pixel image.
    """
    # Between pixels, so that the grid is its own mirror image.
    centres = np.arange(0, size, 2) + 0.5
    u, v = np.meshgrid(centres, centres)
    x, y = ((q - (size - 1) / 2) * 64 / size for q in (u, v))
    inside = (x / window[0]) ** 2 + (y / window[1]) ** 2 < 1
    number = np.cumsum(inside).reshape(inside.shape) - 1
    return CanonicalGrid(u[inside], v[inside], number[:, ::-1][inside])


def canonical_points(
    depth: Float[Array, "h w"],
    camera: Intrinsics,
    window: tuple[float, float],
) -> CanonicalPoints:
    """The points of `canonical_grid` on the mirrored mean of a depth map.

    Args:
      depth: Canonical depth, scene units; height and width even.
      camera: Intrinsics.
      window: Half axes (x, y) in pixels of a 64-pixel image.
    """
    depth = (depth + depth[:, ::-1])[None] / 2
    grid = canonical_grid(depth.shape[1], window)
    z = grid.sample(depth[..., None])[0, :, 0]
    normal = grid.sample(normals_from_depth(depth, camera))[0]
    u, v = (jnp.asarray(q, depth.dtype) for q in grid[:2])
    position = jnp.stack(unproject(u, v, z, camera), axis=-1)
    return CanonicalPoints(position, normal, grid.mirrored)


def blurred(images: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """Images under the kernel (1, 2, 1) / 4 along both axes, their border repeated.

    For samples that lie two pixels apart.
    """
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    return blur(padded)[:, 1:-1, 1:-1]


def texture_in_view(
    images: Float[Array, "n h w c"],
    view: Float[Array, "n 6"],
    points: CanonicalPoints,
    config: DecomposerConfig,
    camera: Intrinsics,
) -> Float[Array, "n m c"]:
    """What images show of canonical points that are moved into a view; their border is repeated.

    Args:
      images: From `blurred`.
      view: As in `facesem_jax.decomposer.Decomposition.view`.
      points: From `canonical_points`.
      config: Gives the centre of the rotation.
      camera: Intrinsics.
    """
    n, m = len(view), len(points.position)
    xyz = tuple(jnp.broadcast_to(q, (n, 1, m)) for q in points.position.T)
    u, v = project(to_view(xyz, view, config.rotation_center_depth), camera)
    return bilinear_sample(images, u, v, padding="border")[:, 0]


def in_sight(view: Float[Array, "n 6"], points: CanonicalPoints) -> Float[Array, "n m"]:
    """Whether a view shows points: 0 where the surface turns away, 1 where it faces the camera."""
    line = rotation_matrix(view[:, :3])[:, 2]
    cosine = jnp.dot(line, points.normal.T, precision=PRECISION)
    return jnp.clip((cosine - _GRAZING) / (_FACING - _GRAZING), 0, 1)


def fit_texture(
    textures: Float[np.ndarray, "n m c"], points: CanonicalPoints, components: int
) -> CanonicalTexture:
    r"""Probabilistic principal components of textures and of their mirror images.

    .. math:: B = Q_k (\Lambda_k - \sigma^2)^{1/2}, \quad
       \sigma^2 = \text{the mean of the other eigenvalues}

    (Tipping and Bishop 1999, equations 7 and 8), from the covariance's eigenvectors Q and
    eigenvalues :math:`\Lambda`.

    Args:
      textures: From `texture_in_view`, of faces that hardly turn.
      points: Theirs.
      components: k.

    Returns:
      The model, symmetric in its mean and its covariance.

    Raises:
      FacesemError: On a wrong shape, values that are not finite, as many components as there are
        numbers, or faces too few for them (`unit_components`).
    """
    check_shape("textures", textures, (None, len(points.mirrored), None))
    numbers = textures.shape[1] * textures.shape[2]
    if components >= numbers:
        raise FacesemError(
            f"{components} components of textures of {numbers} numbers leave no noise; use fewer."
        )
    rows = np.concatenate([textures, np.asarray(textures)[:, points.mirrored]])
    rows = rows.reshape(len(rows), numbers).astype(np.float64)
    mean = rows.mean(axis=0)
    rows -= mean
    # Of unit variance along each component: their lengths are one over the standard deviations.
    unit = unit_components(rows, components)
    values = 1 / np.sum(np.square(unit), axis=0)
    left = np.mean(np.square(rows)) * numbers - values.sum()
    noise = max(left / (numbers - components), 1e-8)
    basis = unit * np.sqrt(values * np.maximum(values - noise, 0))
    found = (jnp.asarray(x, jnp.float32) for x in (mean, basis, noise))
    return CanonicalTexture(points, *found)
