"""Arrays to RGB pictures: images, depth, normals, grids."""

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from facesem_jax.checks import check_shape


def rgb(images: Float[np.ndarray, "*b h w 3"]) -> UInt8[np.ndarray, "*b h w 3"]:
    """Images in [-1, 1] as 8-bit RGB, clipped."""
    return np.round(np.clip(np.asarray(images, np.float32) * 127.5 + 127.5, 0, 255)).astype(
        np.uint8
    )


def depth_picture(
    depth: Float[np.ndarray, "*b h w"], near: float = 0.9, far: float = 1.1
) -> UInt8[np.ndarray, "*b h w 3"]:
    """Depth as grey values, near white, far black.

    Args:
      depth: Scene units.
      near: Depth shown white.
      far: Depth shown black.
    """
    grey = np.clip((far - np.asarray(depth, np.float32)) / (far - near), 0, 1)
    return np.repeat(np.round(grey * 255).astype(np.uint8)[..., None], 3, axis=-1)


def relief_picture(normals: Float[np.ndarray, "*b h w 3"]) -> UInt8[np.ndarray, "*b h w 3"]:
    """Normals as a grey relief, lit from the viewer's upper left.

    Args:
      normals: Unit normals, z away from the camera (a frontal surface has (0, 0, 1)).
    """
    light = np.array([0.6, 0.4, 0.7]) / np.linalg.norm([0.6, 0.4, 0.7])
    grey = np.clip(np.asarray(normals, np.float32) @ light, 0, 1)
    return np.repeat(np.round(grey * 255).astype(np.uint8)[..., None], 3, axis=-1)


def signed_picture(
    values: Float[np.ndarray, "*b h w"], limit: float
) -> UInt8[np.ndarray, "*b h w 3"]:
    """Signed values on a diverging scale: blue negative, white zero, red positive.

    Args:
      values: Any unit.
      limit: The magnitude shown in full colour.
    """
    t = np.clip(np.asarray(values, np.float32) / (limit if limit > 0 else 1), -1, 1)
    fade = 1 - np.abs(t)
    red = np.where(t > 0, 0.80 + 0.20 * fade, fade)
    green = np.where(t > 0, fade, 0.25 + 0.75 * fade)
    blue = np.where(t > 0, 0.15 + 0.85 * fade, 0.80 + 0.20 * fade)
    # All three meet at white where fade is 1.
    return np.round(np.stack([red, green, blue], axis=-1) * 255).astype(np.uint8)


def enlarge(
    pictures: UInt8[np.ndarray, "*b h w 3"], factor: int, smooth: bool = False
) -> UInt8[np.ndarray, "*b h2 w2 3"]:
    """Pictures with ``factor`` times the height and width.

    Args:
      pictures: Of one size.
      factor: At least 1.
      smooth: Lanczos interpolation; otherwise every pixel becomes a square.
    """
    pictures = np.asarray(pictures)
    *batch, h, w, _ = pictures.shape
    if not smooth or factor == 1:
        return pictures.repeat(factor, axis=-3).repeat(factor, axis=-2)
    flat = pictures.reshape(-1, h, w, 3)
    size = (w * factor, h * factor)
    drawn = [np.asarray(Image.fromarray(p).resize(size, Image.Resampling.LANCZOS)) for p in flat]
    return np.stack(drawn).reshape(*batch, h * factor, w * factor, 3)


def grid(
    pictures: UInt8[np.ndarray, "r c h w 3"], gap: int = 0, background: int = 255
) -> UInt8[np.ndarray, "H W 3"]:
    """Pictures of one size in rows and columns.

    Args:
      pictures: (rows, columns, h, w, 3).
      gap: Pixels between neighbours.
      background: Grey value of the gaps.

    Returns:
      One picture.
    """
    pictures = np.asarray(pictures)
    check_shape("pictures", pictures, (None, None, None, None, 3))
    rows, columns, h, w, _ = pictures.shape
    shape = (rows * (h + gap) - gap, columns * (w + gap) - gap, 3)
    out = np.full(shape, background, np.uint8)
    for r in range(rows):
        for c in range(columns):
            out[r * (h + gap) : r * (h + gap) + h, c * (w + gap) : c * (w + gap) + w] = pictures[
                r, c
            ]
    return out
