r"""Teaches an encoder what another decomposer reads; the generator stays as it is.

    python -m experiments.anchor_encoder --anchor runs/sides/decomposer --directory runs/encoder

w is to hold a decomposer's semantics linearly (`facesem_jax.training.semantic_anchor`), and where a
decomposer has learned better the encoder still says what the old one read. Here the encoder alone
goes on with stage (a) of `experiments.pretrain_generator`: it rebuilds stream faces through a
synthesis network that is held, so that every latent still draws the picture that it drew. Resumes
from the last checkpoint in the directory. `facesem_jax.load_encoder` reads the result.
"""

import dataclasses
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from rich.progress import track

from experiments.autoencode_stage import (
    autoencode_optimizer,
    cached,
    init_autoencoder,
    redrawn_sheet,
)
from experiments.face_sources import stream_batches
from experiments.option_checks import check_numbers
from experiments.semantic_targets import anchored_batches, semantic_anchor
from experiments.training_loop import LoopConfig, run_training
from facesem_jax.checkpoint import Description, save_module
from facesem_jax.command_line import run_command
from facesem_jax.errors import FacesemError
from facesem_jax.generators.encoder import Encoder
from facesem_jax.semantics.environment import ridge_regression
from facesem_jax.training.autoencode import (
    AutoencodeConfig,
    Autoencoder,
    Faces,
    autoencode_loss,
)
from facesem_jax.training.state import init_state, make_step, modules_of

#: The first step that draws the faces which the readout is fitted on before training.
_FITTED = 20_000_000


@dataclasses.dataclass(frozen=True)
class Options:
    """Teaches an encoder what another decomposer reads.

    Attributes:
      directory: Where checkpoints, sheets and the log go.
      output: Where the encoder goes; must not exist yet. ``encoder`` in the directory unless given.
      start: Generator and encoder (a bundled name or a directory).
      anchor: A decomposer (a bundled name, a directory, or a run of
        `experiments.pretrain_decomposer`) whose semantics w is to hold linearly.
      angles: What each of the three angles counts, where the other targets count 1.
      mouth: What each component of the albedo about the mouth counts.
      steps: Steps of the training.
      batch_size: Faces per step.
      learning_rate: Of Adam; falls to a tenth over the last 40 % of the steps (cosine).
      seed: Seeds the stream and the noise on w.
      autoencode: Weights of the loss.
    """

    directory: pathlib.Path = pathlib.Path("runs/encoder")
    output: pathlib.Path | None = None
    start: str = "digiface64"
    anchor: str = "digiface64"
    angles: float = 8.0
    mouth: float = 2.5
    steps: int = 1000
    batch_size: int = 32
    learning_rate: float = 4e-4
    seed: int = 0
    autoencode: AutoencodeConfig = dataclasses.field(default_factory=AutoencodeConfig)

    def __post_init__(self):
        """Refuses numbers that cannot be."""
        check_numbers(self, {"steps": 1, "batch_size": 1, "angles": 0, "mouth": 0})


def fitted_readout(
    encoder: Encoder, batch: Callable[[int], Faces], options: Options, count: int = 4096
) -> Float[np.ndarray, "k d1"]:
    """The affine map from noisy w to the targets that is best before training, on so many faces.

    Returns:
      A row per target: its direction in W, and its intercept.
    """
    encode = jax.jit(lambda encoder, x: encoder(x))
    # Steps that no training of a sensible length reaches.
    steps = range(_FITTED, _FITTED + -(-count // options.batch_size))
    seen = [batch(step) for step in track(steps, "what w holds")]
    w = jnp.concatenate([encode(encoder, faces.images) for faces in seen])
    targets = jnp.concatenate([faces.targets for faces in seen])
    # Noise on w is a ridge of its variance.
    ridge = options.autoencode.noise**2 / float(jnp.mean(jnp.var(w, axis=0)))
    directions, intercept = ridge_regression(w, targets, ridge)
    return np.concatenate([directions, intercept[:, None]], axis=1)


def main(options: Options) -> None:
    """Trains, or resumes, and writes the encoder."""
    result = options.output or options.directory / "encoder"
    if result.exists():
        raise FacesemError(f"{result} is there already; choose another directory or remove it.")
    anchor = semantic_anchor(options.directory, options.anchor, options.seed + 11)
    anchor = anchor.weighted(angles=options.angles, mouth=options.mouth)
    faces = stream_batches(options.seed + 6, options.batch_size)[0]
    batch, targets = anchored_batches(faces, anchor)
    optimizer, run = autoencode_optimizer(options.learning_rate, options.steps), options.directory
    networks = init_autoencoder(options.seed, targets, options.start)
    readout = cached(
        run / "autoencode" / "readout.npy",
        lambda: fitted_readout(networks.encoder, batch, options),
    )
    networks.readout.kernel[...], networks.readout.bias[...] = readout[:, :-1].T, readout[:, -1]
    graph, state = init_state(networks, optimizer)
    key = jax.random.key(options.seed + 1)

    def loss(model, faces, step):
        held = Autoencoder(model.encoder, jax.lax.stop_gradient(model.synthesis), model.readout)
        return autoencode_loss(held, faces, jax.random.fold_in(key, step), options.autoencode)

    shown = stream_batches(options.seed + 2, 16)[0](0).images
    state = run_training(
        LoopConfig(options.steps, run / "autoencode"),
        state,
        make_step(graph, loss, optimizer),
        batch,
        redrawn_sheet(graph, shown),
    )
    encoder = modules_of(graph, state, averaged=True).encoder
    words = f"an encoder of {options.anchor}'s semantics, from {options.start}"
    config = dataclasses.asdict(encoder.config)
    description = Description("encoder", config, None, f"facesem-jax, {words}")
    save_module(result, encoder, description, dtype="float16")


if __name__ == "__main__":
    run_command(main, Options)
