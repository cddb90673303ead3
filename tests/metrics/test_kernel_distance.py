import numpy as np
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.metrics import kernel_distance, polynomial_mmd


def test_constants_have_a_closed_form():
    x, y = np.array([1.0, 2.0]), np.array([-1.0, 0.5])
    a, b = np.tile(x, (5, 1)), np.tile(y, (7, 1))

    def k(p, q):
        return (p @ q / 2 + 1) ** 3

    expected = k(x, x) + k(y, y) - 2 * k(x, y)
    assert polynomial_mmd(a, b) == pytest.approx(expected)
    assert polynomial_mmd(a, a) == pytest.approx(0, abs=1e-12)


def test_it_equals_the_double_sums():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(6, 3)), rng.normal(size=(4, 3))

    def mean(p, q, same):
        pairs = [(i, j) for i in range(len(p)) for j in range(len(q)) if not (same and i == j)]
        return np.mean([(p[i] @ q[j] / 3 + 1) ** 3 for i, j in pairs])

    expected = mean(a, a, True) + mean(b, b, True) - 2 * mean(a, b, False)
    assert polynomial_mmd(a, b) == pytest.approx(expected)


def test_it_is_unbiased_where_the_distributions_are_equal():
    rng = np.random.default_rng(0)
    found = [polynomial_mmd(*rng.normal(size=(2, 30, 4))) for _ in range(400)]
    error = np.std(found) / 20
    assert abs(np.mean(found)) < 3 * error
    assert min(found) < 0 < max(found)
    # The biased estimate would keep the diagonals: it is off by much more than that.
    assert error < 0.1


def test_a_shift_is_seen_whatever_the_features_unit():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 2000, 8)) + 1
    same, moved = kernel_distance(a, b, block=200), kernel_distance(a, b + 0.3, block=200)
    assert abs(same.value) < 4 * same.error
    assert moved.value > 5 * moved.error
    scaled = kernel_distance(1e-3 * a, 1e-3 * (b + 0.3), block=200)
    np.testing.assert_allclose(scaled, moved, rtol=1e-9)


def test_bad_samples_are_refused():
    with pytest.raises(FacesemError, match="all 0"):
        kernel_distance(np.zeros((3, 2)), np.ones((3, 2)))
    with pytest.raises(FacesemError, match="1 and 3 rows"):
        polynomial_mmd(np.ones((1, 2)), np.ones((3, 2)))
    with pytest.raises(FacesemError, match="b has shape"):
        polynomial_mmd(np.ones((3, 2)), np.ones((3, 4)))
    assert np.isnan(kernel_distance(np.ones((3, 2)), np.ones((3, 2))).error)
