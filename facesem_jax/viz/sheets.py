"""Many faces on one picture: samples, decompositions, manipulation strips."""

import numpy as np
from jaxtyping import Float, UInt8

from facesem_jax.checks import check_shape
from facesem_jax.viz.pictures import depth_picture, grid, relief_picture, rgb

DECOMPOSITION_ROWS = (
    "input",
    "reconstruction",
    "albedo",
    "depth",
    "relief",
    "canonical image",
)
"""The rows of `decomposition_sheet`, from the top."""


def shrink(images: Float[np.ndarray, "*b H W 3"], largest: int) -> Float[np.ndarray, "*b h w 3"]:
    """Averages blocks of pixels, by the smallest factor that brings the sides to ``largest``.

    Rows and columns that no whole block covers are dropped at the lower and right edge.

    Args:
      images: Any range.
      largest: Pixels allowed per side; smaller images stay as they are.
    """
    images = np.asarray(images)
    *batch, height, width, channels = images.shape
    factor = -(-max(height, width) // largest)
    if factor == 1:
        return images
    h, w = height // factor, width // factor
    blocks = images[..., : h * factor, : w * factor, :].reshape(
        *batch, h, factor, w, factor, channels
    )
    return blocks.mean(axis=(-4, -2))


def sheet_columns(count: int, most: int = 8) -> int:
    """Columns for ``count`` pictures: ``most``, or a few fewer where that fills every row."""
    if count <= most:
        return max(count, 1)
    return next((c for c in range(most, most // 2, -1) if count % c == 0), most)


def sample_sheet(
    samples: Float[np.ndarray, "s H W 3"], columns: int, largest: int = 128
) -> UInt8[np.ndarray, "h w 3"]:
    """Samples in reading order; places that the last row leaves empty are mid-grey.

    Args:
      samples: In [-1, 1].
      columns: Pictures per row.
      largest: Pixels per side above which samples are averaged down (see `shrink`).
    """
    check_shape("samples", samples, (None, None, None, 3))
    pictures = rgb(shrink(samples, largest))
    empty = -len(pictures) % columns
    fill = np.full((empty, *pictures.shape[1:]), 128, np.uint8)
    return grid(np.concatenate([pictures, fill]).reshape(-1, columns, *pictures.shape[1:]))


def depth_range(depth: Float[np.ndarray, "m h w"]) -> tuple[float, float]:
    """Near and far ends of a grey scale for these depths: their 1st and 99th percentile.

    Scene units, widened to hundredths, so that a caption can state them.
    """
    near, far = np.quantile(np.asarray(depth, np.float64), [0.01, 0.99])
    # Rounding first: 0.93 / 0.01 is 92.99999 in floating point.
    near = np.floor(np.round(near * 100, 6)) / 100
    far = np.ceil(np.round(far * 100, 6)) / 100
    return float(near), float(far if far > near else near + 0.01)


def decomposition_sheet(
    images: Float[np.ndarray, "m h w 3"],
    reconstruction: Float[np.ndarray, "m h w 3"],
    albedo: Float[np.ndarray, "m h w 3"],
    depth: Float[np.ndarray, "m h w"],
    normals: Float[np.ndarray, "m h w 3"],
    canonical: Float[np.ndarray, "m h w 3"],
    near: float = 0.9,
    far: float = 1.1,
) -> UInt8[np.ndarray, "H W 3"]:
    """A column per face, rows as in `DECOMPOSITION_ROWS`.

    Args:
      images: What the decomposer saw, in [-1, 1].
      reconstruction: In [-1, 1].
      albedo: In [-1, 1].
      depth: Scene units.
      normals: Unit normals, z away from the camera.
      canonical: The shaded canonical face, in [-1, 1].
      near: Depth shown white.
      far: Depth shown black.
    """
    check_shape("images", images, (None, None, None, 3))
    rows = {"reconstruction": reconstruction, "albedo": albedo, "canonical": canonical}
    for name, row in {**rows, "normals": normals}.items():
        check_shape(name, row, np.shape(images))
    check_shape("depth", depth, np.shape(images)[:-1])
    return grid(
        np.stack(
            [
                rgb(images),
                rgb(reconstruction),
                rgb(albedo),
                depth_picture(depth, near, far),
                relief_picture(normals),
                rgb(canonical),
            ]
        )
    )


def strip_sheet(images: Float[np.ndarray, "m t h w 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """A manipulation strip: a row per face, a column per amount.

    Args:
      images: In [-1, 1].
    """
    check_shape("images", images, (None, None, None, None, 3))
    return grid(rgb(images))


def column(pictures: UInt8[np.ndarray, "m h w 3"]) -> UInt8[np.ndarray, "H w 3"]:
    """Pictures one below the other, as beside a `strip_sheet`."""
    return grid(np.asarray(pictures)[:, None])
