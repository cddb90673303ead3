import numpy as np
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.semantics import relation_nulls
from facesem_jax.semantics.relations import direction_distances, spatial_distances


def _chain(P=8, size=24, d=12, seed=0):
    """Maps along a line; neighbours overlap and have neighbouring directions."""
    rng = np.random.default_rng(seed)
    maps = np.zeros((P, size, size, 1))
    for p in range(P):
        maps[p, 8:16, 2 * p + 2 : 2 * p + 8] = 1
    base = np.linalg.qr(rng.normal(size=(d, d)))[0]
    V = np.stack([base[:, p] + base[:, p + 1] for p in range(P)], axis=1) / np.sqrt(2)
    return maps, V, maps.reshape(P, -1).T @ V.T


def test_a_rotated_factorisation_keeps_span_cosines_and_product():
    _, V, J = _chain()
    U, turned = relation_nulls.rotated_factorization(J, V, np.random.default_rng(3))
    np.testing.assert_allclose(turned.T @ turned, V.T @ V, atol=1e-12)
    np.testing.assert_allclose(U @ turned.T, J, atol=1e-10)
    assert np.abs(turned - V).max() > 0.1


def test_dependent_directions_can_be_rotated():
    _, V, J = _chain()
    V[:, 3] = V[:, 2]
    U, turned = relation_nulls.rotated_factorization(J, V, np.random.default_rng(3))
    np.testing.assert_allclose(turned.T @ turned, V.T @ V, atol=1e-12)
    assert np.isfinite(U).all()


def test_rotations_are_uniform():
    # The mean of a uniform rotation is 0; without the signs of R it is not.
    V = np.eye(2)
    rng = np.random.default_rng(0)
    turned = [relation_nulls.rotated_factorization(V, V, rng)[1] for _ in range(4000)]
    assert np.abs(np.mean(turned, axis=0)).max() < 0.05


def test_related_directions_stand_out_among_rotations():
    maps, V, J = _chain()
    found = relation_nulls.rotation_test(J, maps, V, rotations=39, seed=1)
    assert found.p == 1 / 40 and found.r > 0.7 > np.max(found.null)
    again = relation_nulls.rotation_test(J, maps, V, rotations=39, seed=1)
    np.testing.assert_array_equal(found.null, again.null)


def test_shuffled_directions_do_not_stand_out():
    maps, V, _ = _chain()
    V = V[:, np.random.default_rng(5).permutation(8)]
    J = maps.reshape(8, -1).T @ V.T
    assert relation_nulls.rotation_test(J, maps, V, rotations=39).p > 0.1


def test_a_map_is_near_its_mirror_image():
    maps = np.zeros((3, 16, 16, 1))
    maps[0, 4:8, 1:5] = maps[1, 4:8, 11:15] = maps[2, 12:, 6:10] = 1
    found = relation_nulls.mirrored_distances(maps, blur=0)
    assert found[0, 1] == pytest.approx(0, abs=1e-12) and found[0, 2] == 1
    np.testing.assert_array_equal(found, found.T)
    assert spatial_distances(maps, blur=0)[0, 1] == 1


def test_pixels_that_are_near_and_move_alike():
    h = w = 12
    y, x = np.mgrid[:h, :w] / h
    phase = np.stack([np.cos(2 * x), np.sin(2 * x), np.cos(2 * y), np.sin(2 * y)], axis=-1)
    jacobian = phase[:, :, None, :]
    smooth = relation_nulls.pixel_relations(jacobian, 60, permutations=99)
    assert smooth.r > 0.5 and smooth.p == 0.01
    noise = np.random.default_rng(0).normal(size=(h, w, 1, 50))
    assert abs(relation_nulls.pixel_relations(noise, 60, permutations=99).r) < 0.2


def test_masked_pixels_are_left_out():
    jacobian = np.zeros((6, 6, 1, 4))
    with pytest.raises(FacesemError, match="3 or more"):
        relation_nulls.pixel_relations(jacobian)
    jacobian[2, :4] = np.random.default_rng(0).normal(size=(4, 1, 4))
    assert np.isfinite(relation_nulls.pixel_relations(jacobian, permutations=9).r)


def test_components_of_one_region_meet_at_the_bottom_of_the_tree():
    centres = np.array([[0.0, 0.0], [0.0, 1.0], [5.0, 0.0]])
    found = relation_nulls.placed_distances(centres, np.array([0, 1, 0, 2]))
    assert found[0, 2] == 0 and found[0, 1] == 1
    assert found[0, 3] == found[1, 3] > 4
    with pytest.raises(FacesemError, match="leaves"):
        relation_nulls.tree_distances(np.zeros((1, 1)))


def test_rotation_test_refuses():
    maps, V, J = _chain()
    with pytest.raises(FacesemError, match="rotations"):
        relation_nulls.rotation_test(J, maps, V, rotations=0)
    with pytest.raises(FacesemError, match="J"):
        relation_nulls.rotation_test(J[:-1], maps, V)
    assert direction_distances(V).shape == (8, 8)


def test_a_statistic_that_is_not_defined_is_not_significant():
    rng = np.random.default_rng(0)
    J = rng.normal(size=(256, 12))
    V = np.linalg.svd(J, full_matrices=False)[2][:5].T
    # All directions are equally far from each other: the distances do not vary.
    found = relation_nulls.rotation_test(J, (J @ V).T.reshape(5, 8, 8, 4), V, rotations=9)
    assert not found.r > 0.9 and found.p > 0.05
