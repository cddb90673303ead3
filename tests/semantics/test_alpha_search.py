import jax.numpy as jnp
import numpy as np
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.semantics import components
from facesem_jax.semantics.alpha_search import alpha_for, largest_alpha
from facesem_jax.semantics.factorization import factorize

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def jacobian():
    rng = np.random.default_rng(0)
    U = rng.normal(size=(300, 6)) * (rng.uniform(size=(300, 6)) < 0.3)
    J = U @ rng.normal(size=(6, 16)) + 0.3 * rng.normal(size=(300, 16))
    J[:30] = 0  # masked
    return jnp.asarray(J * np.sqrt(16 / np.sum(J**2)), jnp.float32)


def test_above_the_largest_alpha_no_map_pays_and_just_below_one_does(jacobian):
    # A small entry u changes the objective by -2 u J_i . v + u^2 + alpha |u|.
    J, u, top = np.asarray(jacobian, float), 1e-4, largest_alpha(jacobian)
    rows = J[np.linalg.norm(J, axis=1) > 0]
    best = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    gain = 2 * u * np.sum(rows * best, axis=1) - u**2
    assert np.all(gain < 1.0001 * top * u)
    assert np.any(gain > 0.99 * top * u)
    assert not np.any(np.asarray(factorize(jacobian, 6, 1.001 * top, restarts=2).U))


@pytest.mark.whole_run
@pytest.mark.parametrize("target", [0.6, 0.9])
def test_reaches_a_target_sparsity(jacobian, target):
    choice = alpha_for(jacobian, 6, target_sparsity=target, tolerance=0.01, restarts=2)
    assert choice.reached and abs(choice.achieved - target) <= 0.01
    found = np.mean(np.asarray(choice.factorization.U)[30:] == 0)
    np.testing.assert_allclose(found, choice.achieved)
    assert (choice.alpha, choice.achieved) in choice.tried


def test_reaches_a_target_explained_variance(jacobian):
    choice = alpha_for(jacobian, 6, target_explained_variance=0.7, tolerance=0.01, restarts=2)
    assert choice.reached
    result = choice.factorization
    found = components.explained_variance(jacobian, result.U, result.V)
    assert abs(found - 0.7) <= 0.01


def test_an_unreachable_target_is_reported_not_hidden(jacobian):
    choice = alpha_for(jacobian, 6, target_explained_variance=0.99, restarts=1, max_evaluations=4)
    assert not choice.reached and choice.achieved < 0.985 and len(choice.tried) == 4


@pytest.mark.parametrize(
    "targets",
    [
        {},
        {"target_sparsity": 0.5, "target_explained_variance": 0.5},
        {"target_sparsity": 1.0},
        {"target_explained_variance": float("nan")},
    ],
)
def test_bad_targets_are_refused(jacobian, targets):
    with pytest.raises(FacesemError, match="target"):
        alpha_for(jacobian, 4, **targets)
