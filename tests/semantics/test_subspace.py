import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.semantics.subspace import principal_subspace


def latents(n=400, d=6):
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(d, d)) * np.arange(d, 0, -1)
    return rng.normal(size=(n, d)) @ mix + 5


def test_matches_the_eigenvectors_of_the_covariance():
    ws = latents()
    values, vectors = np.linalg.eigh(np.cov(ws.T))
    with jax.enable_x64(True):
        found = principal_subspace(jnp.asarray(ws), 3)
        np.testing.assert_allclose(found.basis.T @ found.basis, np.eye(3), atol=1e-12)
        # Up to sign.
        np.testing.assert_allclose(np.abs(found.basis.T @ vectors[:, :2:-1]), np.eye(3), atol=1e-8)
        np.testing.assert_allclose(found.share, values[:2:-1].sum() / values.sum(), rtol=1e-10)


def test_the_whole_space_keeps_everything_and_one_sample_more_than_d_is_not_needed():
    assert float(principal_subspace(jnp.asarray(latents(), jnp.float32), 6).share) == 1
    few = principal_subspace(jnp.asarray(latents(n=3), jnp.float32), 5)
    assert few.basis.shape == (6, 5)
    np.testing.assert_allclose(few.basis.T @ few.basis, np.eye(5), atol=1e-5)
    np.testing.assert_allclose(few.share, 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("ws", "k", "message"),
    [
        (np.ones((5, 3)), 2, "do not differ"),
        (np.ones((1, 3)), 2, "1 latents"),
        (np.eye(3), 0, "dimension 0"),
        (np.eye(3), 4, "w_dim = 3"),
        (np.ones(3), 1, "ws has shape"),
        (np.ones((3, 3), int), 1, "floating"),
    ],
)
def test_errors(ws, k, message):
    with pytest.raises(FacesemError, match=message):
        principal_subspace(jnp.asarray(ws), k)


def test_equal_latents_are_refused_whatever_their_value():
    for value in (1.0, 0.1, 12.3):
        with pytest.raises(FacesemError, match="do not differ"):
            principal_subspace(jnp.full((300, 6), value), 2)
