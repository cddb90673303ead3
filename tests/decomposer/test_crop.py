import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from facesem_jax.decomposer.crop import CROPS, CropBox, crop_and_resize, crop_box, parse_crop
from facesem_jax.errors import FacesemError

pytestmark = pytest.mark.usefixtures("quick_compilation")


def test_the_whole_frame_at_its_own_size_is_exact():
    images = jax.random.uniform(jax.random.key(0), (2, 16, 16, 3))
    for name in ("identity", "digiface64"):
        assert (crop_and_resize(images, name, 16) == images).all()
    # Through the filter too, not only by the shortcut.
    padded = jnp.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)))
    box = CropBox(4 / 24, 4 / 24, 16 / 24, 16 / 24)
    np.testing.assert_allclose(crop_and_resize(padded, box, 16), images, atol=1e-5)


# Enlarging is exact. A triangle filter on a grid that it does not divide evenly, as in reducing by
# 1.6 here, reproduces ramps up to a tenth of a source pixel only (Pillow's does the same).
@pytest.mark.parametrize(("size", "tolerance"), [(64, 1e-5), (16, 0.1 / 50)])
def test_linear_ramps_stay_linear_under_fractional_boxes(size, tolerance):
    box = CropBox(top=0.213, left=0.157, height=0.517, width=0.611)
    # The ramp's value is the position itself, in fractions of the frame.
    centres = (jnp.arange(50) + 0.5) / 50
    ramp = jnp.stack(jnp.broadcast_arrays(centres[:, None], centres[None], 0.5), -1)[None]
    found = crop_and_resize(ramp, box, size)[0]
    inside = (np.arange(size) + 0.5) / size
    expected_y = box.top + box.height * inside
    expected_x = box.left + box.width * inside
    np.testing.assert_allclose(found[..., 0], np.tile(expected_y[:, None], size), atol=tolerance)
    np.testing.assert_allclose(found[..., 1], np.tile(expected_x, (size, 1)), atol=tolerance)
    np.testing.assert_allclose(found[..., 2], 0.5, atol=1e-5)


@pytest.mark.parametrize("size", [24, 64])
def test_equals_pillow(size):
    image = np.random.default_rng(0).uniform(-1, 1, (96, 80, 3)).astype(np.float32)
    left, top, width, height = 10, 21, 55, 60
    box = CropBox(top / 96, left / 80, height / 96, width / 80)
    found = crop_and_resize(jnp.asarray(image)[None], box, size)[0]
    for channel in range(3):
        expected = Image.fromarray(image[..., channel]).resize(
            (size, size), Image.Resampling.BILINEAR, box=(left, top, left + width, top + height)
        )
        np.testing.assert_allclose(found[..., channel], np.asarray(expected), atol=1e-4)


def test_is_linear_and_its_gradient_the_adjoint():
    keys = jax.random.split(jax.random.key(0), 3)
    x, y = (jax.random.normal(k, (1, 40, 40, 3)) for k in keys[:2])
    weights = jax.random.normal(keys[2], (1, 12, 12, 3))

    def f(x):
        return jnp.vdot(weights, crop_and_resize(x, "ffhq", 12))

    grad = jax.grad(f)(x)
    np.testing.assert_allclose(jnp.vdot(grad, y), f(y), rtol=1e-4)
    np.testing.assert_allclose(f(x + y), f(x) + f(y), rtol=1e-4)


def test_float64_stays_float64():
    with jax.enable_x64(True):
        images = jnp.ones((1, 40, 40, 3), jnp.float64)
        found = crop_and_resize(images, "celebahq", 20)
        assert found.dtype == jnp.float64
        np.testing.assert_allclose(found, 1.0, atol=1e-12)


def test_presets_keep_an_aligned_face():
    # Eyes and mouth of an aligned FFHQ face, in fractions of the frame.
    box = CROPS["ffhq"]
    eyes_y, mouth_y = 0.472, 0.472 + 1.15 * 0.242
    assert 0.25 < (eyes_y - box.top) / box.height < 0.4
    assert 0.6 < (mouth_y - box.top) / box.height < 0.75
    assert box.left + box.width / 2 == pytest.approx(0.5)
    for other in CROPS.values():
        assert crop_box(other) is other


def test_refuses_bad_arguments():
    images = jnp.zeros((1, 8, 8, 3))
    with pytest.raises(FacesemError, match="unknown crop 'lfw'; known are identity"):
        crop_and_resize(images, "lfw", 4)
    with pytest.raises(FacesemError, match="leaves the image"):
        CropBox(0.5, 0.0, 0.6, 1.0)
    with pytest.raises(FacesemError, match="empty"):
        CropBox(0.5, 0.0, 0.0, 1.0)
    with pytest.raises(FacesemError, match="size"):
        crop_and_resize(images, "identity", 0)
    with pytest.raises(FacesemError, match="images has shape"):
        crop_and_resize(images[0], "identity", 4)


def test_crops_by_name_and_by_numbers():
    assert parse_crop("ffhq") == CROPS["ffhq"]
    assert parse_crop("0.1, 0.2,0.5,0.6") == CropBox(0.1, 0.2, 0.5, 0.6)
    for text in ("0.1,0.2", "a,b,c,d", "0,0,1,1,1", "nan,0,1,1", "0,0,2,2"):
        with pytest.raises(FacesemError, match="four fractions"):
            parse_crop(text)
    with pytest.raises(FacesemError, match="unknown crop 'smile'"):
        parse_crop("smile")
