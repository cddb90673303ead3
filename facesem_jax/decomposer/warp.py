"""Rendering a canonical image into a view, by one of two searches for the visible surface.

Each target pixel needs the canonical pixel it shows. ``rasterizer`` draws the moved canonical
surface as a mesh and unprojects the depth found (Unsup3D, Wu et al. 2020, arXiv 1911.11130,
section 3.2): right under occlusion, costly in training. ``fixed_point`` solves for the depth
at which the pixel's ray meets the canonical height field, pixel by pixel: cheaper, and its
gradient is the implicit function theorem's; where a surface occludes itself it may settle on a
hidden crossing.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from facesem_jax.checks import check_shape
from facesem_jax.decomposer.camera import (
    intrinsics,
    inverse_warp,
    normalise_pixels,
    pixel_coordinates,
    project,
    to_canonical,
    unproject,
    warped_points,
)
from facesem_jax.decomposer.config import DecomposerConfig
from facesem_jax.decomposer.grid_sample import bilinear_sample, grid_sample
from facesem_jax.decomposer.rasterizer import render_depth
from facesem_jax.errors import FacesemError

METHODS = ("fixed_point", "rasterizer")
# Least slope of the ray's residual that the gradient is divided by: rays that graze the surface
# have none, and an unbounded gradient.
_MIN_SLOPE = 0.1


class Warp(NamedTuple):
    """For each pixel of a view, what it shows.

    Attributes:
      u: Horizontal canonical coordinate in pixels, (n, h, w).
      v: Vertical canonical coordinate in pixels, (n, h, w).
      depth: Depth in the view's camera frame, scene units, (n, h, w).
      mask: Whether the canonical coordinate lies inside the canonical frame (and, for the
        rasteriser, whether the mesh covers the pixel), (n, h, w).
    """

    u: Float[Array, "n h w"]
    v: Float[Array, "n h w"]
    depth: Float[Array, "n h w"]
    mask: Bool[Array, "n h w"]


def _inside(u, v):
    h, w = u.shape[1:]
    # Rounding alone must not drop the outer pixels of an unmoved face.
    slack = 1e-3
    return (u >= -slack) & (u <= w - 1 + slack) & (v >= -slack) & (v <= h - 1 + slack)


def _depth_and_slopes(depth, u, v):
    """Bilinear depth at pixels (border repeated) and its slopes along u and v, per pixel."""
    n, h, w = depth.shape
    cu, cv = jnp.clip(u, 0, w - 1), jnp.clip(v, 0, h - 1)
    left, top = jnp.clip(jnp.floor(cu), 0, w - 2), jnp.clip(jnp.floor(cv), 0, h - 2)
    tu, tv = cu - left, cv - top
    start = (jnp.arange(n) * (h * w))[:, None, None]
    index = start + top.astype(jnp.int32) * w + left.astype(jnp.int32)
    flat = depth.reshape(-1)
    d00, d01, d10, d11 = (flat.at[index + offset].get(mode="clip") for offset in (0, 1, w, w + 1))
    upper, lower = d00 + tu * (d01 - d00), d10 + tu * (d11 - d10)
    along_u = (d01 - d00) * (1 - tv) + (d11 - d10) * tv
    along_u = jnp.where(u == cu, along_u, 0)
    along_v = jnp.where(v == cv, lower - upper, 0)
    return upper + tv * (lower - upper), along_u, along_v


def warp_fixed_point(
    depth: Float[Array, "n h w"],
    view: Float[Array, "n 6"],
    config: DecomposerConfig,
    steps: int = 6,
) -> Warp:
    """Finds for every target pixel the canonical pixel it shows, by Newton's method on its ray.

    The point at view depth z on a pixel's ray is X(z) in the canonical frame and falls on the
    canonical pixel p(z). The ray meets the surface where phi(z) = X_z(z) - depth(p(z)) vanishes.
    Canonical depth lies in [min_depth, max_depth], which brackets the root; Newton steps that
    leave the bracket become bisections. After ``steps`` steps without gradient one more,
    z - phi(z) / phi'(z) with phi' held constant, is differentiated: its derivative is that of the
    implicit function.

    Args:
      depth: Canonical depth in [min_depth, max_depth], scene units.
      view: (pitch, yaw, roll, t_x, t_y, t_z), radians and scene units.
      config: Gives the camera and the range of depth.
      steps: Steps without gradient.

    Returns:
      The warp.
    """
    check_shape("depth", depth, (None, config.image_size, config.image_size))
    check_shape("view", view, (depth.shape[0], 6))
    camera = intrinsics(config.image_size, config.fov_degrees)
    center = config.rotation_center_depth
    u, v = pixel_coordinates(*depth.shape[1:], depth.dtype)

    def ray(view):
        """Origin and direction of the pixels' rays in the canonical frame: X(z) = a z + b."""
        one, zero = jnp.ones_like(depth), jnp.zeros_like(depth)
        b = to_canonical((zero, zero, zero), view, center)
        tip = to_canonical(unproject(u, v, one, camera), view, center)
        return tuple(t - o for t, o in zip(tip, b, strict=True)), b

    def at(z, a, b):
        return tuple(ai * z + bi for ai, bi in zip(a, b, strict=True))

    still_depth, still_view = lax.stop_gradient((depth, view))
    a, b = ray(still_view)

    def residual(z):
        """Residual phi and phi' at view depth z."""
        x, y, zc = at(z, a, b)
        pu, pv = project((x, y, zc), camera)
        surface, along_u, along_v = _depth_and_slopes(still_depth, pu, pv)
        du = camera.fx * (a[0] * zc - x * a[2]) / zc**2
        dv = camera.fy * (a[1] * zc - y * a[2]) / zc**2
        return zc - surface, a[2] - along_u * du - along_v * dv

    def step(_, carry):
        z, low, high = carry
        phi, slope = residual(z)
        low, high = jnp.where(phi < 0, z, low), jnp.where(phi < 0, high, z)
        newton = z - phi / jnp.where(slope == 0, 1, slope)
        # The bracket counts as inside: a root at its very edge must not start a bisection.
        good = (slope > 0) & (newton >= low) & (newton <= high)
        return jnp.where(good, newton, (low + high) / 2), low, high

    low, high = ((limit - b[2]) / a[2] for limit in (config.min_depth, config.max_depth))
    low, high = jnp.minimum(low, high), jnp.maximum(low, high)
    z, _, _ = lax.fori_loop(0, steps, step, ((low + high) / 2, low, high))
    _, slope = residual(z)
    z, slope = lax.stop_gradient((z, jnp.maximum(slope, _MIN_SLOPE)))

    a, b = ray(view)
    x, y, zc = at(z, a, b)
    pu, pv = project((x, y, zc), camera)
    surface = bilinear_sample(depth[..., None], pu, pv, padding="border")[..., 0]
    # Where a rough surface left the search unfinished, the last step may overshoot. The limits are
    # those of the whole search: its last bracket ends at the root, where a clip has no gradient.
    slack = 0.05 * (high - low)
    z = jnp.clip(z - (zc - surface) / slope, low - slack, high + slack)
    pu, pv = project(at(z, a, b), camera)
    return Warp(pu, pv, z, _inside(pu, pv))


