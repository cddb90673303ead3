"""The pinhole camera: pixels and depth to points, views as rigid transforms, projection.

Conventions of Unsup3D (Wu et al. 2020, arXiv 1911.11130, section 3.2): x to the right, y down,
z away from the camera, all in scene units; pixel (u, v) = (0, 0) is the centre of the first
pixel. A view is (pitch, yaw, roll, t_x, t_y, t_z): radians about x, y, z, then scene units.
"""

import dataclasses
import math

import jax.numpy as jnp
from jaxtyping import Array, Float


@dataclasses.dataclass(frozen=True)
class Intrinsics:
    """Focal lengths and principal point, in pixels.

    Plain floats, so that arithmetic keeps the dtype of the arrays it meets.
    """

    fx: float
    fy: float
    cx: float
    cy: float

    @property
    def matrix(self) -> Float[Array, "3 3"]:
        """K = [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]."""
        return jnp.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])


def intrinsics(image_size: int, fov_degrees: float) -> Intrinsics:
    """Intrinsics of a square image: f = (W - 1) / (2 tan(fov / 2)), c = (W - 1) / 2.

    Args:
      image_size: Height and width W in pixels.
      fov_degrees: Field of view between the centres of the outer pixels, in degrees.

    Returns:
      The intrinsics, in pixels.
    """
    center = (image_size - 1) / 2
    focal = center / math.tan(math.radians(fov_degrees) / 2)
    return Intrinsics(focal, focal, center, center)


def rotation_matrix(angles: Float[Array, "*b 3"]) -> Float[Array, "*b 3 3"]:
    """R = R_z(roll) R_y(yaw) R_x(pitch).

    Args:
      angles: (pitch, yaw, roll) in radians.

    Returns:
      Matrices that rotate column vectors.
    """
    cx, cy, cz = jnp.moveaxis(jnp.cos(angles), -1, 0)
    sx, sy, sz = jnp.moveaxis(jnp.sin(angles), -1, 0)
    rows = (
        (cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx),
        (sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx),
        (-sy, cy * sx, cy * cx),
    )
    return jnp.stack([jnp.stack(row, -1) for row in rows], -2)


def pixel_coordinates(height: int, width: int, dtype) -> tuple[Array, Array]:
    """Pixel coordinates u (1, w) and v (h, 1), which broadcast to (h, w)."""
    return jnp.arange(width, dtype=dtype)[None, :], jnp.arange(height, dtype=dtype)[:, None]


# Points travel as separate x, y, z: XLA then fuses a whole chain of transforms into one loop,
# where a trailing axis of 3 would cost a tiny matrix product and a copy per step.
_Points = tuple[Array, Array, Array]


def unproject(u: Array, v: Array, depth: Array, camera: Intrinsics) -> _Points:
    """Points at the given pixels and depths, (u - cx) z / fx, (v - cy) z / fy, z."""
    return (u - camera.cx) / camera.fx * depth, (v - camera.cy) / camera.fy * depth, depth


def project(points: _Points, camera: Intrinsics) -> tuple[Array, Array]:
    """Pixels of points: fx x / z + cx, fy y / z + cy."""
    x, y, z = points
    return camera.fx * (x / z) + camera.cx, camera.fy * (y / z) + camera.cy


def _entries(matrix: Float[Array, "n 3 3"], rank: int):
    """Matrix entries m[i][j], each shaped to broadcast against (n, ...) arrays of a rank."""
    shape = (-1,) + (1,) * (rank - 1)
    return [[matrix[:, i, j].reshape(shape) for j in range(3)] for i in range(3)]


def to_view(points: _Points, view: Float[Array, "n 6"], center_depth: float) -> _Points:
    """Canonical points in the view: R (p - c) + c + t with c = (0, 0, center_depth).

    Args:
      points: x, y, z, each (n, ...), scene units.
      view: (n, 6).
      center_depth: Depth of the rotation's centre, scene units.

    Returns:
      x, y, z in the view's camera frame.
    """
    x, y, z = points[0], points[1], points[2] - center_depth
    r = _entries(rotation_matrix(view[:, :3]), jnp.ndim(points[2]))
    t = view[:, 3:].T.reshape((3, -1) + (1,) * (jnp.ndim(points[2]) - 1))
    turned = [r[i][0] * x + r[i][1] * y + r[i][2] * z + t[i] for i in range(3)]
    return turned[0], turned[1], turned[2] + center_depth


def to_canonical(points: _Points, view: Float[Array, "n 6"], center_depth: float) -> _Points:
    """Inverse of `to_view`: R^T (p - t - c) + c."""
    t = view[:, 3:].T.reshape((3, -1) + (1,) * (jnp.ndim(points[2]) - 1))
    x, y, z = points[0] - t[0], points[1] - t[1], points[2] - t[2] - center_depth
    r = _entries(rotation_matrix(view[:, :3]), jnp.ndim(points[2]))
    turned = [r[0][i] * x + r[1][i] * y + r[2][i] * z for i in range(3)]
    return turned[0], turned[1], turned[2] + center_depth


def depth_to_points(depth: Float[Array, "n h w"], camera: Intrinsics) -> Float[Array, "n h w 3"]:
    """The depth map's surface as a grid of points.

    Args:
      depth: (n, h, w), scene units.
      camera: Intrinsics.

    Returns:
      (n, h, w, 3) points, scene units.
    """
    u, v = pixel_coordinates(*depth.shape[1:], depth.dtype)
    return jnp.stack(unproject(u, v, depth, camera), -1)


def warped_points(
    depth: Float[Array, "n h w"],
    view: Float[Array, "n 6"],
    camera: Intrinsics,
    center_depth: float,
) -> Float[Array, "n h w 3"]:
    """The canonical surface, moved into the view.

    Args:
      depth: Canonical depth (n, h, w), scene units.
      view: (n, 6).
      camera: Intrinsics.
      center_depth: Depth of the rotation's centre, scene units.

    Returns:
      (n, h, w, 3) points in the view's camera frame.
    """
    u, v = pixel_coordinates(*depth.shape[1:], depth.dtype)
    return jnp.stack(to_view(unproject(u, v, depth, camera), view, center_depth), -1)


def inverse_warp(
    depth: Float[Array, "n h w"],
    view: Float[Array, "n 6"],
    camera: Intrinsics,
    center_depth: float,
) -> tuple[Float[Array, "n h w"], Float[Array, "n h w"]]:
    """Where each pixel of a depth map in the view lies in the canonical frame.

    Args:
      depth: Depth in the view's frame (n, h, w), scene units.
      view: (n, 6).
      camera: Intrinsics.
      center_depth: Depth of the rotation's centre, scene units.

    Returns:
      Canonical pixel coordinates u and v, each (n, h, w).
    """
    u, v = pixel_coordinates(*depth.shape[1:], depth.dtype)
    return project(to_canonical(unproject(u, v, depth, camera), view, center_depth), camera)


def normalise_pixels(u: Array, v: Array, height: int, width: int) -> Float[Array, "*b 2"]:
    """Pixel coordinates as a sampling grid: -1 and 1 at the centres of the outer pixels.

    Args:
      u: Horizontal pixel coordinate.
      v: Vertical pixel coordinate.
      height: Height of the sampled image in pixels.
      width: Width of the sampled image in pixels.

    Returns:
      (..., 2) with x first.
    """
    return jnp.stack([u * (2 / (width - 1)) - 1, v * (2 / (height - 1)) - 1], -1)
