import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from facesem_jax.generators.layers import Buffer
from facesem_jax.training.state import advance, init_state, make_step, modules_of

RATE = 0.1


class Line(nnx.Module):
    def __init__(self):
        self.slope = nnx.Param(jnp.array([1.0, -2.0]))
        self.noise = Buffer(jnp.array([3.0, 5.0]))


def _loss(line, batch, step):
    value = jnp.sum(jnp.square(line.slope[...] - batch)) / 2 + jnp.sum(line.noise[...])
    return value, {"seen_step": step}


@pytest.fixture
def started():
    graph, state = init_state(Line(), optax.sgd(RATE))
    return graph, state, jax.jit(make_step(graph, _loss, optax.sgd(RATE), decay=0.5))


def test_a_step_is_the_optimisers_and_leaves_buffers_alone(started):
    graph, state, step = started
    batch = jnp.array([2.0, 2.0])
    new, terms = step(state, batch)
    gradient = np.array([1.0, -2.0]) - 2.0
    np.testing.assert_allclose(new.params["slope"][...], [1.0, -2.0] - RATE * gradient, rtol=1e-6)
    chex.assert_trees_all_equal(new.buffers, state.buffers)
    assert (int(state.step), int(new.step), int(terms["seen_step"])) == (0, 1, 0)
    np.testing.assert_allclose(terms["loss"], np.sum(gradient**2) / 2 + 8, rtol=1e-6)
    np.testing.assert_allclose(terms["gradient_norm"], np.linalg.norm(gradient), rtol=1e-6)
    line = modules_of(graph, new)
    assert isinstance(line.noise, Buffer)
    np.testing.assert_array_equal(line.slope[...], new.params["slope"][...])


def test_the_average_ramps_up_to_its_decay(started):
    graph, state, step = started
    batch, average = jnp.zeros(2), np.array([1.0, -2.0])
    for count in range(1, 21):
        state, _ = step(state, batch)
        rate = min(0.5, count / (count + 10))
        average = rate * average + (1 - rate) * np.array([1.0, -2.0]) * (1 - RATE) ** count
        np.testing.assert_allclose(state.average["slope"][...], average, rtol=1e-4)
    averaged = modules_of(graph, state, averaged=True)
    np.testing.assert_allclose(averaged.slope[...], average, rtol=1e-4)
    assert not np.allclose(modules_of(graph, state).slope[...], average, rtol=1e-3)


def test_with_a_ramp_of_one_the_average_is_of_all_steps_alike():
    _, state = init_state(Line(), optax.sgd(RATE))
    gradient = jax.tree.map(jnp.ones_like, state.params)
    for _ in range(7):
        state = advance(state, gradient, optax.sgd(RATE), decay=0.999, ramp=1.0)
    # The start counts as the steps do: the mean of 0, -RATE, ..., -7 RATE from it.
    start, average = Line().slope[...], state.average["slope"][...]
    np.testing.assert_allclose(average - start, -3.5 * RATE, rtol=1e-5)


def test_the_average_is_a_copy_that_donation_cannot_take():
    graph, state = init_state(Line(), optax.adam(RATE))
    step = jax.jit(make_step(graph, _loss, optax.adam(RATE)), donate_argnums=0)
    for _ in range(2):
        state, _ = step(state, jnp.zeros(2))
    # A shared buffer would raise here: it was given away with the parameters.
    assert not np.array_equal(state.average["slope"][...], state.params["slope"][...])


def test_a_state_has_the_types_that_a_step_gives():
    class Weak(nnx.Module):
        def __init__(self):
            self.slope = nnx.Param(jnp.zeros(2) + 0.0 * jnp.asarray(1.0))
            self.gain = nnx.Param(jax.lax.broadcast(3.0, (2,)))

    module = Weak()
    assert module.gain[...].weak_type

    def loss(module, batch, step):
        return jnp.sum(module.slope[...] * module.gain[...] * batch), {}

    graph, state = init_state(module, optax.adam(RATE))
    step = jax.jit(make_step(graph, loss, optax.adam(RATE)))
    for _ in range(3):
        state, _ = step(state, jnp.ones(2))
    assert step._cache_size() == 1


def test_several_modules_train_as_one():
    graph, state = init_state({"a": Line(), "b": Line()}, optax.sgd(RATE))

    def loss(modules, batch, step):
        return jnp.sum(modules["a"].slope[...] * modules["b"].slope[...] * batch), {}

    state, _ = make_step(graph, loss, optax.sgd(RATE))(state, jnp.ones(2))
    found = modules_of(graph, state)
    np.testing.assert_allclose(found["a"].slope[...], [0.9, -1.8], rtol=1e-6)
    np.testing.assert_allclose(found["b"].slope[...], [0.9, -1.8], rtol=1e-6)
