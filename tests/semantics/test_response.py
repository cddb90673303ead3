import numpy as np
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.semantics.response import leakage, response


def test_a_saturating_response_is_measured():
    amounts = np.linspace(-4, 4, 9)
    faces = np.array([-0.5, 0.5])
    change = 2 * np.tanh(amounts / 2)[:, None] + np.abs(amounts)[:, None] * faces
    found = response(amounts, change)
    np.testing.assert_allclose(found.mean, 2 * np.tanh(amounts / 2), atol=1e-12)
    np.testing.assert_allclose(found.spread, 0.5 * np.abs(amounts))
    gain = 2 * np.tanh(0.5)
    assert found.gain == pytest.approx(gain)
    off = np.sqrt(np.mean((found.mean - gain * amounts) ** 2))
    assert found.nonlinearity == pytest.approx(off / np.sqrt(np.mean((gain * amounts) ** 2)))
    # tanh(1) / 2 is 18 % below tanh(1/2), beyond the tenth that is allowed.
    assert found.linear_to == 1.0


def test_linear_to_ends_at_the_first_amount_off_the_line_on_either_side():
    amounts = np.array([-3.0, -2, -1, 0, 1, 2, 3])
    mean = amounts.copy()
    mean[1] = -1.5
    assert response(amounts, mean[:, None]).linear_to == 1.0
    assert response(amounts, amounts[:, None]).linear_to == 3.0


def test_a_semantic_that_does_not_answer_has_no_gain():
    found = response(np.array([-1.0, 0, 1]), np.zeros((3, 2)))
    assert found.gain == 0 and np.isnan(found.nonlinearity)


@pytest.mark.parametrize(
    ("amounts", "change", "message"),
    [
        ([0.0, 1.0], np.zeros((2, 3)), "one side"),
        ([-1.0, 1.0], np.zeros((3, 3)), "change"),
        ([-1.0, 1.0], np.full((2, 3), np.nan), "NaN"),
    ],
)
def test_response_refuses(amounts, change, message):
    with pytest.raises(FacesemError, match=message):
        response(np.array(amounts), change)


def test_leakage_of_a_linear_model_is_its_matrix():
    rng = np.random.default_rng(0)
    v, spreads = rng.normal(size=(3, 8)), np.array([1.0, 2.0, 0.5])
    steps = np.linalg.pinv(v).T * 0.9
    change = np.broadcast_to((spreads[:, None] * steps @ v.T)[:, None], (3, 5, 3))
    found = leakage(change, -change, spreads)
    np.testing.assert_allclose(found.mean, 0.9 * np.eye(3), atol=1e-12)


def test_leakage_that_averages_out_counts_in_the_absolute():
    above = np.zeros((2, 2, 2))
    above[0, :, 1] = [1.0, -1.0]
    found = leakage(above, -above, np.array([1.0, 4.0]))
    assert found.mean[0, 1] == 0 and found.absolute[0, 1] == 0.25


def test_leakage_cancels_what_is_even_in_the_amount():
    above = np.ones((1, 3, 1))
    assert leakage(above, above, np.array([1.0])).mean == 0


def test_leakage_refuses():
    with pytest.raises(FacesemError, match="spreads"):
        leakage(np.zeros((1, 2, 1)), np.zeros((1, 2, 1)), np.array([0.0]))
    with pytest.raises(FacesemError, match="below"):
        leakage(np.zeros((1, 2, 1)), np.zeros((1, 3, 1)), np.array([1.0]))
