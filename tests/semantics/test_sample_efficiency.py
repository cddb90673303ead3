import numpy as np
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.semantics.sample_efficiency import (
    direction_score,
    regression_curve,
    samples_to_reach,
)


def _problem(count, noise=0.5, seed=0):
    rng = np.random.default_rng(seed)
    v = np.random.default_rng(7).normal(size=(2, 6))
    ws = rng.normal(size=(count, 6))
    return v, ws, ws @ v.T + noise * rng.normal(size=(count, 2))


def test_score_is_r_squared_of_the_best_line_whatever_the_length():
    v, ws, ys = _problem(4000)
    best = direction_score(v, ws, ys)
    signal = np.sum(v**2, axis=1)
    np.testing.assert_allclose(best, signal / (signal + 0.25), atol=0.01)
    np.testing.assert_allclose(direction_score(-3 * v, 2 * ws + 1, 5 * ys - 2), best)
    assert direction_score(np.zeros((2, 6)), ws, ys).tolist() == [0, 0]


def test_regressions_on_more_samples_come_closer():
    v, ws, ys = _problem(2048)
    heldout = _problem(1000, seed=1)[1:]
    found = regression_curve(ws, ys, v, heldout, [16, 128, 2048])
    assert found.repeats.tolist() == [8, 8, 1]
    assert (np.diff(found.cosine, axis=0) > 0).all() and (found.cosine[-1] > 0.999).all()
    assert (np.diff(found.score, axis=0) > 0).all()
    np.testing.assert_allclose(found.score[-1], direction_score(v, *heldout), atol=2e-3)
    assert (found.score_spread[0] > found.score_spread[1]).all()
    assert (found.score_spread[-1] == 0).all()


def test_regression_curve_refuses():
    v, ws, ys = _problem(32)
    for counts in ([], [1], [33]):
        with pytest.raises(FacesemError, match="counts"):
            regression_curve(ws, ys, v, (ws, ys), counts)
    with pytest.raises(FacesemError, match="reference"):
        regression_curve(ws, ys, v[:1], (ws, ys), [8])


def test_samples_to_reach():
    assert samples_to_reach([10, 100], [0.9, 0.95], 0.5) == 10
    assert samples_to_reach([10, 100], [0.1, 0.2], 0.5) is None
    assert samples_to_reach([100, 10_000], [0.2, 0.8], 0.5) == pytest.approx(1000)
    with pytest.raises(FacesemError, match="growing"):
        samples_to_reach([10, 10], [0.1, 0.2], 0.5)
