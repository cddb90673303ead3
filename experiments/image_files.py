"""Pictures of any kind of file to images in [-1, 1]; nothing large is decoded."""

import pathlib
import warnings

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps

from facesem_jax.decomposer.crop import CROPS, CropBox, crop_box
from facesem_jax.errors import FacesemError, first_line

MOST_PIXELS = 2**26
"""Of a picture: larger ones are refused from their header, before they take memory."""

# Only decoders that ship with Pillow itself: others call programs (EPS) or read other files.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM")


def read_image(
    path: pathlib.Path, size: int, crop: str | None = None
) -> Float[np.ndarray, "s s 3"]:
    """Reads a picture, cuts a part out and resizes it.

    Turned as its camera says (EXIF); transparent parts become white; of several frames the first
    is taken. The resize averages with a triangle filter as wide as an output pixel, as
    `facesem_jax.decomposer.crop.crop_and_resize` does, on 8-bit values.

    Args:
      path: PNG, JPEG, WebP, BMP, TIFF, GIF or PPM.
      size: Height and width of the result in pixels.
      crop: See `photo_box`.

    Returns:
      The image in [-1, 1].

    Raises:
      FacesemError: If the file is missing, no picture, damaged, too large, or the crop is no part
        of it.
    """
    picture = _open(path)
    box = photo_box(crop, picture.height, picture.width)
    edges = (
        max(box.left, 0) * picture.width,
        max(box.top, 0) * picture.height,
        min(box.left + box.width, 1) * picture.width,
        min(box.top + box.height, 1) * picture.height,
    )
    small = picture.resize((size, size), Image.Resampling.BILINEAR, box=edges)
    return np.asarray(small, np.float32) / 127.5 - 1


def read_photo(path: pathlib.Path) -> UInt8[np.ndarray, "h w 3"]:
    """A whole picture, upright, RGB with 8 bits; formats and errors as for `read_image`."""
    return np.asarray(_open(path))


def photo_box(crop: str | None, height: int, width: int, option: str = "--crop") -> CropBox:
    """The part of a picture that is taken.

    Args:
      crop: ``None`` for the largest square in the middle; a name of `CROPS`, which is a part of
        that square; or ``top,left,height,width``, in fractions of the picture or, where a value is
        above 1, in pixels.
      height: Of the picture in pixels.
      width: Of the picture in pixels.
      option: Name of the option that ``crop`` came from, for errors.

    Raises:
      FacesemError: On an unknown name, or numbers that are no box within the picture.
    """
    if crop is None or "," not in crop:
        part, side = crop_box(crop or "identity"), min(height, width)
        numbers = (
            (height - side) / 2 + part.top * side,
            (width - side) / 2 + part.left * side,
            part.height * side,
            part.width * side,
        )
    else:
        try:
            numbers = tuple(map(float, crop.split(",")))
            if len(numbers) != 4 or not np.isfinite(numbers).all():
                raise ValueError
        except ValueError as error:
            raise FacesemError(
                f"{option} is {crop!r}; expected a name ({', '.join(CROPS)}) or four numbers "
                "top,left,height,width, in fractions of the picture or in pixels."
            ) from error
        if max(numbers) <= 1:
            return CropBox(*numbers)
    top, left, box_height, box_width = numbers
    try:
        return CropBox(top / height, left / width, box_height / height, box_width / width)
    except FacesemError as error:
        raise FacesemError(
            f"{option} {crop} is empty or leaves the picture of {height} rows and {width} columns."
        ) from error


def _open(path: pathlib.Path) -> Image.Image:
    """The decoded picture, upright, 8-bit RGB."""
    try:
        found = path.is_file()
    except OSError:  # A name too long for the file system.
        found = False
    if not found:
        raise FacesemError(f"There is no picture {path}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of metadata; the size is checked here.
            with Image.open(path, formats=_FORMATS) as picture:
                if picture.width * picture.height > MOST_PIXELS:
                    raise FacesemError(
                        f"{path} has {picture.width}x{picture.height} pixels; at most "
                        f"{MOST_PIXELS // 2**20} million are read. Shrink it first."
                    )
                picture.load()
                return _eight_bit_rgb(ImageOps.exif_transpose(picture))
    except FacesemError:
        raise
    except Exception as error:  # Pillow's decoders raise many types on damaged files.
        raise FacesemError(
            f"{path} is no readable picture ({', '.join(_FORMATS)}), or it is damaged "
            f"({first_line(error, 120)})."
        ) from error


def _eight_bit_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I") or picture.mode == "F":
        # Pillow would clip 16-bit grey values at 255.
        values = np.asarray(picture, np.float64)
        if picture.mode == "F" or values.min() < 0 or values.max() > 65535:
            raise ValueError("its pixels have neither 8 nor 16 bits")
        return Image.fromarray(np.round(values / 257).astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        ground = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(ground, picture).convert("RGB")
    return picture.convert("RGB")
