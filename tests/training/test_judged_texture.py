import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from facesem_jax.training.adversarial import GameBatch
from facesem_jax.training.discriminator import Discriminator, DiscriminatorConfig
from facesem_jax.training.face_stream import from_uint8, to_uint8
from facesem_jax.training.judged_texture import (
    JudgeConfig,
    JudgedBatch,
    JudgedState,
    judge_loss,
    make_judged_step,
    shown_to_critic,
)
from facesem_jax.training.state import init_state
from facesem_jax.training.texture import (
    GROUPS,
    TextureBatch,
    TextureConfig,
    WantedPatches,
    patch_directions,
    wanted_values,
)

pytestmark = pytest.mark.usefixtures("quick_compilation")
_SIZE, _COUNT = 16, 8
_TEXTURE = TextureConfig(patches=0.0, reconstruction=0.0, directions=8)
_JUDGE = JudgeConfig(adversarial=1.0, channels=(8, 8), steps=2, recent=3, r1_faces=4, interval=2)


class Brighter(nnx.Module):
    """Draws w itself, as pixels, and a brightness."""

    def __init__(self, brightness):
        self.brightness = nnx.Param(jnp.asarray(brightness))

    def __call__(self, w):
        return w.reshape(-1, _SIZE, _SIZE, 3) + self.brightness[...]


def _noise(seed, *shape):
    return 0.2 * jax.random.normal(jax.random.key(seed), shape)


def _critic(seed=0):
    return Discriminator(DiscriminatorConfig(_SIZE, _JUDGE.channels), rngs=nnx.Rngs(seed))


def _game(rate=0.01, judge=_JUDGE):
    optimizers = optax.adam(rate, b1=0.5), optax.adam(1e-2, b1=0.0, b2=0.99)
    graph, state = init_state(Brighter(0.5), optimizers[0])
    critic_graph, critic = init_state(_critic(), optimizers[1])
    theta = patch_directions([jnp.ones(3)], _TEXTURE.directions, jax.random.key(0))
    faces = _noise(1, 64, _SIZE, _SIZE, 3)
    values = wanted_values(faces, theta, _COUNT // GROUPS, jax.random.key(2))
    state = dataclasses.replace(state, extra=[jnp.zeros_like(v) for v in values])
    recent = jnp.zeros((judge.recent, 12, _SIZE, _SIZE, 3), jnp.uint8)
    step = make_judged_step((graph, critic_graph), optimizers, jax.random.key(3), _TEXTURE, judge)

    def batch(number, regularise=False):
        w = _noise(10 * number + 4, _COUNT, _SIZE * _SIZE * 3)
        encoded = _noise(10 * number + 5, 4, _SIZE * _SIZE * 3)
        real = _noise(10 * number + 6, judge.steps, _COUNT, _SIZE, _SIZE, 3)
        texture = TextureBatch(
            w, encoded, encoded.reshape(-1, _SIZE, _SIZE, 3), WantedPatches(theta, values)
        )
        return GameBatch(JudgedBatch(texture, real), regularise)

    return JudgedState(state, critic, recent), jax.jit(step), batch


def test_the_critic_is_shown_this_step_and_earlier_ones_but_no_empty_place():
    # Every picture says which step it was drawn in.
    recent = jnp.arange(1, 5, dtype=jnp.uint8)[:, None, None, None, None]
    recent = jnp.broadcast_to(recent, (4, 6, 2, 2, 3))

    def seen(step, filled):
        held = recent * (jnp.arange(4) < filled)[:, None, None, None, None].astype(jnp.uint8)
        shown = shown_to_critic(held, jnp.asarray(step), 4000, jax.random.key(0))
        return np.bincount(np.asarray(to_uint8(shown))[:, 0, 0, 0], minlength=5) / 4000

    np.testing.assert_allclose(seen(0, 1), [0, 1, 0, 0, 0])
    np.testing.assert_allclose(seen(1, 2), [0, 0.25, 0.75, 0, 0], atol=0.03)
    # The sixth step overwrote the second place.
    np.testing.assert_allclose(seen(5, 4), [0, 0.125, 0.625, 0.125, 0.125], atol=0.03)


def test_the_penalty_is_r1_at_the_first_faces_as_often_as_its_interval_says():
    critic, faces, fakes = _critic(), _noise(0, 8, 16, 16, 3), _noise(1, 8, 16, 16, 3)
    faces = from_uint8(to_uint8(faces))
    plain, _ = judge_loss(critic, faces, fakes, False, _JUDGE)
    total, terms = judge_loss(critic, faces, fakes, True, _JUDGE)
    slope = jax.grad(lambda x: jnp.sum(critic(x)))(faces[:4])
    expected = _JUDGE.r1 * _JUDGE.interval * jnp.sum(jnp.square(slope)) / (2 * 4)
    np.testing.assert_allclose(total - plain, expected, rtol=1e-3)
    np.testing.assert_allclose(terms["judged"], plain, rtol=1e-6)
    assert 0 <= float(terms["right"]) <= 1


def test_a_step_keeps_what_was_drawn_and_moves_both_players():
    state, step, batch = _game()
    drawn = batch(0).data.texture.w.reshape(-1, _SIZE, _SIZE, 3) + 0.5
    after, terms = step(state, batch(0))
    chex.assert_trees_all_equal(after.recent[0, :_COUNT], to_uint8(drawn))
    assert not np.any(after.recent[1:])
    assert int(after.step) == 1 and int(after.critic.step) == _JUDGE.steps
    for side in ("generator", "critic"):
        before, now = (jax.tree.leaves(getattr(s, side).params) for s in (state, after))
        assert any(np.any(a != b) for a, b in zip(before, now, strict=True))
    assert {"verdict", "patches", "critic_judged", "critic_right"} <= set(terms)
    regularised, _ = step(state, batch(0, regularise=True))
    one, other = (jax.tree.leaves(s.critic.params)[0] for s in (after, regularised))
    assert np.any(one != other)


def test_without_a_weight_the_verdict_moves_nothing():
    state, step, batch = _game(judge=JudgeConfig(adversarial=0.0, channels=(8, 8), recent=2))
    after, _ = step(state, batch(0))
    chex.assert_trees_all_equal(after.generator.params, state.generator.params)


def test_the_game_brings_brightness_to_the_faces():
    state, step, batch = _game(rate=0.02)
    for k in range(150):
        state, _ = step(state, batch(k))
    (brightness,) = jax.tree.leaves(state.generator.average)
    assert abs(float(brightness)) < 0.1
