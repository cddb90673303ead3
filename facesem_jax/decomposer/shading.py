"""Lambertian shading of a canonical face: normals, light, canonical image.

Unsup3D (Wu et al. 2020, arXiv 1911.11130, section 3.3): I = albedo (k_a + k_d max(0, <l, n>)).
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from facesem_jax.decomposer.camera import Intrinsics, pixel_coordinates, unproject

_EPS = 1e-7


def normals_from_depth(depth: Float[Array, "n h w"], camera: Intrinsics) -> Float[Array, "n h w 3"]:
    """Normals of a depth map by central differences of its surface.

    n = t_u x t_v, with t_u and t_v the differences of the 3D points two pixels apart; the outer
    pixels get (0, 0, 1). z points away from the camera, so a frontal surface has n = (0, 0, 1).

    Args:
      depth: (n, h, w), scene units.
      camera: Intrinsics.

    Returns:
      (n, h, w, 3), of unit length up to a guard of 1e-7 on the unnormalised length.
    """
    u, v = pixel_coordinates(*depth.shape[1:], depth.dtype)
    points = unproject(u, v, depth, camera)
    ax, ay, az = (p[:, 1:-1, 2:] - p[:, 1:-1, :-2] for p in points)
    bx, by, bz = (p[:, 2:, 1:-1] - p[:, :-2, 1:-1] for p in points)
    cross = (ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx)
    # The unnormalised length is some 1e-5, so the guard is part of the reference's values.
    length = jnp.sqrt(cross[0] ** 2 + cross[1] ** 2 + cross[2] ** 2) + _EPS
    pad = ((0, 0), (1, 1), (1, 1))
    # (0, 0, 1) goes through the reference's normalisation too.
    border = 1 / (1 + _EPS)
    return jnp.stack(
        [
            jnp.pad(c / length, pad, constant_values=fill)
            for c, fill in zip(cross, (0.0, 0.0, border), strict=True)
        ],
        -1,
    )


def light_direction(light: Float[Array, "n 4"]) -> Float[Array, "n 3"]:
    """Unit direction of the light, (d_x, d_y, 1) / |(d_x, d_y, 1)|.

    Args:
      light: (ambient, diffuse, d_x, d_y).

    Returns:
      (n, 3).
    """
    direction = jnp.concatenate([light[:, 2:], jnp.ones_like(light[:, :1])], -1)
    return direction / jnp.sqrt(jnp.sum(direction**2, -1, keepdims=True))


def lambertian_shading(
    normals: Float[Array, "n h w 3"], light: Float[Array, "n 4"]
) -> tuple[Float[Array, "n h w"], Float[Array, "n h w"]]:
    """Diffuse term max(0, <l, n>) and total shading k_a + k_d max(0, <l, n>).

    Args:
      normals: Unit normals.
      light: (ambient k_a, diffuse k_d, d_x, d_y).

    Returns:
      The diffuse term and the total shading.
    """
    direction = light_direction(light)[:, None, None, :]
    diffuse = jnp.maximum(jnp.sum(normals * direction, -1), 0)
    return diffuse, light[:, 0, None, None] + light[:, 1, None, None] * diffuse


def shade(
    albedo: Float[Array, "n h w 3"],
    depth: Float[Array, "n h w"],
    light: Float[Array, "n 4"],
    camera: Intrinsics,
) -> Float[Array, "n h w 3"]:
    """The canonical image: (albedo / 2 + 1/2) shading, mapped back to [-1, 1].

    Args:
      albedo: In [-1, 1].
      depth: Canonical depth, scene units.
      light: (ambient, diffuse, d_x, d_y).
      camera: Intrinsics.

    Returns:
      (n, h, w, 3); -1 is black, values above 1 are over-exposed.
    """
    _, shading = lambertian_shading(normals_from_depth(depth, camera), light)
    return (albedo + 1) * shading[..., None] - 1
