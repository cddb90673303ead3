"""Pictures and figures as PNG, to be written or put into a page."""

import base64
import io

import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure
from PIL import Image

from facesem_jax.checks import check_shape
from facesem_jax.errors import FacesemError


def picture_png(picture: UInt8[np.ndarray, "h w 3"], step: int = 1) -> bytes:
    """A picture as PNG, a pixel for a pixel.

    Args:
      picture: 8-bit RGB.
      step: Values are rounded to its multiples, and 1 keeps all: 5 errs by 2 in 255 at most, keeps
        black and white, and halves the size of a sheet of faces. (A palette of 256 colours is no
        larger, but washes out the faint changes of colour that edits make.)

    Raises:
      FacesemError: On another shape or dtype, an empty picture, or a step that does not divide 255.
    """
    picture = np.asarray(picture)
    check_shape("picture", picture, (None, None, 3))
    if picture.dtype != np.uint8 or picture.size == 0:
        raise FacesemError(
            f"picture has dtype {picture.dtype} and shape {picture.shape}; expected uint8 pixels. "
            "Convert images in [-1, 1] with `pictures.rgb`."
        )
    if step < 1 or 255 % step:
        raise FacesemError(f"step is {step}; expected a divisor of 255, such as 3 or 5.")
    rounded = (np.round(picture / step) * step).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(rounded).save(buffer, "PNG", compress_level=5)
    return buffer.getvalue()


def figure_png(figure: Figure, dots_per_inch: int = 192, transparent: bool = True) -> bytes:
    """A figure as PNG.

    Args:
      figure: Any Matplotlib figure.
      dots_per_inch: Pixels per inch of the figure's size; 96 is a browser's unit, so 192 is sharp
        on dense screens at half its size.
      transparent: Whether the page shows through.
    """
    buffer = io.BytesIO()
    figure.savefig(
        buffer,
        format="png",
        dpi=dots_per_inch,
        transparent=transparent,
        metadata={"Software": None},
        pil_kwargs={"compress_level": 5},
    )
    return buffer.getvalue()


def data_uri(png: bytes) -> str:
    """PNG data as the address of an image that a page carries within itself."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
