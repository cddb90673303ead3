import numpy as np
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.training.principal_components import unit_components


def _rows(n, f, rank, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, rank)) * np.linspace(5, 1, rank) @ rng.normal(size=(rank, f))
    return rows - rows.mean(axis=0)


@pytest.mark.parametrize("shape", [(60, 12), (12, 60)])
def test_scores_are_uncorrelated_with_unit_variance(shape):
    rows = _rows(*shape, rank=6)
    scores = rows @ unit_components(rows, 4)
    np.testing.assert_allclose(scores.T @ scores / len(rows), np.eye(4), atol=1e-10)


@pytest.mark.parametrize("shape", [(60, 12), (12, 60)])
def test_the_components_are_the_singular_vectors(shape):
    rows = _rows(*shape, rank=6)
    _, deviation, vectors = np.linalg.svd(rows, full_matrices=False)
    basis = unit_components(rows, 3)
    expected = vectors[:3].T * np.sqrt(len(rows)) / deviation[:3]
    signs = np.sign(np.sum(basis * expected, axis=0))
    np.testing.assert_allclose(basis * signs, expected, atol=1e-10)


def test_all_components_of_low_rank_rows_rebuild_them():
    rows = _rows(30, 20, rank=3)
    basis = unit_components(rows, 3)
    weights, *_ = np.linalg.lstsq(rows @ basis, rows, rcond=None)
    np.testing.assert_allclose(rows @ basis @ weights, rows, atol=1e-9)


@pytest.mark.parametrize("count", [0, 4, 6, 30])
@pytest.mark.parametrize("shape", [(25, 9), (9, 25)])
def test_more_components_than_directions_are_refused(shape, count):
    with pytest.raises(FacesemError, match=f"^{count} principal components .*{shape[0]} examples"):
        unit_components(_rows(*shape, rank=3), count)


def test_bad_rows_are_refused():
    rows = _rows(20, 5, rank=3)
    with pytest.raises(FacesemError, match="rows has shape"):
        unit_components(rows[0], 1)
    with pytest.raises(FacesemError, match="not finite"):
        unit_components(np.where(rows == rows.max(), np.nan, rows), 1)
    with pytest.raises(FacesemError, match="fewer than 1 directions"):
        unit_components(np.zeros((5, 4)), 1)
