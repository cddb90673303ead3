"""The texture's stage with a small discriminator: what patches do not see holds as well."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from facesem_jax.training.adversarial import GameBatch, critic_loss, generator_loss, r1_penalty
from facesem_jax.training.discriminator import Discriminator
from facesem_jax.training.face_stream import from_uint8, to_uint8
from facesem_jax.training.state import TrainState, advance, make_step, modules_of
from facesem_jax.training.texture import (
    TextureBatch,
    TextureConfig,
    finest_blocks,
    texture_loss,
)


@dataclasses.dataclass(frozen=True)
class JudgeConfig:
    """The discriminator of the texture's stage.

    Attributes:
      adversarial: Weight of its verdict; 0 for no discriminator.
      channels: Its feature maps, from half the resolution down to 4x4.
      learning_rate: Of its Adam, without momentum.
      warm_steps: Its steps against the start's samples before the game. A discriminator that knows
        nothing yet would move finished networks anywhere.
      steps: Its steps for each of the generator's, which undoes in a few steps what one finds.
      recent: Batches whose pictures it is still shown.
      r1: Of its gradient penalty.
      r1_faces: Faces that the penalty is computed for; its second derivatives are slow on CPUs.
      interval: Its steps between two with the penalty, which then counts ``interval`` times.
    """

    adversarial: float = 0.0
    channels: tuple[int, ...] = (32, 64, 128, 256)
    learning_rate: float = 2e-3
    warm_steps: int = 1500
    steps: int = 4
    recent: int = 40
    r1: float = 0.05
    r1_faces: int = 8
    interval: int = 8


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class JudgedState:
    """State of both players.

    Attributes:
      generator: The synthesis network's; ``extra`` holds the running differences.
      critic: The discriminator's.
      recent: Pictures of earlier steps, the oldest overwritten first.
    """

    generator: TrainState
    critic: TrainState
    recent: UInt8[Array, "recent n h w 3"]

    @property
    def step(self) -> Int[Array, ""]:
        """The generator's steps."""
        return self.generator.step


class JudgedBatch(NamedTuple):
    """A batch of the game.

    Attributes:
      texture: The generator's.
      faces: The discriminator's, for each of its steps.
    """

    texture: TextureBatch
    faces: Float[Array, "steps n h w 3"]


def judge_loss(
    critic: Discriminator,
    faces: Float[Array, "n h w 3"],
    fakes: Float[Array, "m h w 3"],
    regularise: bool,
    config: JudgeConfig,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """The discriminator's logistic loss, with R1 at some of the faces in regularised steps.

    Args:
      critic: The discriminator.
      faces: Of the stream.
      fakes: Of the generator, from 8 bits.
      regularise: Whether this step computes R1.
      config: Its weight.

    Returns:
      The loss, and among its terms ``right``, the share of pictures that it told rightly.
    """
    # What is drawn comes from bytes; faces that do not would be known by that.
    faces = from_uint8(to_uint8(faces))
    real, fake = critic(faces), critic(fakes)
    judged = critic_loss(real, fake)
    right = (jnp.mean(real > 0) + jnp.mean(fake < 0)) / 2
    total = judged
    if regularise:
        penalty = r1_penalty(critic, faces[: config.r1_faces])
        total += config.r1 * config.interval * penalty
    return total, {"judged": judged, "right": right}


def shown_to_critic(
    recent: UInt8[Array, "recent n h w 3"],
    step: Int[Array, ""],
    count: int,
    key: PRNGKeyArray,
) -> Float[Array, "count h w 3"]:
    """Pictures of this step and of earlier ones, about as many of each.

    Args:
      recent: The state's, with this step's in its place.
      step: The generator's steps before this one; place ``step % recent`` is the newest.
      count: How many.
      key: Seeds the choice.
    """
    which, slot, picture = jax.random.split(key, 3)
    places, pictures = recent.shape[:2]
    filled = jnp.minimum(step + 1, places)
    earlier = jax.random.randint(slot, (count,), 0, filled)
    newest = jax.random.bernoulli(which, 0.5, (count,))
    slots = jnp.where(newest, step % places, earlier)
    return from_uint8(recent[slots, jax.random.randint(picture, (count,), 0, pictures)])


def make_judged_step(
    graphs: tuple[Any, Any],
    optimizers: tuple[optax.GradientTransformation, optax.GradientTransformation],
    key: PRNGKeyArray,
    texture: TextureConfig,
    config: JudgeConfig,
    decay: float = 0.998,
    ramp: float = 3.0,
) -> Callable[[JudgedState, GameBatch], tuple[JudgedState, dict]]:
    """Builds the step: the synthesis network's, then the discriminator's.

    The synthesis network's loss is `facesem_jax.training.texture.texture_loss` and the
    non-saturating verdict on samples and reconstructions. The discriminator then sees what was
    drawn in this step and in earlier ones: a network that is shown the newest alone forgets what
    it once told apart.

    Args:
      graphs: Of synthesis network and discriminator, from `facesem_jax.training.state.init_state`.
      optimizers: One for each.
      key: Seeds places, noise and choices, with the step's number.
      texture: Weights of the texture's stage.
      config: The discriminator's.
      decay: Of the moving averages of the weights. A game goes round what it would settle at,
        so the average is of many of its steps.
      ramp: As for `facesem_jax.training.state.advance`.

    Returns:
      A pure function ``(state, batch) -> (state, terms)``; the batch's data is a `JudgedBatch`,
      and in regularised steps the first of the discriminator's steps has the penalty.

    Source:
      Shrivastava et al. (2017, arXiv 1612.07828), section 2.3, for the pictures of earlier steps.
    """

    def critic_side(critic, batch, step):
        return judge_loss(critic, *batch, config)

    critic_step = make_step(graphs[1], critic_side, optimizers[1], decay)

    def step(state: JudgedState, batch: GameBatch) -> tuple[JudgedState, dict]:
        number, before = state.step, state.generator
        random = jax.random.fold_in(key, number)
        critic = modules_of(graphs[1], state.critic)

        def objective(params):
            learned = finest_blocks(params, texture.blocks)
            synthesis = nnx.merge(graphs[0], learned, before.buffers)
            total, found = texture_loss(
                synthesis, batch.data.texture, before.extra, number, random, texture
            )
            verdict = generator_loss(critic(found.drawn))
            return total + config.adversarial * verdict, (found, verdict)

        (total, (found, verdict)), gradient = jax.value_and_grad(objective, has_aux=True)(
            before.params
        )
        terms = found.terms | {
            "verdict": verdict,
            "loss": total,
            "gradient_norm": optax.tree.norm(gradient),
        }
        generator = advance(before, gradient, optimizers[0], decay, ramp)
        generator = dataclasses.replace(generator, extra=found.running)
        drawn = to_uint8(jax.lax.stop_gradient(found.drawn))
        recent = state.recent.at[number % state.recent.shape[0]].set(drawn)

        judge = state.critic
        # Not a loop of XLA: convolutions inside one are slow on CPUs.
        for k, faces in enumerate(batch.data.faces):
            choice = jax.random.fold_in(jax.random.fold_in(random, 1), k)
            fakes = shown_to_critic(recent, number, len(faces), choice)
            seen = faces, fakes, batch.regularise and k == 0
            judge, critic_terms = critic_step(judge, seen)
        terms |= {f"critic_{name}": value for name, value in critic_terms.items()}
        return JudgedState(generator, judge, recent), terms

    return step
