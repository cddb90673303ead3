import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facesem_jax.semantics import starts


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


def test_least_squares_maps_leave_no_residual_in_the_span():
    J, V = _planted()
    U = starts.least_squares_maps(J, jnp.asarray(V, jnp.float32))
    np.testing.assert_allclose(U @ V.T, J, atol=3e-3)  # the ridge of 1e-3 shrinks U by as much.


@pytest.mark.parametrize("restart", range(4))
def test_starts_are_unit_columns_and_repeatable(restart):
    J, _ = _planted()
    V = starts.start_directions(J, 6, 7, restart)
    np.testing.assert_allclose(np.linalg.norm(V, axis=0), 1, atol=1e-6)
    np.testing.assert_array_equal(V, starts.start_directions(J, 6, 7, restart))
    if restart:
        assert not np.allclose(V, starts.start_directions(J, 6, 8, restart))
