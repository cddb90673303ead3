"""Trains the bundled generator on the face stream, in three stages.

    python -m experiments.pretrain_generator --stage autoencode
    python -m experiments.pretrain_generator --stage mapping
    python -m experiments.pretrain_generator --stage finetune

Each stage starts from the one before it and resumes from its own last checkpoint.
"""

import dataclasses
import pathlib
from typing import Literal

import jax
import numpy as np
import optax
from flax import nnx

from convert.dcgan import load_dcgan
from experiments.command_line import run_command
from experiments.training_loop import LoopConfig, cosine_tail, run_training
from facesem_jax.generators.config import StyleGAN2Config
from facesem_jax.generators.encoder import Encoder, EncoderConfig
from facesem_jax.generators.stylegan2 import Synthesis
from facesem_jax.training.autoencode import (
    AutoencodeConfig,
    Autoencoder,
    Faces,
    LinearReadout,
    autoencode_loss,
)
from facesem_jax.training.face_stream import stream_faces, stream_latents
from facesem_jax.training.state import init_state, make_step, modules_of
from facesem_jax.viz.pictures import grid, rgb

GENERATOR = StyleGAN2Config(64, (256, 192, 128, 64, 32), z_dim=128, w_dim=128, mapping_layers=4)


@dataclasses.dataclass(frozen=True)
class Options:
    """Trains the bundled generator.

    Attributes:
      stage: Which stage to run or resume.
      directory: Where the stages' checkpoints, sheets and logs go.
      steps: Steps of this stage.
      batch_size: Faces per step.
      learning_rate: Of Adam; falls to a tenth over the last 40 % of the steps (cosine).
      seed: Seeds the weights, the stream and the noise.
      autoencode: Weights of the autoencoding loss.
    """

    stage: Literal["autoencode"]
    directory: pathlib.Path = pathlib.Path("runs/generator")
    steps: int = 4000
    batch_size: int = 32
    learning_rate: float = 1e-3
    seed: int = 0
    autoencode: AutoencodeConfig = dataclasses.field(default_factory=AutoencodeConfig)


def face_batches(seed: int, batch_size: int):
    """Step number to a batch of the stream, and the DCGAN's z_dim."""
    dcgan = load_dcgan()
    draw = jax.jit(stream_faces)

    def batch(step: int) -> Faces:
        z = stream_latents(seed, step, batch_size, dcgan.config.z_dim)
        return Faces(draw(dcgan, z), z)

    return batch, dcgan.config.z_dim


def init_autoencoder(seed: int, z_dim: int) -> Autoencoder:
    """The untrained networks of stage (a)."""
    rngs = nnx.Rngs(seed)
    encoder = Encoder(EncoderConfig(GENERATOR.resolution, w_dim=GENERATOR.w_dim), rngs=rngs)
    return Autoencoder(
        encoder, Synthesis(GENERATOR, rngs=rngs), LinearReadout(GENERATOR.w_dim, z_dim)
    )


def autoencode(options: Options) -> None:
    """Stage (a): encoder and synthesis network."""
    batch, z_dim = face_batches(options.seed, options.batch_size)
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adam(cosine_tail(options.learning_rate, options.steps), b1=0.9, b2=0.99),
    )
    graph, state = init_state(init_autoencoder(options.seed, z_dim), optimizer)
    key = jax.random.key(options.seed + 1)

    def loss(model, faces, step):
        return autoencode_loss(model, faces, jax.random.fold_in(key, step), options.autoencode)

    shown = face_batches(options.seed + 2, 16)[0](0).images
    redraw = jax.jit(lambda model, x: model.synthesis(model.encoder(x)))

    def sheet(state):
        drawn = redraw(modules_of(graph, state, averaged=True), shown)
        return grid(np.stack([rgb(shown), rgb(drawn)]))

    run_training(
        LoopConfig(options.steps, options.directory / "autoencode"),
        state,
        make_step(graph, loss, optimizer),
        batch,
        sheet,
    )


def main(options: Options) -> None:
    """Runs or resumes a stage."""
    {"autoencode": autoencode}[options.stage](options)


if __name__ == "__main__":
    run_command(main, Options)
