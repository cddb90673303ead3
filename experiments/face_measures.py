"""Simple measurements of images and depth maps that need no model."""

import numpy as np
from jaxtyping import Bool, Float

from facesem_jax.checks import check_shape

#: Rec. 709 luminance of RGB.
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


def luminance_measurements(images: Float[np.ndarray, "n h w 3"]) -> dict[str, np.ndarray]:
    """Brightness of each image and its left-right difference.

    Args:
      images: RGB in [-1, 1].

    Returns:
      ``luminance``, the mean over the image, and ``left_right``, the mean over the left half minus
      that over the right half: arrays (n,), in units of the range [-1, 1].
    """
    check_shape("images", images, (None, None, None, 3))
    light = np.asarray(images, np.float64) @ _LUMINANCE
    half = light.shape[2] // 2
    left, right = light[:, :, :half].mean((1, 2)), light[:, :, -half:].mean((1, 2))
    return {"luminance": light.mean((1, 2)), "left_right": left - right}


def convex_depth(depth: Float[np.ndarray, "n h w"]) -> Bool[np.ndarray, " n"]:
    """Whether the middle is nearer than its surroundings, as a face's must be.

    The middle is an eighth of the frame's width square (8x8 of 64x64); the surroundings are the
    pixels within half a pixel of a circle whose radius is 40 % of the frame's width.

    Args:
      depth: Grows with the distance from the camera.

    Returns:
      True where the middle's mean depth is below the circle's.
    """
    check_shape("depth", depth, (None, None, None))
    depth = np.asarray(depth, np.float64)
    h, w = depth.shape[1:]
    y, x = np.mgrid[:h, :w]
    y, x = y - (h - 1) / 2, x - (w - 1) / 2
    ring = np.abs(np.hypot(x, y) - 0.4 * w) <= 0.5
    middle = (np.abs(x) < w / 16) & (np.abs(y) < h / 16)
    return depth[:, middle].mean(-1) < depth[:, ring].mean(-1)


def depth_curvature(depth: Float[np.ndarray, "n h w"]) -> Float[np.ndarray, " n"]:
    r"""How a depth map bends: positive where it recedes from its middle, as a face does.

    .. math:: \min_{a, b, c, k} \sum (d - a - b x - c y - k (x^2 + y^2) / 2)^2

    over the disc whose radius is 40 % of the frame's width; x, y in frame widths.

    Args:
      depth: Grows with the distance from the camera.

    Returns:
      k, in units of depth per frame width squared; negative for a hollow, 0 for a plane.
    """
    check_shape("depth", depth, (None, None, None))
    depth = np.asarray(depth, np.float64)
    h, w = depth.shape[1:]
    y, x = (np.mgrid[:h, :w] - np.array([(h - 1) / 2, (w - 1) / 2])[:, None, None]) / w
    disc = np.hypot(x, y) <= 0.4
    x, y = x[disc], y[disc]
    design = np.stack([np.ones_like(x), x, y, (x**2 + y**2) / 2], axis=1)
    return np.linalg.lstsq(design, depth[:, disc].T, rcond=None)[0][3]


def nearest_points(depth: Float[np.ndarray, "n h w"]) -> Float[np.ndarray, "n 2"]:
    """Where the nearest pixel lies.

    Args:
      depth: Grows with the distance from the camera.

    Returns:
      (x, y) as shares of the frame's width and height, 0.5 in the middle.
    """
    check_shape("depth", depth, (None, None, None))
    depth = np.asarray(depth)
    h, w = depth.shape[1:]
    row, column = np.divmod(depth.reshape(len(depth), -1).argmin(-1), w)
    return np.stack([(column + 0.5) / w, (row + 0.5) / h], axis=-1)


def in_central_third(points: Float[np.ndarray, "n 2"]) -> Bool[np.ndarray, " n"]:
    """Whether points, as shares of the frame, lie within the central third of both axes."""
    return (np.abs(np.asarray(points) - 0.5) <= 1 / 6).all(-1)
