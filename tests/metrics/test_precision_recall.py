import importlib

import numpy as np
import pytest

from facesem_jax.errors import FacesemError

# The package's name for it is the function's.
pr = importlib.import_module("facesem_jax.metrics.precision_recall")


def test_radii_are_those_of_the_kth_other_sample():
    line = np.array([[0.0], [1.0], [3.0], [7.0]])
    np.testing.assert_allclose(pr.neighbour_radii(line, 1), [1, 1, 4, 16])
    np.testing.assert_allclose(pr.neighbour_radii(line, 3), [49, 36, 16, 49])


def test_equal_sets_are_covered_and_distant_ones_are_not():
    a = np.random.default_rng(0).normal(size=(200, 6))
    assert pr.precision_recall(a, a) == (1, 1)
    assert pr.precision_recall(a, a + 100) == (0, 0)


def test_planted_coverage_is_found():
    rng = np.random.default_rng(0)
    near, far = rng.normal(size=(2, 600, 2)) + np.array([[[0.0]], [[1000.0]]])
    other = rng.normal(size=(600, 2))
    # Real: two clusters. Generated: only the first of them, and one in four samples nowhere.
    real = np.concatenate([near, far])
    generated = np.concatenate([other, rng.uniform(3e4, 4e4, (200, 2))])
    found = pr.precision_recall(real, generated)
    assert found.precision == pytest.approx(0.75, abs=0.02)
    assert found.recall == pytest.approx(0.5, abs=0.02)


def test_samples_of_one_distribution_and_a_narrower_one():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 1500, 4))
    same, narrow = pr.precision_recall(a, b), pr.precision_recall(a, 0.5 * b)
    assert min(same) > 0.8
    assert narrow.precision > same.precision and narrow.recall < 0.7 * same.recall


def test_exchanging_the_sets_exchanges_the_shares():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(300, 3)), 2 * rng.normal(size=(200, 3))
    assert pr.precision_recall(a, b) == pr.precision_recall(b, a)[::-1]


def test_rows_are_worked_in_blocks(monkeypatch):
    a, b = np.random.default_rng(0).normal(size=(2, 50, 3))
    whole = pr.precision_recall(a, b)
    monkeypatch.setattr(pr, "_ROWS", 7)
    assert pr.precision_recall(a, b) == whole


def test_bad_samples_are_refused():
    with pytest.raises(FacesemError, match="k is 3 with 3"):
        pr.precision_recall(np.zeros((3, 2)), np.zeros((9, 2)))
    with pytest.raises(FacesemError, match="generated has shape"):
        pr.precision_recall(np.zeros((9, 2)), np.zeros((9, 3)))
