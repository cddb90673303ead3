import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facesem_jax.semantics import objective, palm

pytestmark = pytest.mark.usefixtures("quick_compilation")


def _problem(seed=0, n=80, d=12, components=5, dtype=np.float32):
    rng = np.random.default_rng(seed)
    U = rng.normal(size=(n, components)) * (rng.uniform(size=(n, components)) < 0.3)
    V = rng.normal(size=(d, components))
    V /= np.linalg.norm(V, axis=0)
    J = U @ V.T + 0.02 * rng.normal(size=(n, d))
    start = rng.normal(size=(d, components))
    start /= np.linalg.norm(start, axis=0)
    return J.astype(dtype), U.astype(dtype), V.astype(dtype), start.astype(dtype)


def _solve(J, V, alpha, beta, tolerance=1e-5, **kwargs):
    return palm.solve(jnp.asarray(J), jnp.asarray(V), alpha, beta, tolerance, **kwargs)


@pytest.mark.parametrize("beta", [0.0, 0.5, 20.0])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("blocks", [1, 2, 8])
def test_objective_never_rises_in_float32(beta, seed, blocks):
    J, _, _, V = _problem(seed)
    result = _solve(J, V, 0.3, beta, tolerance=0.0, max_iterations=400, blocks=blocks)
    values = np.asarray(result.objective)[: int(result.iterations)]
    assert values.dtype == np.float32 and values.size > 20
    assert values[0] <= result.initial_objective
    assert np.all(np.diff(values) <= 0)
    assert np.all(np.isnan(np.asarray(result.objective)[values.size :]))
    # The recorded values are the objective of the iterate, here recomputed in float64.
    with jax.enable_x64(True):
        factors = (jnp.asarray(np.asarray(x, np.float64)) for x in (J, result.U, result.V))
        np.testing.assert_allclose(
            float(objective.objective(*factors, float(np.float32(0.3)), beta)),
            values[-1],
            rtol=1e-5,
        )


def test_columns_stay_on_the_sphere():
    J, _, _, V = _problem()
    result = _solve(J, 3 * V, 0.3, 0.5, tolerance=0.0, max_iterations=400)
    np.testing.assert_allclose(np.linalg.norm(np.asarray(result.V), axis=0), 1, atol=1e-6)


def test_a_converged_point_meets_the_kkt_conditions():
    J, _, _, V = _problem(dtype=np.float64)
    alpha, beta = 0.5, 0.2
    with jax.enable_x64(True):
        result = _solve(J, V, alpha, beta, tolerance=1e-8, max_iterations=5000)
        U, V = np.asarray(result.U), np.asarray(result.V)
    assert float(result.optimality) <= 1e-8
    gradient = 2 * (J - U @ V.T) @ V
    on = U != 0
    assert 0.2 < on.mean() < 0.8
    np.testing.assert_allclose(gradient[on], alpha * np.sign(U[on]), atol=1e-6)
    assert np.all(np.abs(gradient[~on]) <= alpha + 1e-6)
    # On the sphere: the gradient in v_p is parallel to v_p.
    gram = V.T @ V
    np.fill_diagonal(gram, 0)
    gradient = 2 * (V @ (U.T @ U) - J.T @ U) + 4 * beta * V @ gram
    tangent = gradient - V * np.sum(gradient * V, axis=0)
    np.testing.assert_allclose(tangent, 0, atol=1e-6)


def _reference_lasso(J, V, alpha, steps=4000):
    U, lipschitz = np.zeros((J.shape[0], V.shape[1])), 2 * np.linalg.norm(V, 2) ** 2
    for _ in range(steps):
        U = U - 2 * (U @ V.T - J) @ V / lipschitz
        U = np.sign(U) * np.maximum(np.abs(U) - alpha / lipschitz, 0)
    return U


def test_without_redundancy_term_it_is_as_good_as_plain_dictionary_learning():
    # Reference in float64 NumPy: exact lasso codes, then exact unit-norm atoms one by one.
    J, _, _, V = _problem(dtype=np.float64)
    alpha, D = 0.3, V.copy()
    for _ in range(60):
        codes = _reference_lasso(J, D, alpha, 150)
        for p in range(D.shape[1]):
            atom = (J - codes @ D.T + np.outer(codes[:, p], D[:, p])).T @ codes[:, p]
            if np.linalg.norm(atom) > 0:
                D[:, p] = atom / np.linalg.norm(atom)
    codes = _reference_lasso(J, D, alpha)
    reference = ((J - codes @ D.T) ** 2).sum() + alpha * np.abs(codes).sum()
    result = _solve(J.astype(np.float32), V.astype(np.float32), alpha, 0.0, max_iterations=400)
    final = float(result.objective[int(result.iterations) - 1])
    assert final <= reference * 1.001
    # And its maps are the exact lasso codes for its directions.
    exact = _reference_lasso(J, np.asarray(result.V, np.float64), alpha)
    np.testing.assert_allclose(np.asarray(result.U), exact, atol=2e-3)


