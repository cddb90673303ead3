"""Trains the decomposer without labels, on the face stream or on a generator's own faces.

    python -m experiments.pretrain_decomposer --directory runs/decomposer

Resumes from the last checkpoint in the directory.
"""

import dataclasses
import pathlib

import jax
import numpy as np
import optax
from flax import nnx

from convert.dcgan import load_dcgan
from experiments.command_line import run_command
from experiments.training_loop import LoopConfig, cosine_tail, run_training
from facesem_jax.decomposer import Decomposer, DecomposerConfig
from facesem_jax.decomposer.shading import normals_from_depth
from facesem_jax.training.decomposer_loss import DecomposerLossConfig, decomposer_loss
from facesem_jax.training.face_stream import stream_faces, stream_latents
from facesem_jax.training.state import init_state, make_step, modules_of
from facesem_jax.viz.pictures import depth_picture, grid, relief_picture, rgb


@dataclasses.dataclass(frozen=True)
class Options:
    """Trains the decomposer without labels.

    Attributes:
      directory: Where checkpoints, sheets and the log go.
      steps: Steps in all.
      batch_size: Faces per step.
      learning_rate: Of Adam; falls to a tenth over the last 40 % of the steps (cosine).
      seed: Seeds the weights, the stream and the random renders.
      faces: "stream", or a generator (bundled name or directory) whose faces to learn from.
      loss: Weights and schedule of the loss.
    """

    directory: pathlib.Path = pathlib.Path("runs/decomposer")
    steps: int = 12000
    batch_size: int = 16
    learning_rate: float = 4e-4
    seed: int = 0
    faces: str = "stream"
    loss: DecomposerLossConfig = dataclasses.field(default_factory=DecomposerLossConfig)


def decomposition_sheet(decomposer: Decomposer, images, release=1.0) -> np.ndarray:
    """Rows: input, reconstruction, albedo, depth (near white), relief, canonical image."""
    parts = decomposer(images, release)
    rendered, _ = decomposer.render(parts)
    rows = [
        rgb(images),
        rgb(rendered),
        rgb(parts.albedo),
        depth_picture(parts.depth),
        relief_picture(normals_from_depth(parts.depth, decomposer.camera)),
        rgb(decomposer.canonical_image(parts)),
    ]
    return grid(np.stack(rows))


def main(options: Options) -> None:
    """Runs or resumes the training."""
    dcgan = load_dcgan()
    decomposer = Decomposer(DecomposerConfig.compact(), rngs=nnx.Rngs(options.seed))
    optimizer = optax.chain(
        optax.clip_by_global_norm(5.0),
        optax.adam(cosine_tail(options.learning_rate, options.steps)),
    )
    graph, state = init_state(decomposer, optimizer)
    key = jax.random.key(options.seed + 1)

    draw = jax.jit(stream_faces)
    z_dim = dcgan.config.z_dim

    def loss(decomposer, images, step):
        random = jax.random.fold_in(key, step)
        return decomposer_loss(decomposer, images, step, random, options.loss)

    def batch(step):
        return draw(dcgan, stream_latents(options.seed, step, options.batch_size, z_dim))

    shown = draw(dcgan, stream_latents(options.seed + 2, 0, 16, z_dim))

    def sheet(state):
        module = modules_of(graph, state, averaged=True)
        return decomposition_sheet(module, shown, options.loss.release(state.step))

    run_training(
        LoopConfig(options.steps, options.directory),
        state,
        make_step(graph, loss, optimizer),
        batch,
        sheet,
    )


if __name__ == "__main__":
    run_command(main, Options)
