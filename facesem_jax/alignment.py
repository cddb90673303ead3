r"""A photograph to a generator's framing and back: similarity transforms, antialiased both ways.

A face's place is five points: the eyes' centres, the tip of the nose, the corners of the mouth,
each (x, y), x to the right and y down. In a photo they are in pixels, where pixel (0, 0) covers
[0, 1] x [0, 1]; in a frame they are fractions of its side. A transform is a 2 x 3 matrix (A | t)
that takes a frame's point p to the photo's point A p + t, with A a rotation times a positive
factor: the side of the frame in pixels of the photo.

Sources: least squares by Umeyama (1991, IEEE PAMI 13(4), equations 40 to 42); FFHQ's rule from
Karras et al. (2019, arXiv 1812.04948), as their ``ffhq-dataset`` code computes it.
"""

import numpy as np
from jaxtyping import Float, UInt8
from scipy import ndimage

from facesem_jax.checks import check_shape
from facesem_jax.decomposer.crop import CropBox
from facesem_jax.errors import FacesemError

#: Order of a face's points; left and right are those of the image.
POINT_NAMES = ("left eye", "right eye", "nose tip", "left mouth corner", "right mouth corner")

Points = Float[np.ndarray, "5 2"]
Transform = Float[np.ndarray, "2 3"]

#: Mean points of the bundled generator's faces, in fractions of its frame: those of MediaPipe Face
#: Mesh 0.10.14 on 1,000 samples of version 3 (seed 0, psi 1; 979 faces found), averaged with their
#: mirror images. A point's standard deviation over the faces is 0.017 to 0.066 per axis. Those of
#: version 8 lie within 0.005.
#: `experiments.photo_faces.reference_points` measures them again.
DIGIFACE64_POINTS: Points = np.array(
    [[0.301, 0.462], [0.699, 0.462], [0.500, 0.731], [0.328, 0.886], [0.672, 0.886]]
)

FRAMINGS = ("digiface64", "ffhq")
"""Framings by name: the bundled generator's, and that of FFHQ (and CelebA-HQ) at any size."""