def test_the_redundancy_weight_separates_directions():
    J, _, _, V = _problem()
    loose, tight = (
        float(objective.redundancy(_solve(J, V, 0.1, b, max_iterations=400).V)) for b in (0.0, 50.0)
    )
    assert tight < 0.1 * loose


def test_everything_dies_under_a_huge_alpha_without_nan():
    J, _, _, V = _problem()
    for beta in (0.0, 1.0):
        result = _solve(J, V, 1e4, beta, max_iterations=400)
        assert np.all(np.asarray(result.U) == 0)
        assert np.all(np.isfinite(np.asarray(result.V)))


def test_dtype_follows_the_jacobian():
    J, _, _, V = _problem(dtype=np.float64)
    with jax.enable_x64(True):
        result = _solve(J, V, 0.3, 0.1, max_iterations=5)
    assert result.U.dtype == result.V.dtype == result.objective.dtype == np.float64


def _lasso_value(J, U, V, alpha):
    return ((J - U @ V.T) ** 2).sum() + alpha * np.abs(U).sum()


@pytest.mark.parametrize("blocks", [1, 2, 5])
def test_sweeps_over_the_maps_descend_to_the_exact_sparse_codes(blocks):
    # P = 5 in two blocks: the second overlaps the first.
    J, _, _, V = _problem(dtype=np.float64)
    alpha, values = 0.3, []
    with jax.enable_x64(True):
        U, VJ, gram = jnp.zeros((5, J.shape[0])), jnp.asarray(V.T @ J.T), jnp.asarray(V.T @ V)
        sweep = jax.jit(lambda U: palm.sweep_maps(U, VJ, gram, jnp.asarray(alpha), blocks=blocks))
        for _ in range(400):
            U = sweep(U)
            values.append(_lasso_value(J, np.asarray(U).T, V, alpha))
    assert np.all(np.diff(values) <= 1e-10)
    np.testing.assert_allclose(np.asarray(U).T, _reference_lasso(J, V, alpha), atol=1e-6)


def test_one_block_per_column_minimises_each_column_exactly():
    J, U, V, _ = _problem(dtype=np.float64)
    alpha, expected = 0.3, U.copy()
    for p in range(5):
        residual = J - expected @ V.T + np.outer(expected[:, p], V[:, p])
        code = residual @ V[:, p]
        expected[:, p] = np.sign(code) * np.maximum(np.abs(code) - alpha / 2, 0)
    with jax.enable_x64(True):
        swept = palm.sweep_maps(
            *map(jnp.asarray, (U.T, V.T @ J.T, V.T @ V, alpha)), blocks=5
        )  # The constant's margin of 1e-5 leaves that much of the step.
    np.testing.assert_allclose(np.asarray(swept).T, expected, atol=1e-4)


def test_a_sweep_over_the_directions_minimises_each_exactly_without_redundancy_term():
    J, U, _, V = _problem(dtype=np.float64)
    expected = V.copy()
    for p in range(5):
        residual = J - U @ expected.T + np.outer(U[:, p], expected[:, p])
        atom = residual.T @ U[:, p]
        expected[:, p] = atom / np.linalg.norm(atom)
    with jax.enable_x64(True):
        swept = palm.sweep_directions(*map(jnp.asarray, (V.T, U.T @ J, U.T @ U, 0.0)))
    np.testing.assert_allclose(np.asarray(swept).T, expected, atol=1e-4)


def test_a_batch_gives_what_each_start_gives_alone_and_the_finished_ones_stay():
    with jax.enable_x64(True):
        J, *_ = _problem(dtype=np.float64)
        V = jnp.asarray(np.stack([_problem(s, dtype=np.float64)[3] for s in range(4)]))

        def solve(V):
            return palm.solve(jnp.asarray(J), V, 0.3, 0.2, 1e-6, max_iterations=600)

        together = jax.vmap(solve)(V)
        assert len(set(np.asarray(together.iterations).tolist())) > 1
        for s in range(4):
            alone = solve(V[s])
            mine = jax.tree.map(lambda x, s=s: x[s], together)
            assert mine.iterations == alone.iterations and mine.stalled == alone.stalled
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-9), mine, alone)


def test_iterations_stop_at_the_limit_also_between_checks():
    J, _, _, V = _problem()
    result = _solve(J, V, 0.3, 0.1, tolerance=0.0, max_iterations=7)
    assert int(result.iterations) == 7 and np.all(np.isfinite(result.objective))
    assert result.objective.shape == (7,)
