import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facesem_jax.training.coupled_pairs import (
    coupled_latents,
    moved,
    pair_directions,
    pair_readings,
)
from facesem_jax.training.turned_pairs import reflected

pytestmark = pytest.mark.usefixtures("quick_compilation")

RNG = np.random.default_rng(0)
DIM = 8


def _latents(count=400):
    return jnp.asarray(RNG.standard_normal((count, DIM)), jnp.float32)


def test_readings_are_yaw_and_the_lights_x(tiny_decomposer):
    images = jnp.asarray(RNG.uniform(-1, 1, (2, 32, 32, 3)), jnp.float32)
    found = pair_readings(tiny_decomposer, images)
    np.testing.assert_allclose(found[:, 0], tiny_decomposer.view(images)[:, 1])
    np.testing.assert_allclose(found[:, 1], tiny_decomposer.light(images)[:, 2])


def test_pitch_and_the_lights_y_come_after_them_if_asked(tiny_decomposer):
    images = jnp.asarray(RNG.uniform(-1, 1, (2, 32, 32, 3)), jnp.float32)
    found = pair_readings(tiny_decomposer, images, pitch=True)
    assert found.shape == (2, 4)
    np.testing.assert_array_equal(found[:, :2], pair_readings(tiny_decomposer, images))
    np.testing.assert_allclose(found[:, 2], tiny_decomposer.view(images)[:, 0])
    np.testing.assert_allclose(found[:, 3], tiny_decomposer.light(images)[:, 3])


def test_each_direction_leaves_the_other_reading_alone():
    z = jnp.asarray(RNG.standard_normal((20_000, DIM)), jnp.float32)
    readings = jnp.stack([z[:, 0] + 0.5 * z[:, 1], 0.3 * z[:, 1] + 0.2 * z[:, 0]], axis=1)
    turn, light = pair_directions(z, readings)
    gradients = np.zeros((2, DIM))
    gradients[0, :2], gradients[1, :2] = (1, 0.5), (0.2, 0.3)
    np.testing.assert_allclose(np.linalg.norm([turn, light], axis=1), 1, atol=1e-5)
    assert abs(gradients[1] @ turn) < 0.02 and gradients[0] @ turn > 0.4
    assert abs(gradients[0] @ light) < 0.05 and gradients[1] @ light > 0.1


def test_the_nod_is_the_third_and_leaves_the_lights_y_alone():
    z = jnp.asarray(RNG.standard_normal((20_000, DIM)), jnp.float32)
    two = jnp.stack([z[:, 0], z[:, 1]], axis=1)
    four = jnp.concatenate([two, jnp.stack([z[:, 2] + z[:, 3], z[:, 3]], axis=1)], axis=1)
    found = pair_directions(z, four)
    np.testing.assert_array_equal(found[:2], pair_directions(z, two))
    np.testing.assert_allclose(found[2, 2], 1, atol=0.01)
    assert abs(found[2, 3]) < 0.05


def test_a_reading_that_does_not_vary_moves_nothing():
    z = _latents()
    directions = pair_directions(z, jnp.stack([jnp.ones(len(z)), z[:, 2]], axis=1))
    np.testing.assert_allclose(directions[0], 0, atol=1e-6)
    np.testing.assert_allclose(directions[1, 2], 1, atol=0.03)


def test_half_a_turn_reflects_and_no_turn_keeps():
    z, noise = _latents(), jnp.asarray(RNG.standard_normal(400), jnp.float32)
    v = jnp.zeros(DIM).at[0].set(0.6).at[3].set(-0.8)
    rows = jnp.broadcast_to(v, z.shape)
    np.testing.assert_allclose(moved(z, rows, 0.0, noise), z, atol=1e-6)
    np.testing.assert_allclose(moved(z, rows, jnp.pi, noise), reflected(z, v), atol=1e-5)
    right = moved(z, rows, jnp.pi / 2, noise)
    np.testing.assert_allclose(right @ v, noise, atol=1e-5)


def test_partners_are_as_likely_at_every_angle():
    z = jnp.asarray(RNG.standard_normal((20_000, DIM)), jnp.float32)
    noise = jax.random.normal(jax.random.key(1), (len(z),))
    rows = jnp.broadcast_to(jnp.eye(DIM)[2], z.shape)
    for angle in (0.4, 1.2, 2.5):
        found = moved(z, rows, angle, noise)
        np.testing.assert_allclose(np.cov(found.T), np.eye(DIM), atol=0.05)
        correlation = np.corrcoef(found[:, 2], z[:, 2])[0, 1]
        np.testing.assert_allclose(correlation, np.cos(angle), atol=0.02)
        others = np.arange(DIM) != 2
        np.testing.assert_array_equal(found[:, others], z[:, others])


def test_even_places_are_turned_and_odd_ones_relit():
    z, key = _latents(6), jax.random.key(0)
    directions = jnp.eye(DIM)[:2]
    found = coupled_latents(z, directions, jnp.pi, key) - z
    expected = np.zeros((6, DIM))
    expected[::2, 0], expected[1::2, 1] = -2 * z[::2, 0], -2 * z[1::2, 1]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(
        coupled_latents(z, directions, 1.0, key), coupled_latents(z, directions, 1.0, key)
    )
    other = coupled_latents(z, directions, 1.0, jax.random.key(1))
    assert float(jnp.abs(other - coupled_latents(z, directions, 1.0, key)).max()) > 0.1


def test_mixed_pairs_have_angles_of_their_own_up_to_the_given_one():
    z = jnp.asarray(RNG.standard_normal((20_000, DIM)), jnp.float32)
    directions = jnp.eye(DIM)[jnp.array([0])]
    key = jax.random.key(3)
    small = coupled_latents(z, directions, 0.3, key, mixed=True) - z
    np.testing.assert_array_equal(small[:, 1:], 0)
    # E|change|^2 = 2 (1 - E cos) of a normal coordinate, E cos = sin(0.3) / 0.3.
    wanted = 2 * (1 - np.sin(0.3) / 0.3)
    np.testing.assert_allclose(jnp.mean(jnp.square(small[:, 0])), wanted, rtol=0.05)
    wide = coupled_latents(z, directions, jnp.pi, key, mixed=True)
    np.testing.assert_allclose(jnp.std(wide[:, 0]), 1, rtol=0.03)
    correlation = np.corrcoef(np.asarray(wide[:, 0]), np.asarray(z[:, 0]))[0, 1]
    assert abs(correlation) < 0.03  # From the same pose to its mirror image, evenly.
