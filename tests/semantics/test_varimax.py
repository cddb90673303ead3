import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.semantics.varimax import varimax, varimax_directions

pytestmark = pytest.mark.usefixtures("quick_compilation")


def _criterion(loadings):
    return np.sum(np.mean(loadings**4, axis=0) - np.mean(loadings**2, axis=0) ** 2)


def _block_loadings(n=60, k=4, seed=0):
    rng = np.random.default_rng(seed)
    loadings = np.zeros((n, k))
    for j in range(k):
        loadings[j * n // k : (j + 1) * n // k, j] = rng.uniform(0.5, 1.5, n // k)
    rotation, _ = np.linalg.qr(rng.normal(size=(k, k)))
    return loadings, rotation


def test_recovers_simple_structure_from_any_rotation():
    simple, rotation = _block_loadings()
    R = np.asarray(varimax(jnp.asarray(simple @ rotation, jnp.float32)))
    np.testing.assert_allclose(R.T @ R, np.eye(4), atol=1e-5)
    found = simple @ rotation @ R
    norms = np.linalg.norm(simple, axis=0)[:, None] * np.linalg.norm(found, axis=0)
    match = np.abs(simple.T @ found) / norms
    assert np.all(match.max(axis=1) > 0.999)


def test_no_plane_rotation_improves_the_criterion():
    with jax.enable_x64(True):
        loadings = np.random.default_rng(1).standard_t(3, size=(200, 5))
        R = varimax(jnp.asarray(loadings), max_iterations=2000, tolerance=1e-14)
        rotated = loadings @ np.asarray(R)
    best = _criterion(rotated)
    for i in range(5):
        for j in range(i):
            for angle in (-1e-2, 1e-2, 0.3, -0.3):
                turned = rotated.copy()
                c, s = np.cos(angle), np.sin(angle)
                turned[:, i] = c * rotated[:, i] + s * rotated[:, j]
                turned[:, j] = -s * rotated[:, i] + c * rotated[:, j]
                assert _criterion(turned) <= best


def test_scale_does_not_matter_and_zero_gives_the_identity():
    simple, rotation = _block_loadings()
    A = jnp.asarray(simple @ rotation, jnp.float32)
    np.testing.assert_allclose(varimax(A * 1e-15), varimax(A), atol=1e-4)
    np.testing.assert_array_equal(varimax(jnp.zeros((5, 3))), np.eye(3))


def test_rows_and_columns_of_zeros_change_nothing():
    simple, rotation = _block_loadings()
    A = np.zeros((90, 6), np.float32)
    A[10:70, :4] = simple @ rotation
    R = np.asarray(varimax(jnp.asarray(A)))
    np.testing.assert_allclose(R[:4, :4], varimax(jnp.asarray(A[10:70, :4])), atol=1e-4)
    np.testing.assert_allclose(R[:, 4:], np.eye(6)[:, 4:], atol=1e-5)


@pytest.mark.parametrize("num_components", [3, 6, 10])
def test_directions_are_orthonormal_also_beyond_the_rank(num_components):
    rng = np.random.default_rng(0)
    J = jnp.asarray(rng.normal(size=(50, 6)) @ rng.normal(size=(6, 10)), jnp.float32)
    V = varimax_directions(J, num_components, jax.random.key(0))
    np.testing.assert_allclose(V.T @ V, np.eye(num_components), atol=1e-5)
    energy = np.sum(np.asarray(J @ V) ** 2, axis=0)
    assert np.all(np.diff(energy) <= 1e-3)
    singular = np.linalg.svd(np.asarray(J), compute_uv=False)
    np.testing.assert_allclose(energy.sum(), np.sum(singular[:num_components] ** 2), rtol=1e-4)
    if num_components > 6:
        assert np.all(energy[6:] < 1e-6 * energy[0])


def test_maps_are_positive_where_strongest():
    J = jnp.asarray(np.random.default_rng(2).normal(size=(40, 8)), jnp.float32)
    maps = np.asarray(J @ varimax_directions(J, 5, jax.random.key(0)))
    assert np.all(maps[np.abs(maps).argmax(axis=0), np.arange(5)] > 0)


def test_a_zero_jacobian_gives_orthonormal_directions():
    V = varimax_directions(jnp.zeros((12, 6)), 4, jax.random.key(3))
    np.testing.assert_allclose(V.T @ V, np.eye(4), atol=1e-6)


def test_too_many_directions_are_refused():
    with pytest.raises(FacesemError, match="num_components"):
        varimax_directions(jnp.ones((12, 6)), 7, jax.random.key(0))
