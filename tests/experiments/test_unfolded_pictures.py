import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from experiments.training_loop import LoopConfig, run_training
from experiments.unfolded_pictures import PictureTurnConfig, PictureTurns
from facesem_jax.errors import FacesemError
from facesem_jax.training.decomposer_loss_config import DecomposerLossConfig
from facesem_jax.training.state import init_state, make_step

# Orbax's own threads still report what the loop has made one error of.
pytestmark = [
    pytest.mark.usefixtures("quick_compilation"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
CONFIG = PictureTurnConfig(every=2, components=4)
LOSS = DecomposerLossConfig(unfold=1.0)
OPTIMIZER = optax.sgd(0.3)
SHAPE = (4, 4, 3)


def _pictures(seed, n=160):
    """Two odd patterns and an even one, by random numbers."""
    rng = np.random.default_rng(seed)
    patterns = np.random.default_rng(9).normal(size=(3, *SHAPE)).repeat(2, 1).repeat(2, 2)
    sign = np.array([-1, -1, 1])[:, None, None, None]
    patterns = (patterns + sign * patterns[:, :, ::-1]) / 2
    numbers = rng.normal(size=(n, 3))
    noise = 0.01 * rng.normal(size=(n, *patterns.shape[1:]))
    images = np.einsum("nk,khwc->nhwc", numbers, patterns) + noise
    return images.astype(np.float32), numbers, patterns


class Reader(nnx.Module):
    """Yaw is a sum of the amounts of two odd patterns and an even one."""

    def __init__(self, mix):
        self.mix = nnx.Param(jnp.asarray(mix, jnp.float32))
        patterns = _pictures(0)[2].reshape(3, -1)
        self.dual = nnx.Variable(jnp.asarray(np.linalg.pinv(patterns), jnp.float32))

    def view(self, x):
        yaw = x.reshape(len(x), -1) @ self.dual[...] @ self.mix[...]
        return jnp.stack([0 * yaw, yaw], axis=1)


def _loss(reader, batch, step):
    images, pose = batch
    return jnp.mean(jnp.square(reader.view(images)[:, 1] - pose.yaw)), {}


def _start(mix):
    graph, state = init_state(Reader(mix), OPTIMIZER)
    turns = PictureTurns(_pictures(0)[0], graph, LOSS, CONFIG)
    return graph, turns, turns.start(state)


@pytest.mark.whole_run
def test_the_turn_is_the_odd_part_of_the_reading_with_a_spread_of_its_own():
    _, turns, state = _start([0.05, 0, 0.01])
    images, numbers, _ = _pictures(1, 400)
    state, (given, (turn, _)) = turns.prepare(0, state, images)
    np.testing.assert_array_equal(given, images)
    # The even part cannot stand for yaw: a mirror image has the opposite.
    _, (_, (mirrored, _)) = turns.prepare(1, state, images[:, :, ::-1])
    np.testing.assert_allclose(mirrored, -turn, atol=1e-5)
    assert np.corrcoef(turn, numbers[:, 0])[0, 1] > 0.99
    np.testing.assert_allclose(np.std(turn), np.radians(LOSS.unfold_spread), rtol=0.15)


@pytest.mark.whole_run
def test_a_shift_is_no_turn():
    angle = 2 * np.pi * (np.arange(16) + 0.5) / 16
    rng = np.random.default_rng(3)
    turned, shifted = rng.normal(size=(2, 400))
    # A face is an even wave; what a shift adds is its derivative, what a turn adds another wave.
    rows = np.cos(angle) + np.outer(0.3 * shifted, np.sin(angle))
    rows += np.outer(turned, np.sin(3 * angle))
    images = np.broadcast_to(rows[:, None, :, None], (400, 4, 16, 3)).astype(np.float32)
    images = images + 0.01 * rng.normal(size=images.shape).astype(np.float32)

    class Confused(nnx.Module):
        """Reads the turn, and as much of the shift."""

        def view(self, x):
            yaw = x.mean(axis=(1, 3)) @ jnp.asarray(np.sin(3 * angle) + np.sin(angle) / 0.3) / 8
            return jnp.stack([0 * yaw, yaw], axis=1)

    graph, state = init_state(Confused(), OPTIMIZER)
    turns = PictureTurns(images, graph, LOSS, CONFIG)
    reading = np.asarray(Confused().view(jnp.asarray(images))[:, 1])
    assert np.corrcoef(reading, turned)[0, 1] < 0.8
    _, (_, (turn, _)) = turns.prepare(0, turns.start(state), images)
    assert np.corrcoef(turn, turned)[0, 1] > 0.98


@pytest.mark.whole_run
def test_it_is_fitted_with_the_average_every_so_many_steps():
    _, turns, state = _start([1.0, 0, 0])
    images, numbers, _ = _pictures(1)
    fitted, _ = turns.prepare(0, state, images)
    average = jax.tree.map(lambda x: jnp.roll(x, 1), state.average)
    changed = dataclasses.replace(fitted, average=average)
    kept, (_, (turn, _)) = turns.prepare(1, changed, images)
    chex.assert_trees_all_equal(kept.extra, fitted.extra)
    assert np.corrcoef(turn, numbers[:, 0])[0, 1] > 0.99
    _, (_, (turn, _)) = turns.prepare(2, changed, images)
    assert np.corrcoef(turn, numbers[:, 1])[0, 1] > 0.99


@pytest.mark.whole_run
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
    def train(directory, steps):
        graph, turns, state = _start([1.0, 0.5, 0.2])
        step = make_step(graph, _loss, OPTIMIZER)
        batch = lambda number: _pictures(number + 2, 8)[0]  # noqa: E731
        return run_training(LoopConfig(steps, directory), state, step, batch, prepare=turns.prepare)

    whole = train(tmp_path / "whole", 5)
    # Stopped between two fits.
    train(tmp_path / "run", 3)
    chex.assert_trees_all_equal(train(tmp_path / "run", 5), whole)
    assert float(jnp.linalg.norm(whole.extra.slope)) > 0


def test_numbers_that_cannot_be_are_refused():
    for wrong in ({"every": 0}, {"components": 0}):
        with pytest.raises(FacesemError, match="at least 1"):
            PictureTurnConfig(**wrong)
    graph, _ = init_state(Reader([1.0, 0, 0]), OPTIMIZER)
    with pytest.raises(FacesemError, match=r"4 principal components .* 3 examples"):
        PictureTurns(_pictures(0, 3)[0], graph, LOSS, CONFIG)
