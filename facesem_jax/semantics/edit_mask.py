r"""Where an edit acts in a photograph: soft masks in the frame of the generator's faces.

A component's mask starts from its map :math:`u_p` in the canonical frame: pixels whose norm over
the channels is above a share of the largest. The decomposer's depth and view of the photographed
face carry it into the picture. There, with r the distance to it in pixels,

.. math:: m(r) = s(1 - (r - D) / F), \quad s(x) = x^2 (3 - 2 x) \text{ on } x \text{ cut to } [0, 1]

so that it is 1 up to the dilation D and 0 from D + F on, without an edge in between. Every mask
falls to 0 at the frame's border, beyond which the photograph stays as it is.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy import ndimage
from scipy.spatial import Delaunay, QhullError

from facesem_jax.checks import check_shape
from facesem_jax.decomposer.config import DecomposerConfig
from facesem_jax.decomposer.crop import CropBox
from facesem_jax.decomposer.warp import apply_warp, canonical_warp
from facesem_jax.errors import FacesemError

_BORDER = 0.08  # Of the frame's side: there a mask rises from 0.


def canonical_support(
    maps: Float[np.ndarray, "k h w 4"], threshold: float = 0.1
) -> Bool[np.ndarray, "h w"]:
    """Pixels where any map's norm over its channels exceeds a share of its own maximum.

    Args:
      maps: Components' maps (albedo RGB, depth), in the units of the factorisation.
      threshold: The share, in [0, 1).

    Raises:
      FacesemError: On a wrong shape, a threshold out of range, or maps that are zero: such
        components act nowhere.
    """
    maps = np.asarray(maps, np.float64)
    check_shape("maps", maps, (None, None, None, 4))
    if not 0 <= threshold < 1:
        raise FacesemError(f"threshold is {threshold}; expected 0 or more and below 1.")
    norm = np.linalg.norm(maps, axis=-1)
    peak = norm.max(axis=(1, 2), keepdims=True)
    found = (norm > threshold * peak).any(axis=0)
    if not found.any():
        raise FacesemError("the components' maps are zero everywhere: they name no place.")
    return found


def support_in_view(
    support: Bool[np.ndarray, "h w"],
    depth: Float[Array, "h w"],
    view: Float[Array, "6"],
    config: DecomposerConfig,
) -> Bool[np.ndarray, "h w"]:
    """A canonical support as one view of the face shows it.

    Args:
      support: In the canonical frame.
      depth: Canonical depth of the face, scene units.
      view: Of the face: (pitch, yaw, roll, t_x, t_y, t_z), radians and scene units.
      config: Of the decomposer.

    Returns:
      Pixels of the view of which at least half shows the support.
    """
    warp = canonical_warp(jnp.asarray(depth)[None], jnp.asarray(view)[None], config)
    values = jnp.asarray(support, jnp.float32)[None, :, :, None]
    return np.asarray(apply_warp(values, warp, config.align_corners))[0, ..., 0] >= 0.5


def soft_mask(
    support: Bool[np.ndarray, "h w"], dilation: float = 2.0, feather: float = 6.0
) -> Float[np.ndarray, "h w"]:
    """The mask m(r) of the module's docstring, 0 at the border.

    Args:
      support: Pixels where the edit acts.
      dilation: D in pixels, 0 or more.
      feather: F in pixels, above 0.

    Returns:
      Weights in [0, 1]; all 0 for an empty support.

    Raises:
      FacesemError: On a wrong shape, or widths out of range.
    """
    support = np.asarray(support, bool)
    check_shape("support", support, (None, None))
    if not (0 <= dilation < np.inf and 0 < feather < np.inf):
        raise FacesemError(
            f"dilation is {dilation} and feather {feather}; expected 0 or more, and above 0."
        )
    if not support.any():
        return np.zeros(support.shape)
    distance = ndimage.distance_transform_edt(~support)
    return _smoothstep(1 - (distance - dilation) / feather) * border_window(*support.shape)


def inside_mask(
    landmarks: Float[np.ndarray, "n 2"], size: int, feather: float = 4.0
) -> Float[np.ndarray, "s s"]:
    """Weights that keep an edit on the face: 0 outside the landmarks' convex hull.

    Inside, s(r / feather) with r the distance to the hull's outside in pixels.

    Args:
      landmarks: (x, y) in fractions of the frame, at least 3 not on one line.
      size: Height and width of the mask in pixels.
      feather: Width of the rise in pixels, above 0.

    Raises:
      FacesemError: On a wrong shape, fewer than 3 landmarks or all on one line, or a feather out of
        range.
    """
    check_shape("landmarks", landmarks, (None, 2))
    if len(landmarks) < 3 or not 0 < feather < np.inf:
        raise FacesemError(
            f"{len(landmarks)} landmarks and a feather of {feather}; expected at least 3 and a "
            "finite number above 0."
        )
    centres = (np.arange(size) + 0.5) / size
    grid = np.stack(np.meshgrid(centres, centres), axis=-1)
    try:
        inside = Delaunay(np.asarray(landmarks, np.float64)).find_simplex(grid) >= 0
    except (QhullError, ValueError) as error:
        raise FacesemError("the landmarks lie on one line, or are not finite.") from error
    if inside.all():  # There is no outside to be far from.
        return np.ones((size, size))
    return _smoothstep(ndimage.distance_transform_edt(inside) / feather)


def face_mask(size: int, feather: float = 0.35) -> Float[np.ndarray, "s s"]:
    """A mask for edits of the whole face: 1 in the middle, falling to 0 towards the frame's border.

    With r = (x^4 + y^4)^(1/4), x and y from -1 to 1 over the frame: s((1 - r) / feather).

    Args:
      size: Height and width in pixels.
      feather: Width of the fall as a share of half the frame, in (0, 1].

    Raises:
      FacesemError: On a size below 1, or a feather out of range.
    """
    if size < 1:
        raise FacesemError(f"size is {size}; expected at least 1.")
    if not 0 < feather <= 1:
        raise FacesemError(f"feather is {feather}; expected above 0 and at most 1.")
    axis = np.linspace(-1, 1, size) if size > 1 else np.zeros(1)
    r = (axis[:, None] ** 4 + axis[None, :] ** 4) ** 0.25
    return _smoothstep((1 - r) / feather)


def border_window(height: int, width: int) -> Float[np.ndarray, "h w"]:
    """Weights that rise from 0 on the outer pixels to 1 within 8 % of the frame's side."""

    def along(count: int):
        inwards = np.minimum(np.arange(count), np.arange(count)[::-1])
        return _smoothstep(inwards / max(_BORDER * count, 1))

    return along(height)[:, None] * along(width)[None, :]


def mask_in_frame(
    mask: Float[np.ndarray, "h w"], box: CropBox, size: int
) -> Float[np.ndarray, "s s"]:
    """A mask of the decomposer's frame in the generator's, of which that is a part.

    Args:
      mask: Weights in [0, 1], 0 at the border.
      box: The part of the generator's frame that the decomposer sees.
      size: Height and width of the generator's image in pixels.

    Returns:
      Weights, interpolated bilinearly; 0 outside the part.
    """
    centres = (np.arange(size) + 0.5) / size
    v = (centres - box.top) / box.height * mask.shape[0] - 0.5
    u = (centres - box.left) / box.width * mask.shape[1] - 0.5
    grid = np.meshgrid(v, u, indexing="ij")
    return np.clip(ndimage.map_coordinates(np.asarray(mask, np.float64), grid, order=1), 0, 1)


def _smoothstep(x):
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)
