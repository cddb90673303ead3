import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.laplacian_pyramid import laplacian_pyramid
from facesem_jax.training.patch_bands import patches_along, sorted_in_groups

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).normal(size=(3, 32, 32, 3)).astype(np.float32)


def test_directions_pick_pixels_of_patches_that_lie_side_by_side(images):
    bands = laplacian_pyramid(jnp.asarray(images))
    # One direction is the first channel's upper left pixel, one the last channel's lower right.
    theta = [jnp.eye(147)[:, jnp.array([0, 146])]] * 2
    found = patches_along(bands, theta, jax.random.key(0))
    chex.assert_shape(found[0], (3, 16, 2))
    chex.assert_shape(found[1], (3, 2 * 4, 2))
    for picture in range(3):
        band = np.asarray(bands[0][picture])
        first = np.asarray(found[0][picture]).reshape(4, 4, 2)
        top, left = np.argwhere(np.isclose(band[..., 0], first[0, 0, 0]))[0]
        assert 0 <= top <= 4 and 0 <= left <= 4
        corners = band[top : top + 28 : 7, left : left + 28 : 7, 0]
        np.testing.assert_allclose(first[..., 0], corners, rtol=1e-6)
        ends = band[top + 6 : top + 28 : 7, left + 6 : left + 28 : 7, 2]
        np.testing.assert_allclose(first[..., 1], ends, rtol=1e-6)


def test_keys_move_the_patches_and_every_place_is_met(images):
    bands = laplacian_pyramid(jnp.asarray(images[:1]))[:1]
    theta = [jnp.eye(147)[:, :1]]
    along = jax.jit(lambda key: patches_along(bands, theta, key)[0][0, 0, 0])
    seen = {float(along(jax.random.key(k))) for k in range(150)}
    assert seen == {float(x) for x in np.asarray(bands[0][0, :5, :5, 0]).ravel()}


def test_directions_of_another_size_are_refused(images):
    with pytest.raises(FacesemError, match=r"theta\[1\]"):
        bands = laplacian_pyramid(jnp.asarray(images))
        patches_along(bands, [jnp.ones((147, 2)), jnp.ones((49, 2))], jax.random.key(0))


def test_gradients_equal_central_differences(images):
    theta = [jnp.asarray(np.random.default_rng(k).normal(size=(147, 4))) for k in range(2)]
    with jax.enable_x64(True):
        x = jnp.asarray(images[:1], jnp.float64)
        lines = [jnp.asarray(t, jnp.float64) for t in theta]

        def value(x):
            found = patches_along(laplacian_pyramid(x), lines, jax.random.key(1))
            return sum(jnp.sum(jnp.square(sorted_in_groups(f, 1))) for f in found)

        direction = jnp.asarray(np.random.default_rng(5).normal(size=x.shape))
        slope = jnp.vdot(jax.grad(value)(x), direction)
        step = 1e-4
        central = (value(x + step * direction) - value(x - step * direction)) / (2 * step)
        np.testing.assert_allclose(slope, central, rtol=1e-7)


def test_groups_are_sorted_apart():
    x = jnp.asarray([[3.0, 1.0], [2.0, 5.0], [9.0, 7.0], [8.0, 0.0]])[..., None]
    found = sorted_in_groups(x, 2)
    np.testing.assert_array_equal(found[..., 0], [[1, 2, 3, 5], [0, 7, 8, 9]])
