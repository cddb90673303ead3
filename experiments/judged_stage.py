"""The discriminator's part in the texture's stage: its warm-up, and the game."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.tree_util import Partial

from experiments.face_sources import stream_batches
from experiments.generator_recipe import Options
from experiments.training_loop import run_training
from facesem_jax.errors import FacesemError
from facesem_jax.generators.mapping import Mapping
from facesem_jax.generators.stylegan2 import Synthesis
from facesem_jax.training.adversarial import GameBatch
from facesem_jax.training.discriminator import Discriminator, DiscriminatorConfig
from facesem_jax.training.face_stream import from_uint8, to_uint8
from facesem_jax.training.judged_texture import (
    JudgeConfig,
    JudgedBatch,
    JudgedState,
    judge_loss,
    make_judged_step,
)
from facesem_jax.training.state import TrainState, init_state, make_step


def check_judge(config: JudgeConfig, batch_size: int, resolution: int) -> None:
    """Refuses numbers that no game can be played with.

    Args:
      config: The discriminator's.
      batch_size: Faces that it sees in a step.
      resolution: Of the faces, in pixels.

    Raises:
      FacesemError: On the first that is out of range.
    """
    if not 0 <= config.adversarial < float("inf"):
        raise FacesemError(f"judge.adversarial is {config.adversarial}; expected 0 or more.")
    for name in ("warm_steps", "steps", "recent", "interval", "r1_faces"):
        if getattr(config, name) < 1:
            raise FacesemError(f"judge.{name} is {getattr(config, name)}; expected at least 1.")
    if config.interval % config.steps:
        raise FacesemError(
            f"judge.interval is {config.interval}; expected a multiple of judge.steps, "
            f"{config.steps}: the first of those has the penalty."
        )
    if config.r1_faces > batch_size:
        raise FacesemError(
            f"judge.r1_faces is {config.r1_faces}; expected at most the batch's {batch_size}."
        )
    if config.adversarial and resolution != 4 * 2 ** len(config.channels):
        raise FacesemError(
            f"judge.channels has {len(config.channels)} numbers; {resolution} pixels are halved "
            f"{(resolution // 4).bit_length() - 1} times to 4. Give as many numbers."
        )


def _warmed(
    options: Options, mapping: Mapping, synthesis: Synthesis, resolution: int
) -> tuple[Any, TrainState, optax.GradientTransformation]:
    """The discriminator after its steps against the start's samples: graph, state, optimiser."""
    config = DiscriminatorConfig(resolution, options.judge.channels)
    optimizer = optax.adam(options.judge.learning_rate, b1=0.0, b2=0.99)
    graph, state = init_state(Discriminator(config, rngs=nnx.Rngs(options.seed + 19)), optimizer)
    faces, _ = stream_batches(options.seed + 20, options.batch_size)
    key = jax.random.key(options.seed + 21)

    @jax.jit
    def samples(mapping, synthesis, step):
        z = jax.random.normal(jax.random.fold_in(key, step), (options.batch_size, mapping.z_dim))
        return synthesis(mapping(z))

    def batch(faces, mapping, synthesis, step, regularise):
        drawn = samples(mapping, synthesis, step)
        return GameBatch((faces(step).images, from_uint8(to_uint8(drawn))), regularise)

    def loss(critic, batch, step):
        return judge_loss(critic, *batch.data, batch.regularise, options.judge)

    state = run_training(
        options.loop("judge", steps=options.judge.warm_steps),
        state,
        make_step(graph, loss, optimizer),
        Partial(batch, faces, mapping, synthesis),
        kind=lambda step: step % options.judge.interval == 0,
    )
    return graph, state, optimizer


def play_judged(
    options: Options,
    mapping: Mapping,
    synthesis: Synthesis,
    player: tuple,
    resolution: int,
    batches: Partial,
    sheet: Callable[[TrainState], np.ndarray],
) -> None:
    """Warms the discriminator up, unless an earlier run did, and plays the game.

    Args:
      options: Of the stage.
      mapping: The start's.
      synthesis: The start's.
      player: Graph, first state and optimiser of the synthesis network.
      resolution: Of the faces, in pixels.
      batches: Step number to its `facesem_jax.training.texture.TextureBatch`.
      sheet: Of its state.

    Raises:
      FacesemError: If a run in the directory does not fit the options.
    """
    graph, state, optimizer = player
    config, size = options.judge, options.batch_size
    critic_graph, critic, critic_optimizer = _warmed(options, mapping, synthesis, resolution)
    faces, _ = stream_batches(options.seed + 22, config.steps * size)

    def batch(batches, faces, step, regularise):
        images = faces(step).images
        each = images.reshape(config.steps, size, *images.shape[1:])
        return GameBatch(JudgedBatch(batches(step), each), regularise)

    pictures = (config.recent, size + size // 2, resolution, resolution, 3)
    run_training(
        options.loop("texture", sheet_steps=100),
        JudgedState(state, critic, jnp.zeros(pictures, jnp.uint8)),
        make_judged_step(
            (graph, critic_graph),
            (optimizer, critic_optimizer),
            jax.random.key(options.seed + 18),
            options.texture,
            config,
        ),
        Partial(batch, batches, faces),
        lambda state: sheet(state.generator),
        kind=lambda step: step % (config.interval // config.steps) == 0,
    )
