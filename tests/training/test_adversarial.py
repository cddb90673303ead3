import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from facesem_jax.generators.layers import Buffer
from facesem_jax.training.adversarial import (
    GameBatch,
    GameState,
    critic_loss,
    generator_loss,
    make_game_step,
    path_lengths,
    r1_penalty,
)
from facesem_jax.training.state import init_state


def test_losses_at_known_logits():
    zero = jnp.zeros(3)
    np.testing.assert_allclose(generator_loss(zero), np.log(2), rtol=1e-6)
    np.testing.assert_allclose(critic_loss(zero, zero), 2 * np.log(2), rtol=1e-6)
    sure = jnp.full(3, 50.0)
    assert critic_loss(sure, -sure) < 1e-6
    np.testing.assert_allclose(critic_loss(-sure, sure), 100, rtol=1e-6)
    np.testing.assert_allclose(generator_loss(-sure), 50, rtol=1e-6)
    mixed = jnp.array([1.0, -1.0])
    expected = (np.log1p(np.exp(-1)) + np.log1p(np.exp(1))) / 2
    np.testing.assert_allclose(generator_loss(mixed), expected, rtol=1e-6)
    # Real and fake samples are averaged on their own.
    np.testing.assert_allclose(critic_loss(mixed, jnp.zeros(7)), expected + np.log(2), rtol=1e-6)


def test_losses_move_logits_the_right_way():
    assert (jax.grad(generator_loss)(jnp.zeros(2)) < 0).all()
    real, fake = jax.grad(critic_loss, (0, 1))(jnp.zeros(2), jnp.zeros(2))
    assert (real < 0).all() and (fake > 0).all()


def test_r1_penalty_of_linear_and_quadratic_critics():
    rng = np.random.default_rng(0)
    a = jnp.asarray(rng.normal(size=(3, 3, 2)), jnp.float32)
    reals = jnp.asarray(rng.normal(size=(5, 3, 3, 2)), jnp.float32)
    found = r1_penalty(lambda x: jnp.sum(x * a, axis=(1, 2, 3)) + 4, reals)
    np.testing.assert_allclose(found, jnp.sum(a**2) / 2, rtol=1e-5)
    found = r1_penalty(lambda x: jnp.sum(x**2, axis=(1, 2, 3)) / 2, reals)
    np.testing.assert_allclose(found, jnp.sum(reals**2) / 5 / 2, rtol=1e-5)


def test_path_lengths_of_a_linear_synthesis():
    rng = np.random.default_rng(0)
    matrix = jnp.asarray(rng.normal(size=(6, 4 * 4 * 3)), jnp.float32)

    def synthesis(w):
        return (w @ matrix).reshape(-1, 4, 4, 3)

    w = jnp.asarray(rng.normal(size=(2000, 6)), jnp.float32)
    noise = jnp.asarray(rng.normal(size=(2000, 4, 4, 3)), jnp.float32)
    lengths = path_lengths(synthesis, w, noise)
    chex.assert_shape(lengths, (2000,))
    exact = np.linalg.norm(noise.reshape(2000, -1) @ matrix.T, axis=1) / 4
    np.testing.assert_allclose(lengths, exact, rtol=1e-4)
    # E |J^T y|^2 is the squared Frobenius norm, divided here by the pixels.
    np.testing.assert_allclose(np.mean(lengths**2), np.sum(matrix**2) / 16, rtol=0.05)


def test_a_regularised_batch_is_compiled_on_its_own():
    traced = []

    @jax.jit
    def run(batch):
        traced.append(batch.regularise)
        return batch.data * (10 if batch.regularise else 1)

    values = [float(run(GameBatch(jnp.asarray(2.0), step % 4 == 0))) for step in range(6)]
    assert values == [20, 2, 2, 2, 20, 2]
    assert sorted(traced) == [False, True]


class Player(nnx.Module):
    def __init__(self, value):
        self.value = nnx.Param(jnp.asarray(value))
        self.noise = Buffer(jnp.asarray(7.0))


@pytest.fixture(scope="module")
def game():
    """A bilinear game: the generator lowers ``g c``, the critic lowers ``batch c g``."""

    def generator_objective(own, batch_and_critic, step):
        _, critic = batch_and_critic
        return own.value[...] * critic.value[...], {"critic_seen": critic.value[...]}

    def critic_objective(own, batch_and_generator, step):
        batch, generator = batch_and_generator
        return batch * own.value[...] * generator.value[...], {"seen": generator.value[...]}

    optimizer = optax.sgd(0.1)
    generator_graph, generator = init_state(Player(2.0), optimizer)
    critic_graph, critic = init_state(Player(3.0), optimizer)
    step = make_game_step(
        (generator_graph, critic_graph),
        (generator_objective, critic_objective),
        (optimizer, optimizer),
    )
    return GameState(generator, critic), jax.jit(step)


def test_the_critic_moves_first(game):
    state, step = game
    new, terms = step(state, jnp.asarray(5.0))
    critic = 3.0 - 0.1 * 5.0 * 2.0
    np.testing.assert_allclose(new.critic.params["value"][...], critic, rtol=1e-6)
    np.testing.assert_allclose(new.generator.params["value"][...], 2.0 - 0.1 * critic, rtol=1e-6)
    np.testing.assert_allclose(terms["critic_seen"], 2.0)
    np.testing.assert_allclose(terms["critic_loss"], 5.0 * 3.0 * 2.0)
    np.testing.assert_allclose(terms["loss"], 2.0 * critic, rtol=1e-6)


def test_a_game_step_counts_and_leaves_buffers_alone(game):
    state, step = game
    new, _ = step(state, jnp.asarray(5.0))
    assert (int(new.step), int(new.generator.step), int(new.critic.step)) == (1, 1, 1)
    for side in ("generator", "critic"):
        chex.assert_trees_all_equal(getattr(new, side).buffers, getattr(state, side).buffers)
