import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from facesem_jax.decomposer.grid_sample import bilinear_sample, grid_sample
from facesem_jax.errors import FacesemError

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.mark.parametrize("align_corners", [False, True])
def test_matches_the_reference(golden, align_corners):
    sampled = jax.jit(grid_sample, static_argnames="align_corners")(
        golden["canonical_image"], golden["inverse_warped_grid_2d"], align_corners=align_corners
    )
    expected = golden[f"grid_sample_align_{str(align_corners).lower()}"]
    np.testing.assert_allclose(sampled, expected, atol=1e-5)


@pytest.mark.parametrize(("padding", "mode"), [("zeros", "grid-constant"), ("border", "nearest")])
def test_matches_scipy_inside_and_far_outside(padding, mode):
    rng = np.random.default_rng(0)
    image = rng.normal(size=(7, 9)).astype(np.float32)
    u = rng.uniform(-4, 13, (5, 6)).astype(np.float32)
    v = rng.uniform(-4, 11, (5, 6)).astype(np.float32)
    u[0, :4], v[0, :4] = [0, 8, -1, 9], [0, 6, 7, -1]
    u[1, 0], v[1, 1] = 1e9, -1e9
    found = bilinear_sample(image[None, :, :, None], u[None], v[None], padding=padding)
    expected = ndimage.map_coordinates(
        image.astype(float), [v.astype(float), u.astype(float)], order=1, mode=mode
    )
    np.testing.assert_allclose(found[0, ..., 0], expected, atol=1e-4)


def test_batches_do_not_mix():
    images = jnp.arange(3.0)[:, None, None, None] * jnp.ones((3, 4, 4, 1))
    u = jnp.full((3, 2, 2), 2.9)
    found = bilinear_sample(images, u, u)
    np.testing.assert_allclose(found, images[:, :2, :2], atol=1e-6)


@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_gradients(padding):
    with jax.enable_x64(True):
        rng = np.random.default_rng(1)
        image = jnp.asarray(rng.normal(size=(2, 5, 6, 2)))
        u = jnp.asarray(rng.uniform(-2, 8, (2, 4, 4)))
        v = jnp.asarray(rng.uniform(-2, 7, (2, 4, 4)))
        chex.assert_numerical_grads(
            lambda *args: bilinear_sample(*args, padding=padding), (image, u, v), order=1
        )


def test_refuses_bad_arguments():
    images, grid = jnp.zeros((1, 4, 4, 3)), jnp.zeros((1, 4, 4, 2))
    with pytest.raises(FacesemError, match="padding"):
        grid_sample(images, grid, padding="reflect")
    with pytest.raises(FacesemError, match="grid has shape"):
        grid_sample(images, jnp.zeros((2, 4, 4, 2)))
    with pytest.raises(FacesemError, match="dtype"):
        grid_sample(images.astype(int), grid)
