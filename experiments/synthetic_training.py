"""The two trainings on synthetic heads: without labels, and with depth as the label."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float

from experiments.decomposition import decompose_faces, faces_sheet
from experiments.pretrain_decomposer import init_training
from experiments.synthetic_sets import HeadSet, shuffled_batches
from experiments.training_loop import LoopConfig, cosine_tail, restore_latest, run_training
from experiments.unfolded_pictures import PictureTurnConfig, PictureTurns
from facesem_jax.decomposer import Decomposer, DecomposerConfig
from facesem_jax.decomposer.networks import EncoderDecoder
from facesem_jax.errors import FacesemError
from facesem_jax.training.decomposer_loss import DecomposerLossConfig, decomposer_loss
from facesem_jax.training.losses import masked_mean
from facesem_jax.training.state import init_state, make_step, modules_of

#: Heads that the turn is fitted on.
_FITTED = 2048


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How a training is run.

    Attributes:
      directory: Where checkpoints, sheets and the log go; a run found there is resumed.
      steps: Steps in all.
      batch_size: Heads per step.
      learning_rate: Of Adam; falls to a tenth over the last 40 % of the steps (cosine).
      seed: Of the weights, the order of the heads and the random renders.
      log_steps: Steps between lines of the log.
      checkpoint_seconds: Seconds between checkpoints.
    """

    directory: pathlib.Path
    steps: int
    batch_size: int = 16
    learning_rate: float = 4e-4
    seed: int = 0
    log_steps: int = 50
    checkpoint_seconds: float = 180.0

    @property
    def loop(self) -> LoopConfig:
        """The loop's configuration."""
        return LoopConfig(
            self.steps,
            self.directory,
            checkpoint_seconds=self.checkpoint_seconds,
            log_steps=self.log_steps,
        )


def train_unsupervised(
    config: TrainingConfig,
    heads: HeadSet,
    loss_config: DecomposerLossConfig,
    sizes: DecomposerConfig | None = None,
) -> Decomposer:
    """Trains a decomposer on the pictures alone, as `experiments.pretrain_decomposer` does.

    Args:
      config: How.
      heads: Only their pictures are used.
      loss_config: Weights and schedule.
      sizes: Of the decomposer; the compact one if ``None``.

    Returns:
      The decomposer with averaged weights.

    Raises:
      FacesemError: If the training diverges, or a checkpoint does not fit.
    """
    graph, state, optimizer = init_training(config.seed, config.learning_rate, config.steps, sizes)
    rows = shuffled_batches(len(heads), config.batch_size, config.seed)
    key = jax.random.key(config.seed + 1)
    shown = heads.images(slice(0, 12))

    def loss(decomposer, batch, step):
        images, pose = batch if loss_config.unfold else (batch, None)
        random = jax.random.fold_in(key, step)
        return decomposer_loss(decomposer, images, step, random, loss_config, pose=pose)

    def sheet(state):
        module = modules_of(graph, state, averaged=True)
        return faces_sheet(decompose_faces(module, shown, loss_config.release(state.step)))

    prepare = None
    if loss_config.unfold:
        fitted = heads.images(slice(0, _FITTED))
        components = min(PictureTurnConfig.components, len(fitted) // 8)
        turn_config = PictureTurnConfig(components=components)
        turns = PictureTurns(fitted, graph, loss_config, turn_config)
        state, prepare = turns.start(state), turns.prepare
    state = run_training(
        config.loop,
        state,
        make_step(graph, loss, optimizer),
        lambda step: heads.images(rows(step)),
        sheet,
        prepare,
    )
    return modules_of(graph, state, averaged=True)


def depth_in_range(
    argument: Float[Array, "*n h w"], config: DecomposerConfig
) -> Float[Array, "*n h w"]:
    """Depth in scene units, tanh of the argument over the decomposer's range of depth."""
    half = (config.max_depth - config.min_depth) / 2
    return config.rotation_center_depth + half * jnp.tanh(argument)


def supervised_depth(
    network: EncoderDecoder, images: Float[Array, "n h w 3"], config: DecomposerConfig
) -> Float[Array, "n h w"]:
    """Depth in the view, tanh of the network's output over the range of depth."""
    return depth_in_range(network(images)[..., 0], config)


def supervised_loss(
    network: EncoderDecoder,
    images: Float[Array, "n h w 3"],
    depth: Float[Array, "n h w"],
    mask: Bool[Array, "n h w"],
    config: DecomposerConfig,
) -> Float[Array, ""]:
    """Mean absolute error of depth over the heads' pixels, in units of half the range."""
    half = (config.max_depth - config.min_depth) / 2
    error = jnp.abs(supervised_depth(network, images, config) - depth) / half
    return masked_mean(error[..., None], mask.astype(images.dtype))


def _init_supervised(config: TrainingConfig):
    sizes = DecomposerConfig.compact()
    network = EncoderDecoder(
        1,
        sizes.depth_nf,
        sizes.depth_zdim,
        image_size=sizes.image_size,
        groups=sizes.norm_groups,
        rngs=nnx.Rngs(config.seed),
    )
    optimizer = optax.chain(
        optax.clip_by_global_norm(5.0),
        optax.adam(cosine_tail(config.learning_rate, config.steps)),
    )
    return *init_state(network, optimizer), optimizer


def train_supervised(config: TrainingConfig, heads: HeadSet) -> EncoderDecoder:
    """Trains the depth network of the same size on true depth in the view, with an L1 loss.

    Args:
      config: How.
      heads: Pictures, depth and mask are used.

    Returns:
      The network with averaged weights.

    Raises:
      FacesemError: As `train_unsupervised`.
    """
    graph, state, optimizer = _init_supervised(config)
    rows = shuffled_batches(len(heads), config.batch_size, config.seed)
    sizes = DecomposerConfig.compact()

    def loss(network, batch, step):
        total = supervised_loss(network, *batch, sizes)
        return total, {"l1": total}

    def batch(step):
        chosen = rows(step)
        return heads.images(chosen), heads.depth(chosen), heads.mask[chosen]

    state = run_training(config.loop, state, make_step(graph, loss, optimizer), batch)
    return modules_of(graph, state, averaged=True)


def latest_supervised(directory: pathlib.Path) -> tuple[EncoderDecoder, int]:
    """The averaged depth network of a run's last checkpoint, and its steps.

    Raises:
      FacesemError: If there is none.
    """
    graph, template, _ = _init_supervised(TrainingConfig(directory, 1))
    state = restore_latest(directory, template)
    if state is None:
        raise FacesemError(f"{directory} holds no checkpoint of a supervised training.")
    return modules_of(graph, state, averaged=True), int(state.step)
