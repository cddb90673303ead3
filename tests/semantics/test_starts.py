import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facesem_jax.semantics import starts

pytestmark = pytest.mark.usefixtures("quick_compilation")


def _planted(seed=0, n=120, d=12, components=4):
    rng = np.random.default_rng(seed)
    V, _ = np.linalg.qr(rng.normal(size=(d, components)))
    U = np.zeros((n, components))
    U[np.arange(n), np.arange(n) % components] = rng.uniform(1, 2, n)
    return jnp.asarray(U @ V.T, jnp.float32), V


def test_pixel_rows_find_one_direction_per_component():
    J, V = _planted()
    drawn = np.asarray(starts.pixel_directions(J, 4, jax.random.key(0)))
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=0), 1, atol=1e-6)
    cosines = np.abs(V.T @ drawn)
    assert sorted(cosines.argmax(axis=0)) == [0, 1, 2, 3]
    np.testing.assert_allclose(cosines.max(axis=0), 1, atol=1e-5)


def test_pixel_rows_beyond_the_rank_stay_finite():
    drawn = np.asarray(starts.pixel_directions(_planted()[0], 9, jax.random.key(0)))
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=0), 1, atol=1e-6)


def test_rows_of_zeros_change_no_draw():
    J, _ = _planted()
    padded = np.zeros((150, J.shape[1]), np.float32)
    padded[np.sort(np.random.default_rng(0).permutation(150)[:120])] = J
    plain = starts.pixel_directions(J, 4, jax.random.key(1))
    np.testing.assert_allclose(
        starts.pixel_directions(jnp.asarray(padded), 4, jax.random.key(1)), plain, atol=1e-6
    )


def test_starts_are_unit_columns_repeatable_and_independent_of_their_number():
    # Of full rank: beyond it the draws are rounding.
    J = jnp.asarray(np.random.default_rng(0).normal(size=(120, 12)), jnp.float32)
    V = starts.start_directions(J, 6, 7, 4)
    assert V.shape == (4, 12, 6)
    np.testing.assert_allclose(np.linalg.norm(V, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(V, starts.start_directions(J, 6, 7, 4))
    np.testing.assert_allclose(V[:2], starts.start_directions(J, 6, 7, 2), atol=1e-6)
    other = starts.start_directions(J, 6, 8, 4)
    for restart in (1, 2, 3):
        assert not np.allclose(V[restart], other[restart])
        assert not np.allclose(V[restart], V[restart - 1])


def test_the_first_start_is_varimax_and_the_fourth_near_it():
    J, planted = _planted()
    V = np.asarray(starts.start_directions(J, 4, 0, 4))
    assert np.all(np.abs(planted.T @ V[0]).max(axis=0) > 0.99)
    cosines = np.sum(V[0] * V[3], axis=0)
    assert np.all(cosines > 0.6) and np.all(cosines < 1 - 1e-3)
