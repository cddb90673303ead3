import jax
import jax.numpy as jnp
import numpy as np

from facesem_jax.training.turned_pairs import reflected, turn_direction

RNG = np.random.default_rng(0)


def test_the_direction_follows_yaw_but_not_the_light():
    z = RNG.standard_normal((20_000, 12)).astype(np.float32)
    # Yaw as a decomposer may see it: saturating, and mixed with the light from the side.
    light = z @ np.eye(12)[1]
    yaw = 0.3 * np.tanh(z @ np.eye(12)[0]) + 0.1 * light + 0.05 * RNG.standard_normal(20_000)
    found = turn_direction(jnp.asarray(z), jnp.asarray(yaw), jnp.asarray(light))
    np.testing.assert_allclose(np.linalg.norm(found), 1, atol=1e-5)
    assert found[0] > 0.99
    assert abs(found[1]) < 0.05


def test_without_a_relation_to_the_light_it_is_the_covariance():
    z = RNG.standard_normal((5000, 6)).astype(np.float32)
    yaw = z @ np.array([3.0, 0, 4, 0, 0, 0], np.float32) + 7
    found = turn_direction(jnp.asarray(z), jnp.asarray(yaw), jnp.zeros(5000))
    np.testing.assert_allclose(found, [0.6, 0, 0.8, 0, 0, 0], atol=0.05)


def test_reflected_latents_are_as_likely_and_turn_back():
    z = jax.random.normal(jax.random.key(0), (50, 8))
    direction = jnp.asarray(RNG.standard_normal(8), jnp.float32)
    direction /= jnp.linalg.norm(direction)
    turned = reflected(z, direction)
    np.testing.assert_allclose(turned @ direction, -(z @ direction), atol=1e-5)
    across = z - jnp.outer(z @ direction, direction)
    np.testing.assert_allclose(turned - jnp.outer(turned @ direction, direction), across, atol=1e-5)
    np.testing.assert_allclose(
        jnp.linalg.norm(turned, axis=1), jnp.linalg.norm(z, axis=1), rtol=1e-5
    )
    np.testing.assert_allclose(reflected(turned, direction), z, atol=1e-5)
