"""Pictures as a moving one."""

import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from facesem_jax.checks import check_shape
from facesem_jax.errors import FacesemError


def animation_gif(
    pictures: UInt8[np.ndarray, "t h w 3"], seconds: float = 1.5, *, back: bool = True
) -> bytes:
    """An endless GIF, all frames in one palette of 256 colours, so that still parts do not flicker.

    Args:
      pictures: 8-bit RGB, in their order.
      seconds: From the first to the last.
      back: Whether they are then shown backwards, without the ends twice.

    Raises:
      FacesemError: On another shape or dtype, no picture, or no positive time.
    """
    pictures = np.asarray(pictures)
    check_shape("pictures", pictures, (None, None, None, 3))
    if pictures.dtype != np.uint8 or pictures.size == 0:
        raise FacesemError(
            f"pictures have dtype {pictures.dtype} and shape {pictures.shape}; expected uint8."
        )
    if not (np.isfinite(seconds) and seconds > 0):
        raise FacesemError(f"seconds is {seconds}; expected a positive number.")
    order = list(range(len(pictures)))
    if back:
        order += order[-2:0:-1]
    palette = Image.fromarray(np.concatenate(list(pictures), axis=1)).quantize(256)
    frames = [Image.fromarray(pictures[i]).quantize(palette=palette) for i in order]
    # The format counts hundredths of a second; browsers slow down frames of less than two.
    each = max(20, round(seconds * 100 / max(len(pictures) - 1, 1)) * 10)
    buffer = io.BytesIO()
    more = {"append_images": frames[1:], "save_all": True, "loop": 0, "duration": each}
    frames[0].save(buffer, "GIF", disposal=1, **more)
    return buffer.getvalue()