def warp_by_rasterizer(
    depth: Float[Array, "n h w"], view: Float[Array, "n 6"], config: DecomposerConfig
) -> Warp:
    """Finds for every target pixel the canonical pixel it shows, by drawing the moved surface.

    The view's depth map is clamped to [min_depth - m, max_depth + m], m = (max_depth -
    min_depth) / 2, and unprojected into the canonical frame.

    Args:
      depth: Canonical depth, scene units.
      view: (pitch, yaw, roll, t_x, t_y, t_z), radians and scene units.
      config: Gives the camera, the range of depth and the rasteriser's pixel centre.

    Returns:
      The warp.
    """
    check_shape("depth", depth, (None, config.image_size, config.image_size))
    check_shape("view", view, (depth.shape[0], 6))
    camera = intrinsics(config.image_size, config.fov_degrees)
    center = config.rotation_center_depth
    points = warped_points(depth, view, camera, center)

    def draw(vertices):
        return render_depth(
            vertices,
            camera.matrix.astype(vertices.dtype),
            config.image_size,
            pixel_center=config.pixel_center,
        )

    seen, mask = jax.vmap(draw)(points)
    margin = (config.max_depth - config.min_depth) / 2
    farthest = config.max_depth + margin
    seen = jnp.clip(jnp.where(mask, seen, farthest), config.min_depth - margin, farthest)
    u, v = inverse_warp(seen, view, camera, center)
    return Warp(u, v, seen, mask & (seen < farthest) & _inside(u, v))


def canonical_warp(
    depth: Float[Array, "n h w"],
    view: Float[Array, "n 6"],
    config: DecomposerConfig,
    method: str = "fixed_point",
) -> Warp:
    """The warp from a view to the canonical frame, by either search.

    Args:
      depth: Canonical depth, scene units.
      view: (pitch, yaw, roll, t_x, t_y, t_z), radians and scene units.
      config: Gives the camera and the range of depth.
      method: "fixed_point" or "rasterizer".

    Returns:
      The warp.

    Raises:
      FacesemError: On an unknown method or wrong shapes.
    """
    if method == "fixed_point":
        return warp_fixed_point(depth, view, config)
    if method == "rasterizer":
        return warp_by_rasterizer(depth, view, config)
    raise FacesemError(f"method is {method!r}; use one of {', '.join(METHODS)}.")


def apply_warp(
    images: Float[Array, "n h w c"], warp: Warp, align_corners: bool, padding: str = "zeros"
) -> Float[Array, "n h w c"]:
    """Samples canonical maps where a warp points.

    Args:
      images: Canonical maps.
      warp: From `canonical_warp`.
      align_corners: As `DecomposerConfig.align_corners`.
      padding: "zeros" outside the canonical frame, or "border" to repeat its outer pixels.

    Returns:
      The maps in the view.
    """
    grid = normalise_pixels(warp.u, warp.v, *images.shape[1:3])
    return grid_sample(images, grid, align_corners=align_corners, padding=padding)
