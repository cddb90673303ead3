import numpy as np
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.metrics.affine import affine_fit, direction_error


def test_an_affine_estimate_has_no_error():
    truth = np.random.default_rng(0).normal(size=200) * 20
    fit = affine_fit(-0.3 * truth + 4, truth)
    np.testing.assert_allclose(fit.slope, -1 / 0.3)
    np.testing.assert_allclose(fit.offset, 4 / 0.3)
    np.testing.assert_allclose(fit.correlation, -1)
    np.testing.assert_allclose(fit.error, 0, atol=1e-10)
    np.testing.assert_allclose(fit.chance, np.abs(truth - truth.mean()).mean())


def test_the_fit_is_numpys_least_squares():
    rng = np.random.default_rng(1)
    x, t = rng.normal(size=(2, 50))
    fit = affine_fit(x, t)
    slope, offset = np.polyfit(x, t, 1)
    np.testing.assert_allclose([fit.slope, fit.offset], [slope, offset])
    np.testing.assert_allclose(fit.correlation, np.corrcoef(x, t)[0, 1])
    np.testing.assert_allclose(fit.error, np.abs(t - slope * x - offset).mean())


def test_an_estimate_without_spread_errs_as_chance_does():
    truth = np.arange(10.0)
    fit = affine_fit(np.full(10, 0.1), truth)
    assert fit.slope == 0 and fit.correlation == 0
    assert fit.error == fit.chance == 2.5


def test_light_directions():
    truth = np.random.default_rng(2).uniform(-0.8, 0.8, (300, 2))
    error, chance = direction_error(truth * [0.5, -2] + [1, 0.2], truth)
    np.testing.assert_allclose(error, 0, atol=1e-6)
    assert 20 < chance < 40
    # d_x = +-1 around a mean of 0 lies 45 degrees from the axis.
    sides = np.array([[1.0, 0], [-1, 0], [1, 0], [-1, 0]])
    blind = direction_error(np.zeros((4, 2)), sides)
    np.testing.assert_allclose(blind, (45, 45))


def test_bad_input_is_refused():
    with pytest.raises(FacesemError, match="truth has shape"):
        affine_fit(np.ones(4), np.ones(5))
    with pytest.raises(FacesemError, match="too few"):
        affine_fit(np.ones(2), np.ones(2))
    with pytest.raises(FacesemError, match="estimate has shape"):
        direction_error(np.ones((4, 3)), np.ones((4, 2)))
