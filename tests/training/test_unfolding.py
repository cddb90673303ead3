import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.training.unfolding import LinearReading, folded_back, linear_reading

COUNT, DIM = 4000, 6


def _folded():
    """Latents, the true angle along one of them, and a reading that falls again beyond 25."""
    rng = np.random.default_rng(0)
    z = jnp.asarray(rng.standard_normal((COUNT, DIM)), jnp.float32)
    angle = 20 * (0.8 * z[:, 1] - 0.6 * z[:, 4])
    folded = jnp.where(jnp.abs(angle) < 25, angle, jnp.sign(angle) * (50 - jnp.abs(angle)))
    return z, angle, folded + jnp.asarray(rng.normal(0, 1, COUNT), jnp.float32)


def _correlation(a, b):
    return float(np.corrcoef(np.asarray(a), np.asarray(b))[0, 1])


@pytest.mark.whole_run
def test_the_fit_about_the_front_goes_on_where_the_reading_folds():
    z, angle, reading = _folded()
    found = linear_reading(z, reading)(z)
    chex.assert_shape(found, (COUNT,))
    assert _correlation(reading, angle) < 0.95
    assert _correlation(found, angle) > 0.999
    slope = np.polyfit(np.asarray(angle), np.asarray(found), 1)[0]
    assert 0.97 < slope < 1.01
    # Fitted to all faces, the folded ones flatten it.
    everywhere = linear_reading(z, reading, 1.0)(z)
    assert np.polyfit(np.asarray(angle), np.asarray(everywhere), 1)[0] < 0.85


def test_one_round_is_ridge_regression_on_all_faces():
    z, _, reading = _folded()
    x, y = (np.asarray(a, np.float64) for a in (z, reading))
    centred = x - x.mean(axis=0)
    covariance = centred.T @ centred / COUNT
    penalised = covariance + 0.1 * np.trace(covariance) / DIM * np.eye(DIM)
    slope = np.linalg.solve(penalised, centred.T @ (y - y.mean()) / COUNT)
    wanted = centred @ slope + y.mean()
    found = linear_reading(z, reading, rounds=1, ridge=0.1)(z)
    np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_a_mirrored_face_is_extrapolated_to_the_other_side():
    z, _, reading = _folded()
    found = linear_reading(z, reading)(z)
    mirrored = linear_reading(-z, -reading)(-z)
    np.testing.assert_allclose(mirrored, -found, atol=1e-3)


def test_too_few_faces_are_refused():
    z, _, reading = _folded()
    with pytest.raises(FacesemError, match=r"too few to fit latents of 6 .* draw at least 48"):
        linear_reading(z[:40], reading[:40])


def test_a_spread_is_that_over_normal_latents():
    z, _, reading = _folded()
    found = linear_reading(z, reading)
    np.testing.assert_allclose(found.with_spread(15.0)(z), found(z) * 0.75, atol=0.5)
    np.testing.assert_allclose(jnp.std(found.with_spread(15.0)(z)), 15, rtol=0.03)


def test_only_faces_that_the_latent_turns_far_fall_short_and_only_on_its_side():
    turn = jnp.array([30.0, -30.0, 30.0, -30.0, 10.0, 0.0])
    yaw = jnp.array([20.0, -45.0, -5.0, 2.0, 0.0, 3.0])
    np.testing.assert_allclose(folded_back(yaw, turn, 18.0), [10, 0, 35, 32, 0, 0])
    slopes = jax.grad(lambda y: jnp.sum(folded_back(y, turn, 18.0)))(yaw)
    np.testing.assert_array_equal(slopes, [-1, 0, -1, 1, 0, 0])


def test_apart_from_another_reading_is_uncorrelated_with_it():
    rng = np.random.default_rng(3)
    latents = jnp.asarray(rng.normal(size=(20000, 5)), jnp.float32)
    one, other = (
        LinearReading(jnp.asarray(rng.normal(size=5), jnp.float32), jnp.asarray(float(k)))
        for k in (1, 2)
    )
    apart = one.apart_from(other)
    assert abs(np.corrcoef(apart(latents), other(latents))[0, 1]) < 0.03
    share = (one.slope @ other.slope) / (other.slope @ other.slope)
    np.testing.assert_allclose(
        apart(latents), one(latents) - share * other(latents), rtol=1e-4, atol=1e-4
    )
    # One that reads nothing takes nothing away.
    nothing = LinearReading(jnp.zeros(5), jnp.zeros(()))
    np.testing.assert_array_equal(one.apart_from(nothing).slope, one.slope)
