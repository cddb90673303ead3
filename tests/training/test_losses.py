import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facesem_jax.training.losses import (
    confident_l1,
    gradient_l1,
    halve,
    masked_mean,
    pyramid_l1,
)


def _normal(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.fixture
def mask():
    return jnp.ones((2, 8, 8)).at[:, 2:4, 3:].set(0)


def test_masked_mean_is_the_mean_of_what_is_seen(mask):
    x = _normal((2, 8, 8, 3))
    np.testing.assert_allclose(
        masked_mean(x, mask), np.asarray(x)[np.asarray(mask) > 0].mean(), rtol=1e-5
    )
    np.testing.assert_allclose(masked_mean(x), x.mean(), rtol=1e-6)
    assert masked_mean(x, jnp.zeros_like(mask)) == 0


@pytest.mark.parametrize("x", [0.01, -0.3, 2.0])
def test_confident_l1_is_least_where_sigma_is_the_errors_scale(x):
    difference, seen = jnp.full((1, 4, 4, 3), x), jnp.ones((1, 4, 4))

    def loss(sigma):
        return confident_l1(difference, jnp.full((1, 4, 4), sigma), seen)

    best = np.sqrt(2) * abs(x)
    np.testing.assert_allclose(loss(best), 1 + np.log(best), atol=1e-4)
    np.testing.assert_allclose(best * jax.grad(loss)(best), 0, atol=1e-3)
    for factor in (0.5, 0.9, 1.1, 2):
        assert loss(factor * best) > loss(best)


def test_masked_terms_ignore_what_the_mask_hides(mask):
    x, sigma = _normal((2, 8, 8, 3)), jnp.exp(_normal((2, 8, 8), 1))
    other = jnp.where(mask[..., None] > 0, x, 100.0)
    other_sigma = jnp.where(mask > 0, sigma, 0.01)
    for f in (masked_mean, gradient_l1):
        np.testing.assert_array_equal(f(x, mask), f(other, mask))
        assert f(x, mask) != f(x + mask[..., None] * x, mask)
    np.testing.assert_array_equal(
        confident_l1(x, sigma, mask), confident_l1(other, other_sigma, mask)
    )
    hidden = jax.grad(lambda s: confident_l1(x, s, mask))(sigma)[mask == 0]
    np.testing.assert_array_equal(hidden, 0)


def test_gradient_l1_of_a_ramp_is_its_slopes(mask):
    v, u = jnp.mgrid[:8, :8].astype(jnp.float32)
    ramp = jnp.broadcast_to((0.5 * u - 0.25 * v + 3)[None, :, :, None], (2, 8, 8, 3))
    np.testing.assert_allclose(gradient_l1(ramp), 0.75, rtol=1e-6)
    np.testing.assert_allclose(gradient_l1(ramp, mask), 0.75, rtol=1e-6)
    assert gradient_l1(jnp.ones((1, 4, 4, 3))) == 0


def test_halve_averages_blocks():
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(halve(x)[0, :, :, 0], [[2.5, 4.5], [10.5, 12.5]])
    chex.assert_shape(halve(_normal((2, 6, 4, 3))), (2, 3, 2, 3))


def test_pyramid_l1_of_a_constant_and_of_a_checkerboard():
    np.testing.assert_allclose(pyramid_l1(jnp.full((2, 8, 8, 3), -0.7)), 0.7, rtol=1e-6)
    v, u = jnp.mgrid[:8, :8]
    board = jnp.where((u + v) % 2 == 0, 1.0, -1.0)[None, :, :, None]
    # Only the finest of three levels sees it.
    np.testing.assert_allclose(pyramid_l1(board), 1 / 3, rtol=1e-6)
    np.testing.assert_allclose(pyramid_l1(board, levels=1), 1, rtol=1e-6)
