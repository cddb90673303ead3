r"""Trains the decomposer without labels, on the face stream and on a generator's own faces.

    python -m experiments.pretrain_decomposer --directory runs/decomposer
    python -m experiments.pretrain_decomposer --directory runs/decomposer_tuned --steps 800 \
        --start runs/decomposer --generator runs/pair --learning-rate 1e-4

Resumes from the last checkpoint in the directory.
"""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from experiments.command_line import run_command
from experiments.decomposition import decompose_faces, faces_sheet
from experiments.face_sources import stream_batches
from experiments.training_loop import LoopConfig, cosine_tail, restore_latest, run_training
from facesem_jax import load_decomposer, load_generator
from facesem_jax.decomposer import Decomposer, DecomposerConfig
from facesem_jax.errors import FacesemError
from facesem_jax.training.decomposer_loss import DecomposerLossConfig, decomposer_loss
from facesem_jax.training.face_stream import stream_latents
from facesem_jax.training.state import init_state, make_step, modules_of


@dataclasses.dataclass(frozen=True)
class Options:
    """Trains the decomposer without labels.

    Attributes:
      directory: Where checkpoints, sheets and the log go.
      steps: Steps in all.
      batch_size: Faces per step.
      learning_rate: Of Adam; falls to a tenth over the last 40 % of the steps (cosine).
      seed: Seeds the weights, the stream and the random renders.
      generator: A generator (bundled name or directory) that draws half of every batch, in the
        framing of the stream; empty for the stream alone.
      start: Directory of an earlier run whose averaged weights to start from, or a decomposer
        (bundled name or directory), its depth released from the first step; empty to start anew.
      loss: Weights and schedule of the loss.
    """

    directory: pathlib.Path = pathlib.Path("runs/decomposer")
    steps: int = 12000
    batch_size: int = 16
    learning_rate: float = 4e-4
    seed: int = 0
    generator: str = ""
    start: str = ""
    loss: DecomposerLossConfig = dataclasses.field(default_factory=DecomposerLossConfig)


def init_training(seed: int, learning_rate: float, steps: int):
    """Graph definition, initial state and optimiser of a training."""
    decomposer = Decomposer(DecomposerConfig.compact(), rngs=nnx.Rngs(seed))
    optimizer = optax.chain(
        optax.clip_by_global_norm(5.0), optax.adam(cosine_tail(learning_rate, steps))
    )
    return *init_state(decomposer, optimizer), optimizer


def trained_decomposer(directory: pathlib.Path) -> tuple[Decomposer, int]:
    """The averaged decomposer of a run's last checkpoint, and its number of steps.

    Raises:
      FacesemError: If there is no checkpoint, or one of another configuration.
    """
    graph, template, _ = init_training(0, 1e-4, 1)
    state = restore_latest(directory, template)
    if state is None:
        raise FacesemError(f"{directory} holds no checkpoint of a decomposer's training.")
    return modules_of(graph, state, averaged=True), int(state.step)


def face_batches(options: Options):
    """Step number to images in [-1, 1], as the options say."""
    if not options.generator:
        stream, _ = stream_batches(options.seed, options.batch_size)
        return lambda step: stream(step).images
    half = options.batch_size // 2
    stream, _ = stream_batches(options.seed, half)
    generator = load_generator(options.generator)
    sample = jax.jit(lambda generator, z: jnp.clip(generator(z), -1, 1))

    def batch(step):
        own = stream_latents(options.seed + 3, step, half, generator.config.z_dim)
        return jnp.concatenate([stream(step).images, sample(generator, own)])

    return batch


def main(options: Options) -> None:
    """Runs or resumes the training."""
    graph, state, optimizer = init_training(options.seed, options.learning_rate, options.steps)
    loss_config = options.loss
    if options.start:
        run = pathlib.Path(options.start)
        is_run = (run / "checkpoints").is_dir()
        trained = trained_decomposer(run)[0] if is_run else load_decomposer(options.start)
        graph, state = init_state(trained, optimizer)
        loss_config = dataclasses.replace(loss_config, hold_steps=0, ramp_steps=1)
    key = jax.random.key(options.seed + 1)

    def loss(decomposer, images, step):
        random = jax.random.fold_in(key, step)
        return decomposer_loss(decomposer, images, step, random, loss_config)

    batch = face_batches(options)
    shown = face_batches(dataclasses.replace(options, seed=options.seed + 2, batch_size=16))(0)

    def sheet(state):
        module = modules_of(graph, state, averaged=True)
        return faces_sheet(decompose_faces(module, shown, loss_config.release(state.step)))

    run_training(
        LoopConfig(options.steps, options.directory),
        state,
        make_step(graph, loss, optimizer),
        batch,
        sheet,
    )


if __name__ == "__main__":
    run_command(main, Options)
