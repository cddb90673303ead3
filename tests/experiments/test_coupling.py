import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from experiments import coupling as coupling_module
from experiments.coupling import Coupling, CouplingConfig
from experiments.face_sources import LatentSource
from experiments.training_loop import LoopConfig, restore_latest, run_training
from facesem_jax.errors import FacesemError
from facesem_jax.training.decomposer_loss_config import DecomposerLossConfig
from facesem_jax.training.face_stream import stream_latents
from facesem_jax.training.state import init_state, make_step

# Orbax's own threads still report what the loop has made one error of.
pytestmark = [
    pytest.mark.usefixtures("quick_compilation"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
DIM = 6
CONFIG = CouplingConfig(every=2, faces=256, seed=5)
LOSS = DecomposerLossConfig(rotation_steps=4, rotation_start=0.0)
UNFOLDED = dataclasses.replace(LOSS, unfold=1.0, unfold_pitch=1.0)
OPTIMIZER = optax.sgd(0.3)


def source(seed):
    """Latents whose pictures are themselves."""
    return LatentSource(
        lambda index, count: stream_latents(seed, index, count, DIM), lambda z: z, "z", DIM
    )


class Reader(nnx.Module):
    """Reads yaw along a direction that it learns, at first the first number.

    Light from the side is the second, pitch the third, light from above the fourth.
    """

    def __init__(self):
        self.kernel = nnx.Param(jnp.eye(DIM)[0])

    def view(self, x):
        return jnp.stack([x[:, 2], x @ self.kernel[...]], axis=1)

    def light(self, x):
        return jnp.stack([x[:, 0], x[:, 0], x[:, 1], x[:, 3]], axis=1)


def _loss(reader, images, step):
    # Draws the direction to the third number, so that it is another one at every step.
    first, second = jnp.split(images, 2)
    value = jnp.mean(jnp.square(images @ reader.kernel[...] - images[:, 2]))
    return value + 0.01 * jnp.mean(jnp.square(first - second)), {}


def _start(sources, batch_size=8):
    graph, state = init_state(Reader(), OPTIMIZER)
    coupling = Coupling(sources, batch_size, graph, LOSS, CONFIG)
    return graph, coupling, coupling.start(state)


def _train(directory, steps):
    graph, coupling, state = _start([source(0)])
    return run_training(
        LoopConfig(steps, directory),
        state,
        make_step(graph, _loss, OPTIMIZER),
        coupling.batch,
        prepare=coupling.prepare,
    )


@pytest.mark.whole_run
def test_directions_are_measured_with_the_average_every_so_many_steps():
    _, coupling, state = _start([source(0)])
    measured, _ = coupling.prepare(0, state, coupling.batch(0))
    again, _ = coupling.prepare(0, state, coupling.batch(3))
    chex.assert_trees_all_equal(measured.extra, again.extra)
    turn, light = measured.extra[0].directions
    assert turn[0] > 0.95 and light[1] > 0.95
    # Between, they stay, whatever the decomposer has become.
    average = jax.tree.map(lambda x: jnp.roll(x, 3), state.average)
    turned = dataclasses.replace(measured, average=average)
    kept, _ = coupling.prepare(1, turned, coupling.batch(1))
    chex.assert_trees_all_equal(kept.extra, measured.extra)
    renewed, _ = coupling.prepare(2, turned, coupling.batch(2))
    assert renewed.extra[0].directions[0, 3] > 0.95


def test_partners_follow_the_curriculum():
    _, coupling, state = _start([source(0), source(1)])
    for step, factor in ((0, 1), (4, -1), (9, -1)):
        measured, images = coupling.prepare(step, state, coupling.batch(step))
        own, partners = np.split(np.asarray(images), 2)
        np.testing.assert_array_equal(own[:2], stream_latents(0, step, 2, DIM))
        np.testing.assert_array_equal(own[2:], stream_latents(1, step, 2, DIM))
        turn, light = coupling.measured(Reader())[0].directions
        np.testing.assert_allclose(partners[0] @ turn, factor * own[0] @ turn, atol=1e-5)
        np.testing.assert_allclose(partners[1] @ light, factor * own[1] @ light, atol=1e-5)
        state = measured


@pytest.mark.whole_run
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
    whole = _train(tmp_path / "whole", 7)
    # Stopped between two measurements.
    _train(tmp_path / "run", 3)
    resumed = _train(tmp_path / "run", 7)
    for found, expected in zip(jax.tree.leaves(resumed), jax.tree.leaves(whole), strict=True):
        np.testing.assert_array_equal(found, expected)
    first = _train(tmp_path / "short", 3).extra[0].directions
    assert float(jnp.abs(first - whole.extra[0].directions).max()) > 0.01


def test_the_weights_alone_are_read_without_the_directions(tmp_path):
    trained = _train(tmp_path, 2)
    _, template = init_state(Reader(), OPTIMIZER)
    found = restore_latest(tmp_path, template, extra=True)
    np.testing.assert_array_equal(found.params["kernel"][...], trained.params["kernel"][...])
    assert found.extra is None
    with pytest.raises(FacesemError, match="another configuration"):
        restore_latest(tmp_path, template)


@pytest.mark.whole_run
def test_a_third_nods_and_the_pose_of_every_latent_stands_in_the_batch():
    graph, state = init_state(Reader(), OPTIMIZER)
    config = dataclasses.replace(CONFIG, pitch=True)
    turning = dataclasses.replace(LOSS, unfold=1.0)
    coupling = Coupling([source(0)], 12, graph, turning, config)
    started = coupling.start(state)
    state, (images, pose) = coupling.prepare(4, started, coupling.batch(4))
    # Yaw is the first number, pitch the third; each has a spread of its own.
    spread = np.radians(LOSS.unfold_spread)
    np.testing.assert_allclose(pose.yaw, spread * images[:, 0], atol=0.02)
    assert pose.pitch is None
    own, partners = np.split(np.asarray(images), 2)
    assert state.extra[0].directions.shape == (3, DIM)
    for k, number in enumerate((0, 1, 2, 0, 1, 2)):  # Yaw, light, pitch: see Reader.
        change = partners[k] - own[k]
        np.testing.assert_allclose(change[number], -2 * own[k, number], atol=0.5)
        np.testing.assert_allclose(np.delete(change, number), 0, atol=0.5)

    coupling = Coupling([source(0)], 12, graph, UNFOLDED, config)
    state, (images, found) = coupling.prepare(4, coupling.start(state), coupling.batch(4))
    np.testing.assert_array_equal(found.yaw, pose.yaw)
    spread = np.radians(LOSS.unfold_pitch_spread)
    np.testing.assert_allclose(found.pitch, spread * images[:, 2], atol=0.02)
    chex.assert_trees_all_equal_shapes(coupling.start(state).extra, state.extra)


@pytest.mark.whole_run
def test_a_mean_pitch_is_no_nod():
    class Tilted(Reader):
        def view(self, x):
            return super().view(x) + 0.3

    graph, _ = init_state(Tilted(), OPTIMIZER)
    config = dataclasses.replace(CONFIG, pitch=True)
    coupling = Coupling([source(0)], 12, graph, UNFOLDED, config)
    (found,) = coupling.measured(Tilted())
    assert float(found.nod(jnp.zeros((1, DIM)))[0]) == 0
    assert float(found.turn(jnp.zeros((1, DIM)))[0]) > 0.05


def test_what_pictures_show_of_a_nod_counts_as_much_as_the_reading(monkeypatch):
    """The reading follows the third number, the pictures of the first faces the fifth."""
    asked = []

    def shown(decomposer, draw, latents):
        asked.append(latents.shape)
        return draw(jnp.eye(DIM))[4]

    monkeypatch.setattr(coupling_module, "nod_direction", shown)
    graph, _ = init_state(Reader(), OPTIMIZER)
    config = dataclasses.replace(CONFIG, pitch=True, nod_faces=16)
    (found,) = Coupling([source(0)], 12, graph, UNFOLDED, config).measured(Reader())
    assert asked == [(16, DIM)]
    half = np.sqrt(0.5) * (np.eye(DIM)[2] + np.eye(DIM)[4])
    np.testing.assert_allclose(found.directions[2], half, atol=0.15)
    spread = np.radians(LOSS.unfold_pitch_spread)
    np.testing.assert_allclose(found.nod.slope, spread * half, atol=0.02)
    # Turn and light are the reading's.
    assert found.directions[0, 0] > 0.95 and found.directions[1, 1] > 0.95


def test_batches_that_are_no_pairs_are_refused():
    with pytest.raises(FacesemError, match="multiple of 4"):
        _start([source(0), source(1)], 6)
    for wrong in ({"every": 0}, {"faces": 100}):
        with pytest.raises(FacesemError, match="at least 1"):
            CouplingConfig(**wrong)
    graph, _ = init_state(Reader(), OPTIMIZER)
    with pytest.raises(FacesemError, match="ask for these"):
        Coupling([source(0)], 12, graph, UNFOLDED, CONFIG)
    with pytest.raises(FacesemError, match="goes with pitch"):
        CouplingConfig(nod_faces=8)
    with pytest.raises(FacesemError, match="use 0 to 256"):
        CouplingConfig(faces=256, pitch=True, nod_faces=257)
