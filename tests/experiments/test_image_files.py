import io
import struct
import zlib

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments import image_files
from experiments.image_files import photo_box, read_image
from facesem_jax.decomposer.crop import CROPS, CropBox, crop_and_resize
from facesem_jax.errors import FacesemError


@pytest.fixture(scope="module")
def pixels():
    """A smooth picture of 60 rows and 90 columns."""
    y, x = np.mgrid[0:60, 0:90] / 60
    wave = np.stack([np.sin(5 * x + y), np.cos(3 * y), np.sin(4 * x * y)], axis=-1)
    return np.round(127.5 + 127.5 * wave).astype(np.uint8)


def _saved(path, picture, **options):
    picture.save(path, **options)
    return path


def test_crop_and_resize_are_the_librarys(tmp_path, pixels):
    path = _saved(tmp_path / "a.png", Image.fromarray(pixels))
    images = jnp.asarray(pixels[None] / 127.5 - 1, jnp.float32)
    for crop, box in (
        (None, CropBox(0, 15 / 90, 1, 60 / 90)),
        ("0.1,0.2,0.5,0.6", CropBox(0.1, 0.2, 0.5, 0.6)),
        ("6,18,30,54", CropBox(0.1, 0.2, 0.5, 0.6)),
        ("identity", CropBox(0, 15 / 90, 1, 60 / 90)),
    ):
        expected = np.asarray(crop_and_resize(images, box, 16))[0]
        found = read_image(path, 16, crop)
        assert found.shape == (16, 16, 3) and found.dtype == np.float32
        # Pillow rounds to 8 bits, after each axis.
        np.testing.assert_allclose(found, expected, atol=2.1 / 127.5)


def test_a_named_crop_is_a_part_of_the_middle_square():
    box, part = photo_box("ffhq", 100, 300), CROPS["ffhq"]
    np.testing.assert_allclose(
        [box.top, box.left * 300 - 100, box.height, box.width * 300],
        [part.top, part.left * 100, part.height, part.width * 100],
    )


@pytest.mark.parametrize(
    ("crop", "message"),
    [
        ("moon", "unknown crop 'moon'"),
        ("1,2,3", "four numbers"),
        ("1,2,x,4", "four numbers"),
        ("1,2,nan,4", "four numbers"),
        ("0,0,61,10", "leaves the picture of 60 rows and 90 columns"),
        ("0.5,0.5,0.9,0.1", "leaves the image"),
        ("-1,0,10,10", "leaves the picture"),
        ("0,0,0,10", "is empty"),
    ],
)
def test_bad_crops_are_refused(crop, message):
    with pytest.raises(FacesemError, match=message):
        photo_box(crop, 60, 90)


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp", "tiff", "gif", "ppm"])
def test_every_common_format_is_read(tmp_path, pixels, ending):
    grey = np.full((20, 20, 3), 64, np.uint8)
    path = _saved(tmp_path / f"a.{ending}", Image.fromarray(grey))
    np.testing.assert_allclose(read_image(path, 8), 64 / 127.5 - 1, atol=0.02)


def test_a_camera_that_was_turned_gives_an_upright_face(tmp_path, pixels):
    square = Image.fromarray(pixels[:60, :60])
    exif = Image.Exif()
    exif[274] = 6  # To be turned by 90 degrees clockwise.
    turned = square.transpose(Image.Transpose.ROTATE_90)
    path = _saved(tmp_path / "a.png", turned, exif=exif)
    np.testing.assert_array_equal(
        read_image(path, 60), np.float32(pixels[:60, :60]) / np.float32(127.5) - 1
    )


def test_other_kinds_of_pixels_become_rgb(tmp_path):
    white = _saved(tmp_path / "clear.png", Image.new("RGBA", (9, 9), (200, 0, 0, 0)))
    np.testing.assert_array_equal(read_image(white, 3), 1)
    deep = np.full((9, 9), 257 * 100, np.uint16)
    path = _saved(tmp_path / "deep.png", Image.fromarray(deep))
    np.testing.assert_allclose(read_image(path, 3), 100 / 127.5 - 1, atol=1e-6)
    palette = Image.new("P", (9, 9), 1)
    palette.putpalette([0, 0, 0, 0, 255, 0])
    path = _saved(tmp_path / "palette.gif", palette)
    np.testing.assert_array_equal(read_image(path, 3)[0, 0], [-1, 1, -1])
    cmyk = _saved(tmp_path / "cmyk.jpg", Image.new("CMYK", (9, 9)))
    np.testing.assert_allclose(read_image(cmyk, 3), 1, atol=0.05)


def _bomb(width, height):
    """A PNG whose header claims a size that its few bytes do not hold."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def _png(picture):
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no readable picture"),
        (b"text", "no readable picture"),
        (_png(Image.effect_noise((64, 64), 50))[:1500], "no readable picture"),
        (_bomb(100, 100), "no readable picture"),
        (_bomb(8193, 8193), "has 8193x8193 pixels; at most 64 million"),
        (_bomb(2**30, 2**30), "no readable picture|pixels; at most"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n", "no readable picture"),
    ],
    ids=["empty", "text", "truncated", "short", "large", "huge", "eps"],
)
def test_a_bad_file_is_one_clear_error(tmp_path, content, message):
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(FacesemError, match=message) as error:
        read_image(path, 8)
    assert "\n" not in str(error.value) and "bad.png" in str(error.value)


def test_a_missing_picture_and_odd_pixels_are_named(tmp_path):
    for path in (tmp_path / "none.png", tmp_path, tmp_path / ("x" * 5000)):
        with pytest.raises(FacesemError, match="There is no picture"):
            read_image(path, 8)
    real = _saved(tmp_path / "real.tiff", Image.fromarray(np.ones((9, 9), np.float32)))
    with pytest.raises(FacesemError, match=r"real.tiff .*neither 8 nor 16 bits"):
        read_image(real, 8)


def test_large_pictures_are_refused_before_they_are_decoded(tmp_path, monkeypatch, pixels):
    path = _saved(tmp_path / "a.png", Image.fromarray(pixels))
    monkeypatch.setattr(image_files, "MOST_PIXELS", 60 * 90 - 1)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(FacesemError, match="90x60 pixels"):
        read_image(path, 8)
