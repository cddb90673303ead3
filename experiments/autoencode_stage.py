"""Stage (a) of the generator's training: encoder and synthesis network on the stream."""

import pathlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float
from rich.progress import track

from experiments.face_sources import stream_batches
from experiments.generator_recipe import GENERATOR, Options
from experiments.output_files import make_directory, write_files
from experiments.semantic_targets import anchored_batches, readout_size, semantic_anchor
from experiments.training_loop import cosine_tail, restore_latest, run_training
from facesem_jax import load_encoder, load_generator
from facesem_jax.array_files import npy_bytes, read_array
from facesem_jax.checkpoint import checkpoint_digest
from facesem_jax.conv import PRECISION
from facesem_jax.errors import FacesemError
from facesem_jax.generators.encoder import Encoder, EncoderConfig
from facesem_jax.generators.stylegan2 import Synthesis
from facesem_jax.loading import resolve
from facesem_jax.training.autoencode import Autoencoder, LinearReadout, autoencode_loss
from facesem_jax.training.state import init_state, make_step, modules_of
from facesem_jax.training.whitening import whiten_latents, whitening
from facesem_jax.viz.pictures import grid, rgb


def init_autoencoder(seed: int, targets: int, start: str = "") -> Autoencoder:
    """The networks of stage (a) before its first step."""
    rngs = nnx.Rngs(seed)
    encoder = Encoder(EncoderConfig(GENERATOR.resolution, w_dim=GENERATOR.w_dim), rngs=rngs)
    synthesis = Synthesis(GENERATOR, rngs=rngs)
    if start:
        encoder, synthesis = load_encoder(start), load_generator(start).synthesis
    return Autoencoder(encoder, synthesis, LinearReadout(GENERATOR.w_dim, targets))


def autoencode_optimizer(learning_rate: float, steps: int) -> optax.GradientTransformation:
    """Adam with clipped gradients."""
    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adam(cosine_tail(learning_rate, steps), b1=0.9, b2=0.99),
    )


def redrawn_sheet(graph, shown: Float[Array, "n h w 3"]) -> Callable:
    """State to a sheet of faces above what the averaged networks redraw."""
    redraw = jax.jit(lambda model, x: model.synthesis(model.encoder(x)))

    def sheet(state):
        drawn = redraw(modules_of(graph, state, averaged=True), shown)
        return grid(np.stack([rgb(shown), rgb(drawn)]))

    return sheet


def autoencode(options: Options) -> None:
    """Stage (a): encoder and synthesis network."""
    batch, targets = stream_batches(options.seed, options.batch_size)
    if options.anchor:
        anchor = semantic_anchor(options.directory, options.anchor, options.seed + 11)
        anchor = anchor.weighted(angles=options.angles, mouth=options.mouth)
        batch, targets = anchored_batches(batch, anchor)
    optimizer = autoencode_optimizer(options.learning_rate, options.steps)
    networks = init_autoencoder(options.seed, targets, options.start)
    graph, state = init_state(networks, optimizer)
    key = jax.random.key(options.seed + 1)

    def loss(model, faces, step):
        return autoencode_loss(model, faces, jax.random.fold_in(key, step), options.autoencode)

    shown = stream_batches(options.seed + 2, 16)[0](0).images
    run_training(
        options.loop("autoencode"),
        state,
        make_step(graph, loss, optimizer),
        batch,
        redrawn_sheet(graph, shown),
    )


def previous_state(directory: pathlib.Path, stage: str, template, *, extra: bool = False):
    """The last state of an earlier stage; ``extra`` as for `restore_latest`."""
    state = restore_latest(directory / stage, template, extra=extra)
    if state is None:
        raise FacesemError(
            f"{directory / stage} holds no checkpoint; run --stage {stage} first (same directory)."
        )
    return state


def _trained(options: Options) -> tuple[Autoencoder, int]:
    """The averaged networks of stage (a), and its steps so far."""
    networks = init_autoencoder(
        0, readout_size(options.directory, stream_batches(options.seed, 1)[1])
    )
    graph, template = init_state(networks, autoencode_optimizer(1e-3, 1))
    state = previous_state(options.directory, "autoencode", template)
    return modules_of(graph, state, averaged=True), int(state.step)


def cached(path: pathlib.Path, compute: Callable[[], np.ndarray]) -> jax.Array:
    """An array from a file, computed and written first where there is none."""
    if not path.is_file():
        make_directory(path.parent)
        write_files({path: npy_bytes(compute())})
    return jnp.asarray(read_array(path))


class WhiteSpace(NamedTuple):
    """Encoder and synthesis network in whitened coordinates of W.

    Attributes:
      encoder: Images to white w.
      synthesis: White w to images.
      encodings: Of stream faces, of zero mean and unit covariance.
      name: Of these coordinates, for files of what was computed in them.
    """

    encoder: Encoder
    synthesis: Synthesis
    encodings: Float[Array, "n d"]
    name: str


def _networks(options: Options) -> tuple[Encoder, Synthesis, str]:
    """Encoder, synthesis network, and a name for them: stage (a)'s, or the given ones."""
    # By weights or step: a directory written anew, or a run that went on, has other encodings.
    if options.start:
        digest = checkpoint_digest(resolve(options.start, "encoder"))
        return load_encoder(options.start), load_generator(options.start).synthesis, digest[:12]
    trained, step = _trained(options)
    return trained.encoder, trained.synthesis, str(step)


def white_space(options: Options) -> WhiteSpace:
    """Encoder and synthesis network with W rewritten to zero mean and unit covariance."""
    encoder, synthesis, name = _networks(options)
    batch, _ = stream_batches(options.seed + 3, 64)
    encode = jax.jit(lambda encoder, x: encoder(x))

    def compute():
        count = -(-options.encodings // 64)
        parts = track(range(count), "encoding the stream")
        found = [np.asarray(encode(encoder, batch(i).images)) for i in parts]
        return np.concatenate(found)[: options.encodings]

    name = f"{name}_{options.encodings}"
    encodings = cached(options.directory / "autoencode" / f"encodings_{name}.npy", compute)
    white_encoder, white_synthesis = whiten_latents(encoder, synthesis, encodings)
    mean, matrix, _ = whitening(encodings)
    white = jnp.dot(encodings - mean, matrix, precision=PRECISION)
    return WhiteSpace(white_encoder, white_synthesis, white, name)
