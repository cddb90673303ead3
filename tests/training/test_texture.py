import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from facesem_jax.errors import FacesemError
from facesem_jax.generators.stylegan2 import StyleGAN2Config, Synthesis
from facesem_jax.training.state import init_state
from facesem_jax.training.texture import (
    GROUPS,
    PARTS,
    TextureBatch,
    TextureConfig,
    WantedPatches,
    finest_blocks,
    make_texture_step,
    patch_directions,
    texture_loss,
    wanted_values,
)

pytestmark = pytest.mark.usefixtures("quick_compilation")
_SIZE, _COUNT = 16, 8
_GROUP = _COUNT // GROUPS
_CONFIG = TextureConfig(patches=1.0, coarsest=1.0, reconstruction=0.0, directions=32)


class Louder(nnx.Module):
    """Draws w itself, as pixels, times a gain."""

    def __init__(self, gain):
        self.gain = nnx.Param(jnp.asarray(gain))

    def __call__(self, w):
        return w.reshape(-1, _SIZE, _SIZE, 3) * self.gain[...]


def _noise(key, count):
    """Pictures whose loudness varies from one to the next, as faces' texture does."""
    loudness, pixels = jax.random.split(key)
    scale = jnp.exp(0.5 * jax.random.normal(loudness, (count, 1)))
    return scale * jax.random.normal(pixels, (count, _SIZE * _SIZE * 3))


@pytest.fixture(scope="module")
def wanted():
    theta = patch_directions([jnp.ones(3)], _CONFIG.directions, jax.random.key(0))
    faces = _noise(jax.random.key(1), 4096).reshape(-1, _SIZE, _SIZE, 3)
    return WantedPatches(theta, wanted_values(faces, theta, _GROUP, jax.random.key(2)))


def _batch(wanted, step):
    w = _noise(jax.random.fold_in(jax.random.key(3), step), _COUNT)
    images = jnp.zeros((2, _SIZE, _SIZE, 3))
    return TextureBatch(w, jnp.zeros((2, w.shape[1])), images, wanted)


def test_directions_are_unit_vectors_of_patches_with_channels_of_one_spread():
    spread = jnp.array([0.5, 1.0, 2.0])
    (theta,) = patch_directions([spread], 12, jax.random.key(0))
    chex.assert_shape(theta, (PARTS, 147, 3))
    lengths = jnp.linalg.norm(theta * jnp.repeat(spread, 49)[:, None], axis=1)
    np.testing.assert_allclose(lengths, 1, rtol=1e-5)


@pytest.mark.parametrize("count", [0, 10])
def test_directions_that_cannot_be_parted_are_refused(count):
    with pytest.raises(FacesemError, match=f"directions is {count}; expected a multiple of 4"):
        patch_directions([jnp.ones(3)], count, jax.random.key(0))


def test_wanted_values_are_sorted_and_those_of_each_direction(wanted):
    (values,) = wanted.values
    chex.assert_shape(values, (PARTS, _GROUP * 4, _CONFIG.directions // PARTS))
    assert np.all(np.diff(values, axis=1) > 0)
    np.testing.assert_allclose(jnp.mean(values, axis=1), 0, atol=0.05)
    # Unit noise times exp(0.5 n) has a spread of exp(0.25); means of sorted values have less.
    assert 1 < np.sqrt(np.mean(np.square(values))) < np.exp(0.25)


def test_the_true_gain_is_where_the_loss_has_no_slope_on_average(wanted):
    @jax.jit
    def slope(gain, step):
        def value(gain):
            network = Louder(gain)
            batch, zeros = _batch(wanted, step), [jnp.zeros_like(v) for v in wanted.values]
            # No running mean: as in the first steps.
            key = jax.random.fold_in(jax.random.key(4), step)
            return texture_loss(network, batch, zeros, step % PARTS, key, _CONFIG)[0]

        return jax.grad(value)(gain)

    steps = jnp.arange(600)
    slopes = [np.asarray(jax.lax.map(lambda s, g=g: slope(g, s), steps)) for g in (0.8, 1.0, 1.25)]
    low, true, high = (float(np.mean(s)) for s in slopes)
    error = float(np.std(slopes[1])) / np.sqrt(len(steps))
    assert low < -5 * error and high > 5 * error
    assert abs(true) < 3 * error


@pytest.mark.parametrize("blocks", [1, 2, None])
def test_the_finest_blocks_alone_get_a_gradient(blocks):
    config = StyleGAN2Config(16, (4, 4, 4), z_dim=6, w_dim=6)
    synthesis = Synthesis(config, rngs=nnx.Rngs(0))
    graph, params, buffers = nnx.split(synthesis, nnx.Param, ...)
    w = jax.random.normal(jax.random.key(0), (2, 6))

    def loss(params):
        return jnp.mean(jnp.square(nnx.merge(graph, finest_blocks(params, blocks), buffers)(w)))

    value, gradient = jax.jit(jax.value_and_grad(loss))(params)
    np.testing.assert_allclose(value, jnp.mean(jnp.square(synthesis(w))), rtol=1e-5)
    names = [f"convs.{k}" for k in range(5)] + [f"to_rgbs.{k}" for k in range(3)]
    learned = {
        1: {"convs.3", "convs.4", "to_rgbs.2"},
        2: {"convs.1", "convs.2", "to_rgbs.1", "convs.3", "convs.4", "to_rgbs.2"},
    }.get(blocks, {"const", *names})
    parts = {name: gradient[name.split(".")[0]][int(name.split(".")[1])] for name in names}
    parts["const"] = gradient["const"]
    for name, part in parts.items():
        moved = [bool(np.any(leaf)) for leaf in jax.tree.leaves(part)]
        assert any(moved) == (name in learned), name


def test_a_running_mean_begins_with_what_is_seen_and_then_remembers(wanted):
    network, key = Louder(1.0), jax.random.key(5)
    start = [jnp.full_like(v, 7.0) for v in wanted.values]
    batch = _batch(wanted, 0)
    (first,) = texture_loss(network, batch, start, jnp.asarray(1), key, _CONFIG)[1].running
    np.testing.assert_array_equal(first[jnp.array([0, 2, 3])], 7)
    assert np.abs(first[1]).mean() < 1
    (later,) = texture_loss(network, batch, start, jnp.asarray(PARTS + 1), key, _CONFIG)[1].running
    np.testing.assert_allclose(
        later[1], _CONFIG.memory * 7 + (1 - _CONFIG.memory) * first[1], rtol=1e-5
    )


def test_a_training_finds_the_gain_and_keeps_its_differences(wanted):
    optimizer = optax.adam(optax.cosine_decay_schedule(0.02, 400))
    graph, state = init_state(Louder(0.5), optimizer)
    zeros = [jnp.zeros_like(v) for v in wanted.values]
    state = dataclasses.replace(state, extra=zeros)
    step = jax.jit(make_texture_step(graph, optimizer, jax.random.key(6), _CONFIG))
    for k in range(400):
        state, terms = step(state, _batch(wanted, k))
    assert int(state.step) == 400
    np.testing.assert_allclose(jax.tree.leaves(state.params)[0], 1, atol=0.05)
    assert set(terms) == {"loss", "gradient_norm", "patches", "reconstruction", "psnr"}
    # What is left of the running differences is chance, and all parts of them have been seen.
    (differences,) = state.extra
    assert np.all(np.abs(differences).mean(axis=(1, 2)) > 0)
    assert np.abs(differences).mean() < 0.25
