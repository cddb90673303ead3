import numpy as np
import pytest
from scipy.stats import kstest, pearsonr, spearmanr

from facesem_jax.errors import FacesemError
from facesem_jax.semantics import relations


def _distances(seed, count=10, dims=3):
    points = np.random.default_rng(seed).normal(size=(count, dims))
    return np.linalg.norm(points[:, None] - points[None], axis=-1)


def test_direction_distances_by_hand_blind_to_sign():
    V = np.array([[1.0, 0.6, 0.0], [0.0, 0.8, 2.0]])
    expected = np.array([[0, 0.4, 1], [0.4, 0, 0.2], [1, 0.2, 0]])
    np.testing.assert_allclose(relations.direction_distances(V), expected, atol=1e-12)
    np.testing.assert_allclose(relations.direction_distances(V * [1, -1, -3]), expected, atol=1e-12)


def test_spatial_distances_see_overlap_not_sign_or_channel():
    maps = np.zeros((4, 32, 32, 4))
    maps[0, 4:10, 4:10, 0] = 1
    maps[1, 4:10, 4:10, 3] = -2  # the same place in another channel
    maps[2, 4:10, 10:16, 0] = 1  # adjacent
    maps[3, 24:30, 24:30, 0] = 1  # far
    blurred = relations.spatial_distances(maps)
    np.testing.assert_allclose(blurred[0, 1], 0, atol=1e-12)
    assert 0.2 < blurred[0, 2] < 0.95 and blurred[0, 3] > 0.999
    np.testing.assert_allclose(relations.spatial_distances(maps, blur=0)[0, 2], 1)
    np.testing.assert_array_equal(blurred, blurred.T)
    np.testing.assert_array_equal(np.diag(blurred), 0)


def test_clustered_order_brings_groups_together():
    rng = np.random.default_rng(0)
    groups = rng.permutation(np.repeat([0, 1, 2], 5))
    points = groups[:, None] * 10 + rng.normal(size=(15, 2))
    order = relations.clustered_order(np.linalg.norm(points[:, None] - points, axis=-1))
    assert sorted(order) == list(range(15))
    assert np.count_nonzero(np.diff(groups[order])) == 2
    np.testing.assert_array_equal(relations.clustered_order(np.zeros((2, 2))), [0, 1])


def test_mantel_of_a_matrix_with_itself():
    result = relations.mantel(_distances(0), 3 * _distances(0), permutations=499)
    np.testing.assert_allclose(result.r, 1)
    np.testing.assert_allclose(result.p, 1 / 500)


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_mantel_r_is_the_correlation_of_the_upper_triangles(method):
    a, b = _distances(0), _distances(1)
    upper = np.triu_indices(10, 1)
    reference = {"pearson": pearsonr, "spearman": spearmanr}[method](a[upper], b[upper])[0]
    found = relations.mantel(a, b, permutations=9, method=method)
    np.testing.assert_allclose(found.r, reference, rtol=1e-10)


def test_mantel_p_agrees_with_all_permutations_of_a_small_case():
    from itertools import permutations

    a, b = _distances(3, 6), _distances(3, 6) + _distances(4, 6)
    upper = np.triu_indices(6, 1)
    r = np.corrcoef(a[upper], b[upper])[0, 1]
    every = [
        np.corrcoef(a[np.ix_(o, o)][upper], b[upper])[0, 1] >= r - 1e-12
        for o in map(list, permutations(range(6)))
    ]
    found = relations.mantel(a, b, permutations=20_000)
    np.testing.assert_allclose(found.p, np.mean(every), atol=0.005)


def test_mantel_p_is_uniform_for_unrelated_matrices():
    p = [
        relations.mantel(_distances(2 * s), _distances(2 * s + 1), permutations=199, seed=s).p
        for s in range(200)
    ]
    assert kstest(p, "uniform").pvalue > 0.01


def test_mantel_is_one_sided_symmetric_and_seeded():
    a, b = _distances(0), _distances(0) + 0.3 * _distances(1)
    far = relations.mantel(a, (1 - np.eye(10)) * (20 - b), permutations=499)
    assert far.r < -0.5 and far.p > 0.95
    forth = relations.mantel(a, b, permutations=999, seed=5)
    assert forth == relations.mantel(a, b, permutations=999, seed=5)
    back = relations.mantel(b, a, permutations=999, seed=5)
    np.testing.assert_allclose(forth.r, back.r)
    np.testing.assert_allclose(forth.p, back.p, atol=0.03)


def test_mantel_with_constant_distances_has_no_correlation():
    result = relations.mantel(1 - np.eye(5), _distances(0, 5))
    assert np.isnan(result.r) and result.p == 1


def test_bad_input_gets_one_clear_error():
    good = _distances(0)
    with pytest.raises(FacesemError, match="same 3 or more"):
        relations.mantel(good, _distances(0, 9))
    with pytest.raises(FacesemError, match="no distance matrix"):
        relations.mantel(good, good + np.eye(10))
    with pytest.raises(FacesemError, match="no distance matrix"):
        relations.clustered_order(np.triu(good))
    with pytest.raises(FacesemError, match="kendall"):
        relations.mantel(good, good, method="kendall")
    with pytest.raises(FacesemError, match="live ones only"):
        relations.direction_distances(np.array([[1.0, 0.0], [0.0, 0.0]]))
    with pytest.raises(FacesemError, match="NaN"):
        relations.spatial_distances(np.full((3, 8, 8, 4), np.nan))
