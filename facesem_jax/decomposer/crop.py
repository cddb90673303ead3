"""From a generator's frame to the decomposer's: a fixed crop and an antialiased resize.

The presets for aligned faces are estimates, derived as follows with e the distance of the eyes
and m = 1.15 e that from the eyes to the mouth (a typical face). CelebA-HQ (Karras et al. 2018,
arXiv 1710.10196, appendix C) and FFHQ (Karras et al. 2019, arXiv 1812.04948, which aligns the
same way) cut a square of side max(4 e, 3.6 m) = 4.14 e, centred 0.1 m below the eyes. So
e = 0.242 of the frame and the eyes lie at 0.472 of its height. Unsup3D's own demonstration crops a
detector's box of width 2.4 e and height 3.1 e with the eyes at 0.38 of its height: a square of
side 1.1 (2.4 e + 3.1 e) / 2 = 3.03 e, centred 0.15 of half that side below the box's centre, which
is 0.60 e below the eyes. In the aligned frame: side 0.73, centre at (0.5, 0.617).
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from facesem_jax.checks import check_images
from facesem_jax.errors import FacesemError, near_names
from facesem_jax.one_program import one_program


@dataclasses.dataclass(frozen=True)
class CropBox:
    """A rectangle in fractions of an image's height and width.

    Attributes:
      top: Distance of the upper edge from the image's upper edge.
      left: Distance of the left edge from the image's left edge.
      height: Height of the rectangle.
      width: Width of the rectangle.
    """

    top: float
    left: float
    height: float
    width: float

    def __post_init__(self):
        """Refuses empty boxes and boxes that leave the image."""
        # An edge computed as top + height may exceed 1 by rounding.
        slack = 1e-6
        ok = (
            self.height > 0
            and self.width > 0
            and self.top >= -slack
            and self.left >= -slack
            and self.top + self.height <= 1 + slack
            and self.left + self.width <= 1 + slack
        )
        if not ok:
            raise FacesemError(
                f"{self} is empty or leaves the image; all values are fractions of the image, "
                "with top + height <= 1 and left + width <= 1."
            )


_ALIGNED = CropBox(top=0.25, left=0.135, height=0.73, width=0.73)

#: Crops by name: the whole frame; aligned FFHQ and CelebA-HQ faces (see the module's
#: docstring); the frames of the DigiFace stream, which are cropped tightly already.
CROPS: dict[str, CropBox] = {
    "identity": CropBox(0.0, 0.0, 1.0, 1.0),
    "ffhq": _ALIGNED,
    "celebahq": _ALIGNED,
    "digiface64": CropBox(0.0, 0.0, 1.0, 1.0),
}


def crop_box(box: CropBox | str) -> CropBox:
    """A box by name, or the box itself.

    Args:
      box: A `CropBox`, or a key of ``CROPS``.

    Returns:
      The box.

    Raises:
      FacesemError: On an unknown name.
    """
    if isinstance(box, CropBox):
        return box
    if box not in CROPS:
        raise FacesemError(f"unknown crop {box!r}; {near_names(box, tuple(CROPS))}")
    return CROPS[box]


def parse_crop(text: str) -> CropBox:
    """A box from a command line.

    Args:
      text: A key of ``CROPS``, or ``top,left,height,width`` in fractions of the image.

    Returns:
      The box.

    Raises:
      FacesemError: On an unknown name, or numbers that are no box within the image.
    """
    if "," not in text:
        return crop_box(text)
    try:
        top, left, height, width = map(float, text.split(","))
        return CropBox(top, left, height, width)
    except ValueError as error:
        raise FacesemError(
            f"crop is {text!r}; expected a name ({', '.join(CROPS)}) or four fractions "
            "top,left,height,width within the image."
        ) from error


def crop_and_resize(
    images: Float[Array, "n h w 3"], box: CropBox | str, size: int
) -> Float[Array, "n s s 3"]:
    """Crops and resizes with a triangle filter as wide as an output pixel (at least an input one).

    Linear in the images. The filter reaches over the box's edges into the image where there is
    one, and is renormalised at the image's own edges. Fractional edges are exact: the output
    pixels' centres divide the box evenly.

    Args:
      images: (n, h, w, 3).
      box: Part of the image to keep, or the name of one.
      size: Height and width of the result in pixels.

    Returns:
      (n, size, size, 3).

    Raises:
      FacesemError: On wrong images, an unknown crop or a size below 1.
    """
    check_images("images", images)
    if size < 1:
        raise FacesemError(f"size is {size}; expected at least 1.")
    box = crop_box(box)
    if box == CROPS["identity"] and images.shape[1] == images.shape[2] == size:
        return images
    return _resized(images, box, size)


@one_program(static=("box", "size"))
def _resized(images, box: CropBox, size: int):
    n, h, w, c = images.shape
    scales = (size / (box.height * h), size / (box.width * w))
    shifts = (-box.top * h * scales[0], -box.left * w * scales[1])
    # Pre-rounding to float32 would move the crop of a float64 image.
    dtype = images.dtype
    return jax.image.scale_and_translate(
        images,
        (n, size, size, c),
        (1, 2),
        jnp.array(scales, dtype),
        jnp.array(shifts, dtype),
        method="linear",
        antialias=True,
        precision=lax.Precision.HIGHEST,
    )
