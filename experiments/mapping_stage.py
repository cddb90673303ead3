"""Stage (b) of the generator's training: the mapping network, on encodings alone.

A rectified flow learns the way from z to the encodings; the mapping network learns its result.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from rich.progress import track

from experiments.autoencode_stage import cached, previous_state, white_space
from experiments.generator_recipe import GENERATOR, Options
from experiments.training_loop import LoopConfig, cosine_tail, run_training
from facesem_jax.generators.mapping import Mapping
from facesem_jax.training.latent_flow import (
    VelocityNetwork,
    carried,
    distillation_loss,
    flow_loss,
)
from facesem_jax.training.state import init_state, make_step, modules_of
from facesem_jax.viz.pictures import grid, rgb

_CARRIED_AT_ONCE = 2048


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
        LoopConfig(options.steps, options.directory / name),
        state,
        make_step(graph, loss, _optimizer(options)),
        batch,
        sheet,
    )


def fit_flow(options: Options) -> None:
    """Trains the flow on the encodings."""
    space = white_space(options)
    graph, state = _init_flow(options)
    rows, noise = (jax.random.key(options.seed + k) for k in (5, 6))

    def loss(velocity, w, step):
        return flow_loss(velocity, w, jax.random.fold_in(noise, step))

    def batch(step):
        return space.encodings[_some(rows, step, len(space.encodings), options.batch_size)]

    def faces(velocity, z):
        return space.synthesis(carried(velocity, z))

    _train(options, "flow", graph, state, loss, batch, faces)


def _carried_pairs(options: Options) -> tuple[jax.Array, jax.Array]:
    """Latents z and where the trained flow carries them."""
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
    z, w = _carried_pairs(options)
    graph, state = init_state(
        Mapping.of(GENERATOR, rngs=nnx.Rngs(options.seed + 9)), _optimizer(options)
    )
    rows = jax.random.key(options.seed + 10)

    def loss(mapping, pairs, step):
        del step
        return distillation_loss(mapping, *pairs)

    def batch(step):
        chosen = _some(rows, step, len(z), options.batch_size)
        return z[chosen], w[chosen]

    def faces(mapping, z):
        return space.synthesis(mapping(z))

    _train(options, "mapping", graph, state, loss, batch, faces)


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
