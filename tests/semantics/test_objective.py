import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facesem_jax.semantics import objective as equations

#: Compiled, each once for all tests.
F = types.SimpleNamespace(
    **{
        name: jax.jit(getattr(equations, name))
        for name in (
            "objective", "gradient_of_maps", "gradient_of_direction", "gradient_of_directions",
            "lipschitz_of_maps", "lipschitz_of_direction", "change_of_maps", "change_of_directions",
        )
    }
)  # fmt: skip


def _factors(seed=0, n=80, d=12, components=5, dtype=np.float64):
    rng = np.random.default_rng(seed)
    U = rng.normal(size=(n, components)) * (rng.uniform(size=(n, components)) < 0.3)
    V = rng.normal(size=(d, components))
    V /= np.linalg.norm(V, axis=0)
    J = U @ V.T + 0.02 * rng.normal(size=(n, d))
    return J.astype(dtype), U.astype(dtype), V.astype(dtype)


def test_objective_matches_its_formula():
    J, U, V = _factors()
    alpha, beta = 0.3, 0.7
    expected = ((J - U @ V.T) ** 2).sum() + alpha * np.abs(U).sum()
    for i in range(5):
        for j in range(5):
            expected += beta * (V[:, i] @ V[:, j]) ** 2 if i != j else 0
    with jax.enable_x64(True):
        found = float(F.objective(J, U, V, alpha, beta))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_partial_gradients_match_automatic_differentiation():
    beta = 0.7
    with jax.enable_x64(True):
        J, U, V = _factors()
        gradient = jax.grad(lambda u, v: F.objective(J, u, v, 0.0, beta), (0, 1))
        auto_u, auto_v = map(np.asarray, jax.jit(gradient)(U, V))
        UJ, UU, gram = U.T @ J, U.T @ U, V.T @ V
        block = F.gradient_of_maps(U.T, (V.T @ J.T)[1:3], gram[1:3])
        np.testing.assert_allclose(block, auto_u.T[1:3], atol=1e-10)
        for p in range(5):
            ours = F.gradient_of_direction(p, V.T, UJ, UU, beta)
            np.testing.assert_allclose(ours, auto_v[:, p], atol=1e-10)
        together = F.gradient_of_directions(V.T, UJ, UU, gram, beta)
        np.testing.assert_allclose(together, auto_v.T, atol=1e-10)


@pytest.mark.parametrize("block", [[0], [1, 3], [0, 1, 2, 3, 4]])
def test_the_maps_constant_bounds_the_hessian_of_a_block(block):
    with jax.enable_x64(True):
        J, U, V = _factors()
        own = V[:, block]
        hessian = jax.hessian(lambda u: F.objective(J[:1] - U[:1] @ V.T, u, own, 0.0, 0.0))
        hessian = jax.jit(hessian)(np.zeros((1, len(block))))
        top = np.linalg.eigvalsh(np.asarray(hessian).reshape(len(block), -1))[-1]
        bound = float(F.lipschitz_of_maps(own.T @ own))
    assert top <= bound <= top * (1.001 if len(block) == 1 else 2)


def test_the_directions_constants_bound_the_hessians():
    beta = 2.0
    with jax.enable_x64(True):
        J, U, V = _factors()

        # The diagonal of the Gram matrix is not in the objective: a quadratic in each column.
        @jax.jit
        def hessian(p):
            def of_column(v):
                return F.objective(J, U, jnp.asarray(V).at[:, p].set(v), 0.0, beta)

            return jax.hessian(of_column)(jnp.asarray(V)[:, p])

        for p in range(5):
            top = np.linalg.eigvalsh(np.asarray(hessian(p)))[-1]
            bound = float(F.lipschitz_of_direction(p, V.T @ V, U.T @ U, beta))
            assert top <= bound <= 2 * top


def test_changes_are_the_differences_of_the_objective():
    alpha, beta, rng = 0.3, 0.7, np.random.default_rng(3)
    with jax.enable_x64(True):
        J, U, V = _factors()
        new_u = U + 0.1 * rng.normal(size=U.shape)
        new_v = V + 0.1 * rng.normal(size=V.shape)
        before = F.objective(J, U, V, alpha, beta)
        of_maps = F.change_of_maps(U.T, new_u.T, V.T @ J.T, V.T @ V, alpha)
        expected = F.objective(J, new_u, V, alpha, beta) - before
        np.testing.assert_allclose(of_maps, expected, atol=1e-10)
        of_directions = F.change_of_directions(V.T, new_v.T, U.T @ J, U.T @ U, beta)
        expected = F.objective(J, U, new_v, alpha, beta) - before
        np.testing.assert_allclose(of_directions, expected, atol=1e-10)


def test_a_change_far_below_the_rounding_of_the_objective_is_still_right_in_float32():
    alpha, beta = 0.3, 0.7
    J, U, V = _factors()
    new_u = U * (1 + 1e-5 * np.random.default_rng(0).normal(size=U.shape))

    def change(dtype):
        j, u, new, v = (np.asarray(np.asarray(x, np.float32), dtype) for x in (J, U, new_u, V))
        return float(F.change_of_maps(u.T, new.T, v.T @ j.T, v.T @ v, alpha))

    with jax.enable_x64(True):
        exact = change(np.float64)
        value = float(F.objective(J, U, V, alpha, beta))
    assert abs(exact) < 1e-5 * value
    np.testing.assert_allclose(change(np.float32), exact, rtol=2e-3)
