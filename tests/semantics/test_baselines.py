import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.semantics.baselines import jacobian_central_differences


def f(w):
    return {"a": jnp.sin(w[:2]) * w[2], "b": w @ w}


def test_known_derivative():
    with jax.enable_x64(True):
        w = jnp.array([0.3, -1.2, 2.0])
        out = jacobian_central_differences(f, w)
        s, c = np.sin(w[:2]), np.cos(w[:2])
        expected = np.array([[2 * c[0], 0, s[0]], [0, 2 * c[1], s[1]]])
        np.testing.assert_allclose(out["a"], expected, atol=1e-9)
        np.testing.assert_allclose(out["b"], 2 * w, atol=1e-9)


def test_error_falls_with_the_square_of_the_step():
    with jax.enable_x64(True):
        w = jnp.array([0.3, -1.2, 2.0])
        exact = jax.jacfwd(f)(w)["a"]
        coarse, fine = (
            jnp.abs(jacobian_central_differences(f, w, step=h)["a"] - exact).max()
            for h in (1e-2, 1e-3)
        )
        np.testing.assert_allclose(coarse / fine, 100, rtol=0.02)


def test_along_a_basis():
    with jax.enable_x64(True):
        w = jnp.array([0.3, -1.2, 2.0])
        basis = jnp.array([[1.0, 2.0], [0.0, 1.0], [-1.0, 3.0]])
        along = jacobian_central_differences(f, w, basis=basis)["b"]
        np.testing.assert_allclose(along, 2 * w @ basis, atol=1e-8)


def test_bad_input():
    with pytest.raises(FacesemError, match="w has shape"):
        jacobian_central_differences(f, jnp.ones((2, 3)))
