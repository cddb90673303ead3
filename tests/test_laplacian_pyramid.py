import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import convolve

from facesem_jax.errors import FacesemError
from facesem_jax.laplacian_pyramid import enlarged, laplacian_pyramid

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(-1, 1, (6, 32, 32, 3)).astype(np.float32)


def test_the_pyramid_is_that_of_progans_code(images):
    row = np.array([1, 4, 6, 4, 1])
    kernel = (np.outer(row, row) / 256)[None, :, :, None]
    small = convolve(images.astype(np.float64), kernel, mode="mirror")[:, ::2, ::2]
    spread = np.zeros(images.shape)
    spread[:, ::2, ::2] = small
    fine = images - convolve(spread, 4 * kernel, mode="mirror")
    found = laplacian_pyramid(images)
    assert [level.shape[1] for level in found] == [32, 16]
    np.testing.assert_allclose(found[0], fine, atol=1e-5)
    np.testing.assert_allclose(found[1], small, atol=1e-5)


def test_the_levels_add_up_to_the_picture(images):
    fine, middle, coarse = laplacian_pyramid(images, smallest=8)
    np.testing.assert_allclose(fine + enlarged(middle + enlarged(coarse)), images, atol=1e-5)


def test_a_constant_has_no_fine_levels():
    fine, coarse = laplacian_pyramid(np.full((1, 32, 32, 3), 0.7))
    np.testing.assert_allclose(fine, 0, atol=1e-6)
    np.testing.assert_allclose(coarse, 0.7, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 24, 24, 3), (1, 32, 16, 3), (1, 8, 8, 3)])
def test_a_size_without_a_pyramid_is_refused(shape):
    with pytest.raises(FacesemError, match=f"{shape[1]}x{shape[2]} pixels"):
        laplacian_pyramid(jnp.zeros(shape))
