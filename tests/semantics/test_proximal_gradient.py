import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.semantics import proximal_gradient as pg
from facesem_jax.semantics.prox import soft_threshold


def _lasso(seed=0, n=30, k=8):
    rng = np.random.default_rng(seed)
    A, b = jnp.asarray(rng.normal(size=(n, k))), jnp.asarray(rng.normal(size=n) * 3)
    return A, b, jax.grad(lambda x: jnp.sum((A @ x - b) ** 2)), 2 * jnp.linalg.norm(A, 2) ** 2


def test_update_lands_on_the_prox_of_the_gradient_step():
    params = {"a": jnp.asarray([1.0, -0.2]), "b": jnp.asarray([[0.5]])}
    gradient = {"a": jnp.asarray([0.4, 0.1]), "b": jnp.asarray([[-2.0]])}
    optimiser = pg.proximal_gradient(lambda x, step: soft_threshold(x, 0.6 * step))
    updates, _ = optimiser.update(gradient, optimiser.init(params), params, lipschitz=2.0)
    landed = optax.apply_updates(params, updates)
    expected = jax.tree.map(lambda x, g: soft_threshold(x - g / 2, 0.3), params, gradient)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7), landed, expected)
    assert float(landed["a"][1]) == 0.0  # |-0.2 - 0.05| <= 0.3: an exact zero survives.


def test_composes_with_other_optax_transformations():
    # Halving the gradient is the same as doubling the constant of the smooth part alone.
    chained = optax.chain(optax.scale(0.5), pg.scale_by_lipschitz())
    updates, _ = chained.update(
        jnp.asarray([4.0]), chained.init(jnp.zeros(1)), jnp.zeros(1), lipschitz=2.0
    )
    np.testing.assert_allclose(updates, [-1.0])


def test_descends_monotonically_to_a_point_that_meets_the_kkt_conditions():
    with jax.enable_x64(True):
        A, b, grad, lipschitz = _lasso()
        alpha = 20.0
        optimiser = pg.proximal_gradient(lambda x, step: soft_threshold(x, alpha * step))

        def step(x, _):
            updates, _ = optimiser.update(grad(x), optimiser.init(x), x, lipschitz=lipschitz)
            return optax.apply_updates(x, updates), jnp.sum((A @ x - b) ** 2) + alpha * jnp.sum(
                jnp.abs(x)
            )

        x, values = jax.lax.scan(step, jnp.ones(8), None, length=2000)
        g = np.asarray(grad(x))
    x = np.asarray(x)
    assert np.all(np.diff(values) <= 1e-12)
    assert 0 < np.sum(x == 0) < 8
    np.testing.assert_allclose(g[x != 0], -alpha * np.sign(x[x != 0]), atol=1e-6)
    assert np.all(np.abs(g[x == 0]) <= alpha)


def test_inertia_is_none_at_first_and_then_extrapolates_every_leaf():
    params = (jnp.asarray([1.0]), jnp.asarray([2.0]))
    previous = (jnp.asarray([0.0]), jnp.asarray([2.0]))
    state = pg.InertialState(previous, jnp.asarray(0))
    for found, expected in zip(pg.extrapolate(params, state), params, strict=True):
        np.testing.assert_allclose(found, expected)
    state = state._replace(count=jnp.asarray(3))
    moved, still = pg.extrapolate(params, state)
    np.testing.assert_allclose(moved, [1.5])  # 1 + 3 / 6.
    np.testing.assert_allclose(still, [2.0])
    assert int(pg.restart(state).count) == 0


def test_inertia_needs_fewer_steps_on_an_ill_conditioned_problem():
    with jax.enable_x64(True):
        curvature = jnp.asarray(np.geomspace(1e-3, 1.0, 20))
        optimiser = pg.proximal_gradient(lambda x, step: x)

        def run(weight):
            def step(carry, _):
                x, state = carry
                y = pg.extrapolate(x, state, weight)
                updates, _ = optimiser.update(curvature * y, optimiser.init(y), y, lipschitz=1.0)
                return (optax.apply_updates(y, updates), pg.InertialState(x, state.count + 1)), None

            start = (jnp.ones(20), pg.InertialState(jnp.ones(20), jnp.zeros((), jnp.int32)))
            (x, _), _ = jax.lax.scan(step, start, None, length=200)
            return float(jnp.sum(curvature * x**2))

        slow, fast = run(lambda count: 0.0 * count), run(pg.nesterov_weight)
    assert fast < 0.1 * slow


def test_params_are_required():
    optimiser = pg.apply_prox(lambda x, s: x)
    with pytest.raises(FacesemError, match="params"):
        optimiser.update(jnp.zeros(2), optimiser.init(jnp.zeros(2)), lipschitz=1.0)
