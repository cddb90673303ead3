import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.semantics.edits import apply_edit, decorrelated_steps, sweep, unit_step

D, K = 10, 4
NAMES = ("yaw", "pitch", "ambient", "light_x")
# Degrees beside pure numbers, and correlated: a common part in all of them.
V = (
    jax.random.normal(jax.random.key(0), (K, D)) + jax.random.normal(jax.random.key(1), (1, D))
) * jnp.array([[40.0], [15.0], [0.05], [0.3]])
W = jax.random.normal(jax.random.key(2), (3, D))


def test_an_edit_is_in_the_semantics_own_unit():
    for v in V:
        moved = apply_edit(W, unit_step(v), 20.0)
        np.testing.assert_allclose((moved - W) @ v, 20.0, rtol=1e-4)
    # A direction's own multiple is the shortest such step.
    np.testing.assert_allclose(
        jnp.linalg.norm(unit_step(V), axis=1), 1 / jnp.linalg.norm(V, axis=1), rtol=1e-5
    )


def test_unit_step_of_tiny_gradients_does_not_underflow():
    v = jnp.full((4,), 1e-22)
    np.testing.assert_allclose(unit_step(v), 2.5e21, rtol=1e-5)


def test_decorrelated_steps_are_feasible_and_of_minimum_norm():
    with jax.enable_x64(True):
        v = V.astype(jnp.float64)
        steps = decorrelated_steps(v, NAMES)
        np.testing.assert_allclose(v @ steps.T, np.eye(K), atol=1e-12)
        # Optimality: a feasible d of minimum norm lies in the row space of V, i.e. has no part
        # along any direction that leaves every semantic unchanged.
        null_space = np.linalg.svd(np.asarray(v))[2][K:]
        np.testing.assert_allclose(null_space @ steps.T, 0, atol=1e-12)
        np.testing.assert_allclose(steps, np.linalg.pinv(np.asarray(v)).T, atol=1e-10)


def test_decorrelated_edit_in_float32_moves_one_semantic_alone():
    steps = decorrelated_steps(V, NAMES)
    scale = np.linalg.norm(V, axis=1)  # One unit of each semantic, by its sensitivity to w.
    for i in range(K):
        amount = scale[i]
        change = (apply_edit(W, steps[i], amount) - W) @ V.T
        np.testing.assert_allclose(change / scale, np.tile(np.eye(K)[i], (3, 1)), atol=1e-5)


def test_orthogonal_directions_need_no_decorrelation():
    v = jnp.diag(jnp.array([3.0, 0.5, 20.0]))[:, :3]
    np.testing.assert_allclose(decorrelated_steps(v), unit_step(v), rtol=1e-6, atol=1e-7)


def test_under_jit():
    np.testing.assert_allclose(
        jax.jit(decorrelated_steps)(V), decorrelated_steps(V), rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(jax.jit(unit_step)(V), unit_step(V), rtol=1e-5)


def test_w_plus_moves_every_layer():
    w_plus = jnp.stack([W, 2 * W], axis=1)
    step = unit_step(V[0])
    amounts = jnp.array([1.0, -2.0, 5.0])
    moved = apply_edit(w_plus, step, amounts)
    assert moved.shape == w_plus.shape
    for layer in range(2):
        expected = apply_edit(w_plus[:, layer], step, amounts)
        np.testing.assert_allclose(moved[:, layer], expected, rtol=1e-6)
        np.testing.assert_allclose((moved - w_plus)[:, layer] @ V[0], amounts, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", [(D,), (3, D), (3, 2, D)])
def test_sweep_is_one_edit_per_amount(shape):
    w = jnp.ones(shape)
    amounts = jnp.array([-10.0, 0.0, 10.0, 20.0])
    strip = sweep(w, unit_step(V[1]), amounts)
    assert strip.shape == (4, *shape)
    for row, amount in zip(strip, amounts, strict=True):
        np.testing.assert_allclose(row, apply_edit(w, unit_step(V[1]), amount), rtol=1e-6)
    np.testing.assert_array_equal(strip[1], w)


def test_coinciding_directions_are_named():
    v = V.at[3].set(-0.01 * V[1])
    with pytest.raises(FacesemError, match=r"pitch and light_x.*-1.0000"):
        decorrelated_steps(v, NAMES)
    with pytest.raises(FacesemError, match="direction 1 and direction 3"):
        decorrelated_steps(v)


def test_nearly_coinciding_directions_by_tolerance():
    v = V.at[3].set(V[1] + 1e-3 * jnp.linalg.norm(V[1]) * jnp.eye(D)[0])
    assert jnp.isfinite(decorrelated_steps(v, NAMES)).all()
    with pytest.raises(FacesemError, match="pitch and light_x"):
        decorrelated_steps(v, NAMES, rtol=1e-2)


def test_bad_input():
    with pytest.raises(FacesemError, match="ambient is zero or not finite"):
        decorrelated_steps(V.at[2].set(0.0), NAMES)
    with pytest.raises(FacesemError, match="Direction 2 is zero"):
        unit_step(V.at[2].set(0.0))
    with pytest.raises(FacesemError, match="Direction 1 is zero or not finite"):
        unit_step(V.at[1, 0].set(jnp.nan))
    with pytest.raises(FacesemError, match="3 names for the 4"):
        decorrelated_steps(V, NAMES[:3])
    with pytest.raises(FacesemError, match="11 directions in 10"):
        decorrelated_steps(jnp.ones((11, D)))
    with pytest.raises(FacesemError, match="step has shape"):
        apply_edit(W, jnp.ones(D + 1), 1.0)
    with pytest.raises(FacesemError, match="amount has shape"):
        apply_edit(W, jnp.ones(D), jnp.ones(2))
    with pytest.raises(FacesemError, match="see sweep"):
        apply_edit(W[0], jnp.ones(D), jnp.ones(2))
    with pytest.raises(FacesemError, match="w has shape"):
        sweep(jnp.ones((1, 2, 3, D)), jnp.ones(D), jnp.ones(2))


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_very_small_and_large_directions_can_be_moved(scale):
    steps = decorrelated_steps(jnp.eye(2, 3) * scale)
    np.testing.assert_allclose(steps, jnp.eye(2, 3) / scale, rtol=1e-5)


def test_no_direction_is_refused():
    with pytest.raises(FacesemError, match="0 directions"):
        decorrelated_steps(jnp.zeros((0, 3)))
