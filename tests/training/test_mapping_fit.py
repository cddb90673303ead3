import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from facesem_jax.generators.mapping import Mapping
from facesem_jax.training.mapping_fit import (
    LatentBatch,
    LatentCritic,
    MappingFitConfig,
    latent_critic_loss,
    mapping_loss,
)
from facesem_jax.training.state import init_state, make_step

CONFIG = MappingFitConfig()
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    z, w = rng.normal(size=(2, 256, 4))
    w = w * [1, 0.2, 1, 0.5] + [2, 0, 0, -1]
    return LatentBatch(jnp.asarray(z, jnp.float32), jnp.asarray(w, jnp.float32))


def _undecided(w):
    return jnp.zeros(w.shape[0])


def test_the_critic_gives_one_logit_each_and_sees_second_moments():
    critic = LatentCritic(3, 8, rngs=nnx.Rngs(0))
    w = jax.random.normal(KEY, (5, 3))
    logits = critic(w)
    chex.assert_shape(logits, (5,))
    np.testing.assert_allclose(critic(w[2:3]), logits[2:3], atol=1e-6)
    critic.layers[0].kernel[...] = critic.layers[0].kernel[...].at[:3].set(0)
    np.testing.assert_allclose(critic(-w), critic(w), atol=1e-6)
    assert float(jnp.std(critic(w))) > 1e-3


def test_a_mapping_with_the_right_distribution_pays_for_the_verdict_alone(batch):
    total, terms = mapping_loss(lambda z: batch.w[::-1], batch, _undecided, KEY, CONFIG)
    assert terms["sliced"] < 1e-10
    np.testing.assert_allclose(terms["verdict"], np.log(2), rtol=1e-6)
    np.testing.assert_allclose(total, CONFIG.adversarial * np.log(2), rtol=1e-5)
    shifted, _ = mapping_loss(lambda z: batch.w + 1, batch, _undecided, KEY, CONFIG)
    np.testing.assert_allclose(shifted - total, CONFIG.sliced, rtol=0.2)


def test_the_critics_accuracy_is_what_it_tells_apart(batch):
    def loss(critic, mapping, regularise=False):
        return latent_critic_loss(critic, batch, mapping, regularise, CONFIG)

    np.testing.assert_allclose(loss(_undecided, lambda z: z)[1]["accuracy"], 0.5)
    far = lambda z: z - 100.0  # noqa: E731
    right = lambda w: w[:, 0] + 50.0  # noqa: E731
    total, terms = loss(right, far)
    assert terms["accuracy"] == 1 and total < 1e-6
    assert loss(lambda w: -right(w), far)[1]["accuracy"] == 0
    # |grad|^2 / 2 of that critic, made up for the steps without it.
    penalised, _ = loss(right, far, True)
    np.testing.assert_allclose(penalised, CONFIG.r1 * CONFIG.r1_interval / 2, rtol=1e-4)


def test_a_few_steps_bring_the_mapping_to_the_encodings(batch):
    mapping = Mapping(4, 4, 2, 2, lr_multiplier=1.0, rngs=nnx.Rngs(0))
    optimizer = optax.adam(0.02)
    graph, state = init_state(mapping, optimizer)

    def loss(mapping, batch, step):
        return mapping_loss(mapping, batch, _undecided, jax.random.fold_in(KEY, step), CONFIG)

    step = jax.jit(make_step(graph, loss, optimizer))
    history = []
    for _ in range(80):
        state, terms = step(state, batch)
        history.append(float(terms["sliced"]))
    assert np.mean(history[-5:]) < 0.1 * history[0]
    np.testing.assert_array_equal(state.buffers["w_avg"][...], 0)