def fit_similarity(source: Float[np.ndarray, "n 2"], target: Float[np.ndarray, "n 2"]) -> Transform:
    r"""The similarity transform that minimises :math:`\sum_i |A s_i + t - g_i|^2`.

    With centred points, H = sum of g_i s_i^T = U D V^T and S = diag(1, det U det V), so that no
    reflection is chosen: rotation R = U S V^T, factor c = tr(D S) / sum |s_i|^2, A = c R.

    Args:
      source: Points s, at least two different ones.
      target: Points g.

    Returns:
      The matrix (A | t), float64.

    Raises:
      FacesemError: On wrong shapes, values that are not finite, or points that all coincide.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    check_shape("source", source, (None, 2))
    check_shape("target", target, source.shape)
    if not (np.isfinite(source).all() and np.isfinite(target).all()):
        raise FacesemError("the points hold NaN or infinite values: no face was found there.")
    middle, goal = source.mean(axis=0), target.mean(axis=0)
    s, g = source - middle, target - goal
    u, d, vt = np.linalg.svd(g.T @ s)
    signs = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    factor = np.sum(d * signs) / max(np.sum(s**2), np.finfo(float).tiny)
    if not (np.isfinite(factor) and np.sum(s**2) > 0 and factor > 0):
        raise FacesemError("the points coincide: they do not say where the face is.")
    matrix = factor * (u * signs) @ vt
    return np.concatenate([matrix, (goal - matrix @ middle)[:, None]], axis=1)


def ffhq_transform(points: Points) -> Transform:
    """FFHQ's frame around a face.

    With e the vector from the left to the right eye, m that from the eyes' middle to the mouth's,
    the frame's horizontal half side is along e - (m turned by a quarter), of length
    max(2 |e|, 1.8 |m|), and its centre lies 0.1 m below the eyes' middle.

    Args:
      points: In pixels of the photo.

    Returns:
      Frame to photo.

    Raises:
      FacesemError: On a wrong shape, or points that are not finite or coincide.
    """
    points = _checked(points)
    eyes, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)
    across, down = points[1] - points[0], mouth - eyes
    half = across - down[::-1] * [-1, 1]
    half = half / np.hypot(*half) * max(2 * np.hypot(*across), 1.8 * np.hypot(*down))
    matrix = 2 * np.stack([half, half[::-1] * [-1, 1]], axis=1)
    corner = eyes + 0.1 * down - matrix @ [0.5, 0.5]
    return np.concatenate([matrix, corner[:, None]], axis=1)


def face_transform(points: Points, framing: str = "digiface64") -> Transform:
    """The frame around a face, as a generator's faces are framed.

    Args:
      points: In pixels of the photo, in the order of `POINT_NAMES`.
      framing: A name of `FRAMINGS`.

    Returns:
      Frame to photo.

    Raises:
      FacesemError: On an unknown framing, a wrong shape, or points that are not finite or coincide.
    """
    if framing == "ffhq":
        return ffhq_transform(points)
    if framing == "digiface64":
        return fit_similarity(DIGIFACE64_POINTS, _checked(points))
    raise FacesemError(f"unknown framing {framing!r}; known are {', '.join(FRAMINGS)}.")


def box_transform(top: float, left: float, height: float, width: float | None = None) -> Transform:
    """The upright frame of a box in pixels of the photo.

    Args:
      top: Upper edge.
      left: Left edge.
      height: Height.
      width: Width; the height if ``None``. Another one stretches the frame: A is then no rotation
        times a factor, and everything here but the fits still holds.
    """
    return np.array([[height if width is None else width, 0.0, left], [0.0, height, top]])


def part_transform(transform: Transform, box: CropBox) -> Transform:
    """The transform of a part of a frame, such as a generator's crop for the decomposer.

    Args:
      transform: Frame to photo.
      box: The part, in fractions of the frame.
    """
    inner = box_transform(box.top, box.left, box.height, box.width)
    matrix = transform[:, :2]
    return np.concatenate([matrix @ inner[:, :2], matrix @ inner[:, 2:] + transform[:, 2:]], axis=1)


def invert_transform(transform: Transform) -> Transform:
    """The transform from the photo to the frame: (A^-1 | -A^-1 t)."""
    matrix = np.linalg.inv(transform[:, :2])
    return np.concatenate([matrix, -matrix @ transform[:, 2:]], axis=1)


def frame_side(transform: Transform) -> float:
    """Side of the frame in pixels of the photo (the longer one of a stretched frame)."""
    return float(np.linalg.norm(transform[:, :2], axis=0).max())


def align_face(
    photo: UInt8[np.ndarray, "h w 3"], transform: Transform, size: int
) -> Float[np.ndarray, "s s 3"]:
    """The frame's content: what a generator would be shown.

    Every output pixel averages k x k bilinear samples spread evenly over its square, with k the
    photo's pixels per output pixel, rounded up: a box filter that no fine texture passes. Outside
    the photo its border is repeated.

    Args:
      photo: RGB, 8 bit.
      transform: Frame to photo.
      size: Height and width of the result in pixels.

    Returns:
      float32 in [-1, 1].

    Raises:
      FacesemError: On a photo of another shape or a size below 1.
    """
    photo = _photo(photo)
    if size < 1:
        raise FacesemError(f"size is {size}; expected at least 1.")
    samples = max(1, int(np.ceil(frame_side(transform) / size - 1e-9)))
    centres = (np.arange(size * samples) + 0.5) / (size * samples)
    x, y = _apply(transform, centres[None, :], centres[:, None])
    channels = []
    for channel in np.moveaxis(photo, -1, 0):
        dense = ndimage.map_coordinates(
            channel, [y - 0.5, x - 0.5], np.float32, order=1, mode="nearest"
        )
        channels.append(dense.reshape(size, samples, size, samples).mean(axis=(1, 3)))
    return np.stack(channels, axis=-1) / np.float32(127.5) - 1


def paste_back(
    photo: UInt8[np.ndarray, "h w 3"],
    face: Float[np.ndarray, "s s 3"],
    transform: Transform,
    mask: Float[np.ndarray, "s s"],
) -> UInt8[np.ndarray, "h w 3"]:
    """``photo + mask (face - photo)``: a face put into the photo where its mask says so.

    Args:
      photo: RGB, 8 bit.
      face: In [-1, 1], in the frame.
      transform: Frame to photo.
      mask: Weights in [0, 1]; outside the frame they are 0.

    Returns:
      A copy. Where the mask is 0 every pixel is exactly the photo's.

    Raises:
      FacesemError: On wrong shapes, or a mask outside [0, 1].
    """
    return _blend(photo, face, transform, mask, lambda old, new: new - old)


def add_back(
    photo: UInt8[np.ndarray, "h w 3"],
    change: Float[np.ndarray, "s s 3"],
    transform: Transform,
    mask: Float[np.ndarray, "s s"],
) -> UInt8[np.ndarray, "h w 3"]:
    """``photo + mask change``: a change made in the frame, made in the photo.

    The photo keeps its own detail, which a generator's face may lack.

    Args:
      photo: RGB, 8 bit.
      change: Difference of two faces in [-1, 1], in the frame.
      transform: Frame to photo.
      mask: Weights in [0, 1]; outside the frame they are 0.

    Returns:
      A copy. Where the mask is 0 every pixel is exactly the photo's.

    Raises:
      FacesemError: On wrong shapes, or a mask outside [0, 1].
    """
    return _blend(photo, change, transform, mask, lambda old, new: new)


def _blend(photo, values, transform, mask, change):
    photo = _photo(photo)
    values, mask = np.asarray(values, np.float64), np.asarray(mask, np.float64)
    check_shape("mask", mask, (mask.shape[0],) * 2)
    check_shape("face", values, (*mask.shape, 3))
    if not (mask.min() >= 0 and mask.max() <= 1):  # Also refuses NaN.
        raise FacesemError("the mask has weights outside [0, 1].")
    size, back = len(mask), invert_transform(transform)
    # Only the frame's bounding box is computed: a photo may be a hundred times its area.
    corners = np.stack(_apply(transform, *np.array([[0, 1, 1, 0], [0, 0, 1, 1.0]])))
    low = np.maximum(np.floor(corners.min(axis=1)), 0).astype(int)
    high = np.ceil(corners.max(axis=1)).astype(int) + 1
    part = photo[low[1] : max(high[1], 0), low[0] : max(high[0], 0)]
    result = photo.copy()
    if part.size == 0:
        return result
    x, y = np.arange(part.shape[1]) + low[0] + 0.5, np.arange(part.shape[0]) + low[1] + 0.5
    u, v = (size * c - 0.5 for c in _apply(back, x[None, :], y[:, None]))
    # Bilinear and 0 beyond the frame: a weight never leaves [0, 1], as a spline's would.
    weight = ndimage.map_coordinates(mask, [v, u], order=1, mode="constant")
    inside = weight > 0
    old = part[inside] / 127.5 - 1
    new = np.stack(
        [
            # A spline: linear interpolation of a few pixels shows its cells in a large photo.
            ndimage.map_coordinates(channel, [v[inside], u[inside]], order=3, mode="nearest")
            for channel in np.moveaxis(values, -1, 0)
        ],
        axis=-1,
    )
    mixed = old + weight[inside][:, None] * change(old, new)
    target = result[low[1] : low[1] + part.shape[0], low[0] : low[0] + part.shape[1]]
    target[inside] = np.clip(np.round((mixed + 1) * 127.5), 0, 255).astype(np.uint8)
    return result


def _apply(transform, x, y):
    (a, b, c), (d, e, f) = transform
    return a * x + b * y + c, d * x + e * y + f


def _photo(photo):
    photo = np.asarray(photo)
    check_shape("photo", photo, (None, None, 3))
    if photo.dtype != np.uint8 or photo.size == 0:
        raise FacesemError(f"the photo has {photo.size} values of {photo.dtype}; expected uint8.")
    return photo


def _checked(points):
    points = np.asarray(points, np.float64)
    check_shape("points", points, (5, 2))
    if not np.isfinite(points).all():
        raise FacesemError("the points hold NaN or infinite values: no face was found there.")
    if np.hypot(*(points[1] - points[0])) == 0:
        raise FacesemError("the eyes coincide: the points do not say where the face is.")
    return points
