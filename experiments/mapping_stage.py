"""Stage (b) of the generator's training: the mapping network, on encodings alone.

A rectified flow learns the way from z to the encodings; the mapping network learns its result.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.tree_util import Partial
from rich.progress import track

from experiments.autoencode_stage import WhiteSpace, cached, previous_state, white_space
from experiments.generator_recipe import GENERATOR, Options
from experiments.training_loop import cosine_tail, run_training
from facesem_jax.conv import PRECISION
from facesem_jax.generators.mapping import Mapping
from facesem_jax.training.latent_flow import (
    VelocityNetwork,
    carried,
    distillation_loss,
    flow_loss,
)
from facesem_jax.training.latent_metric import MetricScale, metric_probes, metric_scale
from facesem_jax.training.state import init_state, make_step, modules_of
from facesem_jax.viz.pictures import grid, rgb

_CARRIED_AT_ONCE = 2048
_PROBED, _PROBED_AT_ONCE = 2048, 64


def _optimizer(options: Options) -> optax.GradientTransformation:
    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adam(cosine_tail(options.learning_rate, options.steps, tail=0.8), b2=0.99),
    )


def _init_flow(options: Options):
    velocity = VelocityNetwork(GENERATOR.w_dim, rngs=nnx.Rngs(options.seed + 4))
    return init_state(velocity, _optimizer(options))


def _some(key: jax.Array, step: int, count: int, batch_size: int) -> jax.Array:
    return jax.random.randint(jax.random.fold_in(key, step), (batch_size,), 0, count)


def _train(options: Options, name: str, graph, state, loss, batch, faces) -> None:
    """Runs or resumes one of the two trainings; its sheets show 64 samples.

    Args:
      options: Of the stage.
      name: Of the stage's directory.
      graph: From `init_state`.
      state: From `init_state`.
      loss: For `make_step`.
      batch: Step number to batch.
      faces: The network and z to images.
    """
    z = jax.random.normal(jax.random.key(options.seed + 7), (64, GENERATOR.z_dim))
    draw = jax.jit(faces)

    def sheet(state):
        images = draw(modules_of(graph, state, averaged=True), z)
        return grid(rgb(images).reshape(8, 8, *images.shape[1:]))

    run_training(
        options.loop(name),
        state,
        make_step(graph, loss, _optimizer(options)),
        batch,
        sheet,
    )


def _coordinates(options: Options, space: WhiteSpace) -> MetricScale:
    """Coordinates of W in which flow and mapping network are fitted: the same for both."""

    def compute():
        probe, key = jax.jit(metric_probes), jax.random.key(0)
        found = []
        for i in range(0, min(_PROBED, len(space.encodings)), _PROBED_AT_ONCE):
            w = space.encodings[i : i + _PROBED_AT_ONCE]
            found.append(np.asarray(probe(space.synthesis, w, jax.random.fold_in(key, i))))
        return np.concatenate(found)

    return metric_scale(cached(options.directory / "flow" / f"probes_{space.name}.npy", compute))


def fit_flow(options: Options) -> None:
    """Trains the flow on the encodings."""
    space = white_space(options)
    scale = _coordinates(options, space)
    encodings = jnp.dot(space.encodings, scale.forward, precision=PRECISION)
    graph, state = _init_flow(options)
    rows, noise = (jax.random.key(options.seed + k) for k in (5, 6))

    def loss(velocity, w, step):
        return flow_loss(velocity, w, jax.random.fold_in(noise, step))

    def batch(encodings, step):
        return encodings[_some(rows, step, len(encodings), options.batch_size)]

    def faces(velocity, z):
        y = carried(velocity, z)
        return space.synthesis(jnp.dot(y, scale.inverse, precision=PRECISION))

    _train(options, "flow", graph, state, loss, Partial(batch, encodings), faces)


def _carried_pairs(options: Options) -> tuple[jax.Array, jax.Array]:
    """Latents z and where the trained flow carries them, in the flow's coordinates."""
    graph, template = _init_flow(options)
    state = previous_state(options.directory, "flow", template)
    velocity = modules_of(graph, state, averaged=True)
    z = jax.random.normal(jax.random.key(options.seed + 8), (options.carried, GENERATOR.z_dim))
    carry = jax.jit(carried)

    def compute():
        parts = track(range(0, len(z), _CARRIED_AT_ONCE), "carrying latents")
        return np.concatenate([carry(velocity, z[i : i + _CARRIED_AT_ONCE]) for i in parts])

    path = options.directory / "flow" / f"carried_{int(state.step)}_{options.carried}.npy"
    return z, cached(path, compute)


def fit_mapping(options: Options) -> None:
    """Trains the mapping network to do in one pass what the flow does."""
    space = white_space(options)
    scale = _coordinates(options, space)
    z, y = _carried_pairs(options)
    graph, state = init_state(
        Mapping.of(GENERATOR, rngs=nnx.Rngs(options.seed + 9)), _optimizer(options)
    )
    rows, slices = (jax.random.key(options.seed + k) for k in (10, 11))

    def loss(mapping, pairs, step):
        return distillation_loss(mapping, *pairs, scale, jax.random.fold_in(slices, step))

    def batch(z, y, step):
        chosen = _some(rows, step, len(z), options.batch_size)
        return z[chosen], y[chosen]

    def faces(mapping, z):
        return space.synthesis(mapping(z))

    _train(options, "mapping", graph, state, loss, Partial(batch, z, y), faces)


def centre_mapping(mapping: Mapping) -> Mapping:
    """Sets ``w_avg`` to the mean of w over 8192 latents (a change at the edge, before saving)."""
    z = jax.random.normal(jax.random.key(0), (8192, mapping.z_dim))
    mapping.w_avg[...] = jnp.mean(mapping(z), axis=0)
    return mapping


def trained_mapping(options: Options) -> Mapping:
    """The averaged mapping network, with ``w_avg`` the mean of its outputs."""
    graph, template = init_state(Mapping.of(GENERATOR, rngs=nnx.Rngs(0)), _optimizer(options))
    state = previous_state(options.directory, "mapping", template)
    return centre_mapping(modules_of(graph, state, averaged=True))
