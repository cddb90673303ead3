import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from facesem_jax.errors import FacesemError
from facesem_jax.semantics import factorization
from facesem_jax.semantics.factorization import factorize

pytestmark = pytest.mark.usefixtures("quick_compilation")


def _planted(seed=0, n=600, d=32, components=8, noise=0.01):
    """Sparse maps, incoherent directions, small noise; scaled to ||J||_F^2 = d."""
    rng = np.random.default_rng(seed)
    U = rng.normal(size=(n, components)) * (rng.uniform(size=(n, components)) < 0.12)
    V = rng.normal(size=(d, components))
    V /= np.linalg.norm(V, axis=0)
    J = U @ V.T
    J += noise * np.std(J) * rng.normal(size=J.shape)
    return (J * np.sqrt(d / np.sum(J**2))).astype(np.float32), V


def _matched(V, found):
    cosines = np.abs(V.T @ np.asarray(found))
    return cosines[linear_sum_assignment(-cosines)]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_components_come_back(seed):
    J, V = _planted(seed)
    result = factorize(J, 8, alpha=0.02, beta=0.01, seed=seed)
    assert result.converged and result.stop_reason == "tolerance"
    assert np.all(_matched(V, result.V) > 0.95)
    assert np.all(np.diff(result.objective) <= 0)
    assert result.objective.size == result.iterations and result.objective.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(np.asarray(result.V), axis=0), 1, atol=1e-5)


def test_keeps_the_best_restart_and_repeats_itself():
    J, _ = _planted()
    first = factorize(J, 8, restarts=4, seed=3)
    again = factorize(J, 8, restarts=4, seed=3)
    assert first.restart == np.argmin(first.restart_objectives)
    np.testing.assert_allclose(first.objective[-1], first.restart_objectives.min())
    np.testing.assert_array_equal(first.U, again.U)
    np.testing.assert_array_equal(first.V, again.V)


def test_masked_rows_are_zero_and_change_nothing():
    J, _ = _planted()
    padded = np.zeros((660, J.shape[1]), np.float32)
    kept = np.sort(np.random.default_rng(0).permutation(660)[:600])
    padded[kept] = J
    plain = factorize(J, 8, restarts=1)
    masked = factorize(padded, 8, restarts=1)
    U = np.asarray(masked.U)
    assert U.shape == (660, 8) and not np.any(np.delete(U, kept, axis=0))
    np.testing.assert_array_equal(U[kept], plain.U)


@pytest.mark.whole_run
def test_side_by_side_gives_what_one_after_the_other_gives():
    J, _ = _planted()
    with jax.enable_x64(True):
        J = np.asarray(J, np.float64)
        first, second = (
            factorize(J, 8, restarts=4, tolerance=1e-5, side_by_side=b) for b in (False, True)
        )
    assert (first.restart, first.iterations) == (second.restart, second.iterations)
    np.testing.assert_allclose(first.restart_objectives, second.restart_objectives, rtol=1e-9)
    np.testing.assert_allclose(first.U, second.U, atol=1e-8)
    np.testing.assert_allclose(first.V, second.V, atol=1e-8)


def test_a_restart_does_not_depend_on_the_others():
    J, _ = _planted()
    three, two = (factorize(J, 8, restarts=r, seed=5).restart_objectives for r in (3, 2))
    np.testing.assert_allclose(three[:2], two, rtol=1e-5)


@pytest.mark.whole_run
def test_the_whole_of_it_is_one_program_without_transfers():
    J, _ = _planted()
    J = jax.device_put(J)
    arguments = {"num_components": 4, "restarts": 3, "max_iterations": 20}
    arguments |= {"side_by_side": False, "sharding": None}
    scalars = [jnp.asarray(x) for x in (0, 0.02, 0.01, 1e-4)]
    factorization._solve_all(J, None, *scalars, **arguments)
    with jax.transfer_guard("disallow"):
        result, best, finals = factorization._solve_all(J, None, *scalars, **arguments)
    assert finals.shape == (3,) and int(best) == np.argmin(finals)
    assert result.U.shape == (600, 4)


@pytest.mark.whole_run
def test_other_weights_and_seeds_need_no_new_compilation():
    J, _ = _planted()
    factorize(J, 5, alpha=0.02, beta=0.01, seed=0, restarts=2)
    before = factorization._solve_all._cache_size()
    factorize(J, 5, alpha=0.3, beta=0.0, seed=4, restarts=2, tolerance=1e-3)
    factorize(J, 5, alpha=np.float64(0.1), beta=1, seed=9, restarts=2)
    assert factorization._solve_all._cache_size() == before


def test_stops_at_the_iteration_limit_and_says_so():
    J, _ = _planted()
    result = factorize(J, 8, restarts=1, max_iterations=3, tolerance=1e-12)
    assert (result.iterations, result.converged) == (3, False)
    assert result.stop_reason == "max_iterations"


def test_warm_start_from_the_solution_is_nearly_done():
    J, _ = _planted()
    cold = factorize(J, 8, restarts=1)
    warm = factorize(J, 8, initial_directions=cold.V)
    assert warm.iterations < cold.iterations
    np.testing.assert_allclose(warm.restart_objectives, cold.restart_objectives, rtol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_components": 0}, "at least 1"),
        ({"num_components": 33}, "w_dim = 32"),
        ({"J": jnp.ones((5, 32)), "num_components": 6}, "pixel outputs = 5"),
        ({"alpha": -0.1}, "alpha is -0.1"),
        ({"beta": float("nan")}, "beta is nan"),
        ({"J": jnp.full((50, 32), jnp.nan)}, "NaN"),
        ({"J": jnp.zeros((50, 32))}, "zero everywhere"),
        ({"J": jnp.ones((50, 32), int)}, "dtype"),
        ({"J": jnp.ones(50)}, "shape"),
        ({"restarts": 0}, "restarts is 0"),
        ({"max_iterations": 0}, "max_iterations is 0"),
        ({"initial_directions": jnp.ones((32, 2))}, "initial_directions"),
    ],
)
def test_bad_input_gets_one_clear_error(change, message):
    arguments = {"J": jnp.ones((50, 32)), "num_components": 4} | change
    with pytest.raises(FacesemError, match=message):
        factorize(**arguments)


def test_a_start_that_is_not_finite_is_refused():
    J = np.random.default_rng(0).normal(size=(20, 4))
    with pytest.raises(FacesemError, match="initial_directions holds NaN"):
        factorize(jnp.asarray(J), 2, 0.1, 0.0, initial_directions=jnp.full((4, 2), jnp.nan))


def test_a_jacobian_of_16_bits_is_factorised():
    J = jnp.asarray(np.random.default_rng(0).normal(size=(20, 4)), jnp.bfloat16)
    found = factorize(J, 2, 0.1, 0.0, restarts=1, max_iterations=20)
    assert found.U.dtype == jnp.float32 and bool(jnp.isfinite(found.U).all())


def test_every_seed_of_the_commands_is_one_and_others_are_refused():
    J = jnp.asarray(np.random.default_rng(0).normal(size=(20, 4)), jnp.float32)
    found = factorize(J, 2, 0.1, 0.0, 2**32 - 1, restarts=2, max_iterations=5)
    assert bool(jnp.isfinite(found.U).all())
    for changes, message in (
        ({"seed": 2**32}, "seed is 4294967296"),
        ({"seed": -1}, "seed is -1"),
        ({"tolerance": float("nan")}, "tolerance is nan"),
    ):
        with pytest.raises(FacesemError, match=message):
            factorize(J, 2, 0.1, 0.0, **changes)
