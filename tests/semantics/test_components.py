import jax.numpy as jnp
import numpy as np
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.semantics import components

pytestmark = pytest.mark.usefixtures("quick_compilation")

SHAPE = (6, 5, 4)


def _factors(seed=0, components=4, d=7):
    rng = np.random.default_rng(seed)
    n = int(np.prod(SHAPE))
    U = rng.normal(size=(n, components)) * (rng.uniform(size=(n, components)) < 0.4)
    U *= np.arange(1, components + 1)
    V = rng.normal(size=(d, components))
    V /= np.linalg.norm(V, axis=0)
    J = U @ V.T + 0.1 * rng.normal(size=(n, d))
    return tuple(jnp.asarray(x, jnp.float32) for x in (J, U, V))


def test_shares_are_what_is_lost_on_removal():
    J, U, V = _factors()
    total = components.explained_variance(J, U, V)
    shares = components.explained_variance_shares(J, U, V)
    for p in range(4):
        without = components.explained_variance(J, U.at[:, p].set(0), V)
        np.testing.assert_allclose(shares[p], total - without, atol=1e-5)


def test_shares_of_orthogonal_components_add_up():
    rng = np.random.default_rng(1)
    V, _ = np.linalg.qr(rng.normal(size=(7, 4)))
    J = rng.normal(size=(120, 7))
    shares = components.explained_variance_shares(J, J @ V, V)
    np.testing.assert_allclose(shares.sum(), components.explained_variance(J, J @ V, V), rtol=1e-5)


def test_arrange_sorts_by_share_keeps_the_product_and_puts_dead_ones_last():
    J, U, V = _factors()
    U = U.at[:, 2].set(0)
    found = components.arrange(J, U, V, SHAPE)
    assert np.all(np.diff(found.shares[:3]) <= 0)
    np.testing.assert_array_equal(found.live, [True, True, True, False])
    assert found.order[-1] == 2
    np.testing.assert_allclose(found.U @ found.V.T, U @ V.T, atol=1e-6)
    np.testing.assert_allclose(np.abs(found.U), np.abs(U)[:, found.order])


def test_sign_makes_the_dominant_block_positive_whatever_the_input_sign():
    maps = np.zeros((3, *SHAPE), np.float32)
    maps[0, 2, 2, 0] = -2.0  # darker; a little depth the other way
    maps[0, 2, 2, 3] = 1.0
    maps[1, 1:3, 1, 3] = -1.5  # nearer; a little albedo the other way
    maps[1, 1, 1, 1] = 1.0
    maps[2, 0, 0, 0] = 1.0
    U = jnp.asarray(maps.reshape(3, -1).T)
    V = jnp.asarray(np.eye(5, 3), jnp.float32)
    fixed, directions = components.fix_signs(U, V, SHAPE)
    np.testing.assert_array_equal(fixed, U * jnp.asarray([-1, -1, 1]))
    np.testing.assert_array_equal(directions, V * jnp.asarray([-1, -1, 1]))
    again, _ = components.fix_signs(-U, -V, SHAPE)
    np.testing.assert_array_equal(again, fixed)


def test_sparsity_counts_exact_zeros_in_unmasked_rows():
    U = np.array([[0, 0], [0, 1e-20], [1, 0], [0, 0]])
    assert components.sparsity(U) == 6 / 8
    assert components.sparsity(U, np.array([False, True, True, False])) == 2 / 4


def test_max_abs_cosine_ignores_sign_and_dead_components():
    V = np.array([[1, 0, -0.6], [0, 1, 0.8]])
    np.testing.assert_allclose(components.max_abs_cosine(V), 0.8)
    live = np.array([True, False, True])
    np.testing.assert_allclose(components.max_abs_cosine(V, live), 0.6)
    assert components.max_abs_cosine(V, np.array([True, False, False])) == 0


def test_effective_area_of_known_maps():
    even = np.ones((8, 8, 4))
    half = np.zeros((8, 8, 4))
    half[:4, :, 1] = -3.0
    one = np.zeros((8, 8, 4))
    one[2, 3] = [1, 2, 3, 4]
    area = components.effective_area(jnp.asarray(np.stack([even, half, one, 0 * one])))
    np.testing.assert_allclose(area, [1, 0.5, 1 / 64, 0], rtol=1e-5)


def test_edit_locality_is_the_energy_inside_the_support():
    map_ = np.zeros((8, 8, 4))
    map_[:4, :, 0] = 0.5
    even = np.ones((3, 8, 8, 4))
    np.testing.assert_allclose(components.edit_locality(even, map_), 0.5)
    np.testing.assert_allclose(components.edit_locality(map_, map_), 1.0)
    np.testing.assert_allclose(components.edit_locality(np.flipud(map_), map_), 0.0)
    mixed = map_ + 0.25 * (np.flipud(map_) != 0)  # half the size outside: a quarter the energy
    np.testing.assert_allclose(components.edit_locality(mixed, map_), 0.8)
    assert np.isnan(components.edit_locality(0 * map_, map_))


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(FacesemError, match="change has maps"):
        components.edit_locality(np.ones((2, 8, 8, 4)), np.ones((8, 9, 4)))
    with pytest.raises(FacesemError, match="U has shape"):
        components.fix_signs(jnp.ones((10, 2)), jnp.ones((3, 2)), SHAPE)
