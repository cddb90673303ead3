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
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from rich.progress import track

from experiments.face_sources import stream_batches
from experiments.semantic_targets import readout_size, semantic_anchor
from experiments.training_loop import LoopConfig, cosine_tail, restore_latest, run_training
from facesem_jax import load_encoder, load_generator
from facesem_jax.command_line import run_command
from facesem_jax.conv import PRECISION
from facesem_jax.errors import FacesemError
from facesem_jax.generators.config import StyleGAN2Config
from facesem_jax.generators.encoder import Encoder, EncoderConfig
from facesem_jax.generators.mapping import Mapping
from facesem_jax.generators.stylegan2 import Synthesis
from facesem_jax.training.adversarial import GameBatch, GameState, make_game_step
from facesem_jax.training.autoencode import (
    AutoencodeConfig,
    Autoencoder,
    Faces,
    LinearReadout,
    autoencode_loss,
)
from facesem_jax.training.discriminator import Discriminator, DiscriminatorConfig
from facesem_jax.training.finetune import (
    FinetuneConfig,
    GeneratorPlayer,
    discriminator_loss,
    player_loss,
)
from facesem_jax.training.mapping_fit import (
    LatentBatch,
    LatentCritic,
    MappingFitConfig,
    latent_critic_loss,
    mapping_loss,
)
from facesem_jax.training.state import init_state, make_step, modules_of
from facesem_jax.training.whitening import whiten_latents, whitening
from facesem_jax.viz.pictures import grid, rgb

GENERATOR = StyleGAN2Config(
    64,
    (256, 192, 128, 64, 32),
    z_dim=128,
    w_dim=128,
    mapping_layers=4,
    # The mapping is fitted on latents alone, in minutes: the usual 0.01 is for training it through
    # images, where it must move slowly.
    mapping_lr_multiplier=1.0,
)
# Steps, batch size and learning rate of each stage.
RECIPE = {
    "autoencode": (3600, 32, 1e-3),
    "mapping": (2000, 1024, 2e-3),
    "finetune": (1500, 16, 3e-4),
}


@dataclasses.dataclass(frozen=True)
class Options:
    """Trains the bundled generator.

    Attributes:
      stage: Which stage to run or resume.
      directory: Where the stages' checkpoints, sheets and logs go.
      steps: Steps of this stage; 0 takes the recipe's (3600, 2000, 1500).
      batch_size: Faces (or latents) per step; 0 takes the recipe's (32, 1024, 16).
      learning_rate: Of Adam; falls to a tenth over the last 40 % of the steps (cosine). 0 takes
        the recipe's (1e-3, 2e-3, 3e-4).
      seed: Seeds the weights, the stream and the noise.
      encodings: Stream faces that are encoded for the mapping stage.
      start: Generator and encoder (a bundled name or a directory) whose weights stage (a) begins
        with; empty to begin anew.
      anchor: A decomposer (a bundled name, a directory, or a run of
        `experiments.pretrain_decomposer`) whose semantics w is to hold linearly; empty for the
        source's latents in their place.
      autoencode: Weights of stage (a).
      mapping: Weights of stage (b).
      finetune: Weights of stage (c).
    """

    stage: Literal["autoencode", "mapping", "finetune"]
    directory: pathlib.Path = pathlib.Path("runs/generator")
    steps: int = 0
    batch_size: int = 0
    learning_rate: float = 0.0
    seed: int = 0
    encodings: int = 16384
    start: str = ""
    anchor: str = "digiface64"
    autoencode: AutoencodeConfig = dataclasses.field(default_factory=AutoencodeConfig)
    mapping: MappingFitConfig = dataclasses.field(default_factory=MappingFitConfig)
    finetune: FinetuneConfig = dataclasses.field(default_factory=FinetuneConfig)

    def recipe(self) -> "Options":
        """The options with the stage's own numbers where 0 was given."""
        steps, batch_size, learning_rate = RECIPE[self.stage]
        return dataclasses.replace(
            self,
            steps=self.steps or steps,
            batch_size=self.batch_size or batch_size,
            learning_rate=self.learning_rate or learning_rate,
        )


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


def autoencode(options: Options) -> None:
    """Stage (a): encoder and synthesis network."""
    faces, targets = stream_batches(options.seed, options.batch_size)
    batch = faces
    if options.anchor:
        anchor = semantic_anchor(options.directory, options.anchor, options.seed + 11)
        see, targets = jax.jit(lambda anchor, x: anchor(x)), anchor.projection.matrix.shape[1]

        def batch(step):
            images = faces(step).images
            return Faces(images, see(anchor, images))

    optimizer = autoencode_optimizer(options.learning_rate, options.steps)
    networks = init_autoencoder(options.seed, targets, options.start)
    graph, state = init_state(networks, optimizer)
    key = jax.random.key(options.seed + 1)

    def loss(model, faces, step):
        return autoencode_loss(model, faces, jax.random.fold_in(key, step), options.autoencode)

    shown = stream_batches(options.seed + 2, 16)[0](0).images
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


def _previous(directory: pathlib.Path, stage: str, template):
    """The last state of an earlier stage."""
    state = restore_latest(directory / stage, template)
    if state is None:
        raise FacesemError(
            f"{directory / stage} holds no checkpoint; run --stage {stage} first (same directory)."
        )
    return state


def trained_autoencoder(directory: pathlib.Path, z_dim: int) -> Autoencoder:
    """The averaged networks of stage (a)."""
    networks = init_autoencoder(0, readout_size(directory, z_dim))
    graph, template = init_state(networks, autoencode_optimizer(1e-3, 1))
    return modules_of(graph, _previous(directory, "autoencode", template), averaged=True)


def encode_stream(options: Options, encoder: Encoder) -> jax.Array:
    """Encodings of stream faces, from the stage's directory where they lie already."""
    path = options.directory / "mapping" / f"encodings_{options.encodings}.npy"
    if path.is_file():
        return jnp.asarray(np.load(path))
    batch, _ = stream_batches(options.seed + 3, 64)
    encode = jax.jit(lambda encoder, x: encoder(x))
    count = -(-options.encodings // 64)
    parts = [np.asarray(encode(encoder, batch(i).images)) for i in track(range(count), "encoding")]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}")
    with open(partial, "wb") as file:
        np.save(file, np.concatenate(parts)[: options.encodings])
    partial.replace(path)
    return encode_stream(options, encoder)


def init_mapping(seed: int) -> Mapping:
    """The untrained mapping network."""
    c = GENERATOR
    return Mapping(
        c.z_dim,
        c.w_dim,
        c.mapping_layers,
        c.num_layers,
        lr_multiplier=c.mapping_lr_multiplier,
        rngs=nnx.Rngs(seed),
    )


def mapping_game(options: Options):
    """Graphs, optimisers and the initial state of stage (b)."""
    optimizers = tuple(
        optax.adam(cosine_tail(options.learning_rate * factor, options.steps), b1=0.5, b2=0.99)
        for factor in (1.0, 0.5)
    )
    critic = LatentCritic(GENERATOR.w_dim, options.mapping.width, rngs=nnx.Rngs(options.seed + 4))
    graph_m, state_m = init_state(init_mapping(options.seed + 5), optimizers[0])
    graph_c, state_c = init_state(critic, optimizers[1])
    return (graph_m, graph_c), optimizers, GameState(state_m, state_c)


def fit_mapping(options: Options) -> None:
    """Stage (b): the mapping network, on encodings alone."""
    z_dim = stream_batches(options.seed, 1)[1]
    autoencoder = trained_autoencoder(options.directory, z_dim)
    encodings = encode_stream(options, autoencoder.encoder)
    _, synthesis = whiten_latents(autoencoder.encoder, autoencoder.synthesis, encodings)
    mean, matrix, _ = whitening(encodings)
    white = jnp.dot(encodings - mean, matrix, precision=PRECISION)
    graphs, optimizers, state = mapping_game(options)
    key = jax.random.key(options.seed + 6)

    @jax.jit
    def draw(white, step):
        key_z, key_w = jax.random.split(jax.random.fold_in(key, step))
        rows = jax.random.randint(key_w, (options.batch_size,), 0, white.shape[0])
        z = jax.random.normal(key_z, (options.batch_size, GENERATOR.z_dim))
        return LatentBatch(z, white[rows])

    def batch(step):
        return GameBatch(draw(white, step), step % options.mapping.r1_interval == 0)

    def generator_side(mapping, batch, step):
        batch, critic = batch
        random = jax.random.fold_in(key, -step - 1)
        return mapping_loss(mapping, batch.data, critic, random, options.mapping)

    def critic_side(critic, batch, step):
        batch, mapping = batch
        return latent_critic_loss(critic, batch.data, mapping, batch.regularise, options.mapping)

    z = jax.random.normal(jax.random.key(options.seed + 7), (64, GENERATOR.z_dim))

    def sheet(state):
        mapping = modules_of(graphs[0], state.generator, averaged=True)
        images = jax.jit(lambda m, s: s(m(z)))(mapping, synthesis)
        return grid(rgb(images).reshape(8, 8, *images.shape[1:]))

    run_training(
        LoopConfig(options.steps, options.directory / "mapping"),
        state,
        make_game_step(graphs, (generator_side, critic_side), optimizers),
        batch,
        sheet,
    )


def trained_mapping(options: Options) -> Mapping:
    """The averaged mapping of stage (b), with ``w_avg`` the mean of its outputs."""
    graphs, _, template = mapping_game(options)
    state = _previous(options.directory, "mapping", template)
    return centre_mapping(modules_of(graphs[0], state.generator, averaged=True))


def centre_mapping(mapping: Mapping) -> Mapping:
    """Sets ``w_avg`` to the mean of w over 8192 latents (a change at the edge, before saving)."""
    z = jax.random.normal(jax.random.key(0), (8192, mapping.z_dim))
    mapping.w_avg[...] = jnp.mean(mapping(z), axis=0)
    return mapping


def init_player(seed: int) -> GeneratorPlayer:
    """Untrained networks of stage (c), for their structure."""
    rngs = nnx.Rngs(seed)
    encoder = Encoder(EncoderConfig(GENERATOR.resolution, w_dim=GENERATOR.w_dim), rngs=rngs)
    return GeneratorPlayer(init_mapping(seed), encoder, Synthesis(GENERATOR, rngs=rngs))


def player_before_finetuning(options: Options) -> GeneratorPlayer:
    """The networks after stage (b), W whitened."""
    autoencoder = trained_autoencoder(options.directory, stream_batches(options.seed, 1)[1])
    encodings = encode_stream(options, autoencoder.encoder)
    networks = whiten_latents(autoencoder.encoder, autoencoder.synthesis, encodings)
    mapping = trained_mapping(dataclasses.replace(options, stage="mapping").recipe())
    return GeneratorPlayer(mapping, *networks)


def finetune_game(options: Options, player: GeneratorPlayer):
    """Graphs, optimisers and the initial state of stage (c)."""
    optimizers = tuple(
        optax.adam(cosine_tail(options.learning_rate * factor, options.steps), b1=0.0, b2=0.99)
        for factor in (1.0, 3.0)
    )
    discriminator = Discriminator(
        DiscriminatorConfig(GENERATOR.resolution), rngs=nnx.Rngs(options.seed + 8)
    )
    graph_p, state_p = init_state(player, optimizers[0])
    graph_d, state_d = init_state(discriminator, optimizers[1])
    return (graph_p, graph_d), optimizers, GameState(state_p, state_d)


def finetune(options: Options) -> None:
    """Stage (c): all networks against a discriminator, anchored by the reconstruction."""
    faces, _ = stream_batches(options.seed + 9, options.batch_size)
    player = player_before_finetuning(options)
    graphs, optimizers, state = finetune_game(options, player)
    key = jax.random.key(options.seed + 10)

    def batch(step):
        return GameBatch(faces(step), step % options.finetune.interval == 0)

    def generator_side(player, batch, step):
        (batch, critic), random = batch, jax.random.fold_in(key, 2 * step)
        return player_loss(player, batch.data, critic, batch.regularise, random, options.finetune)

    def critic_side(critic, batch, step):
        (batch, player), random = batch, jax.random.fold_in(key, 2 * step + 1)
        return discriminator_loss(
            critic, batch.data, player, batch.regularise, random, options.finetune
        )

    shown = stream_batches(options.seed + 2, 16)[0](0).images
    z = jax.random.normal(jax.random.key(options.seed + 7), (48, GENERATOR.z_dim))

    def sheet(state):
        player = modules_of(graphs[0], state.generator, averaged=True)
        drawn = jax.jit(lambda p: p.synthesis(p.encoder(shown)))(player)
        sampled = jax.jit(lambda p: p.synthesis(p.mapping(z)))(player)
        rows = [rgb(shown), rgb(drawn), *rgb(sampled).reshape(3, 16, *sampled.shape[1:])]
        return grid(np.stack(rows))

    run_training(
        LoopConfig(options.steps, options.directory / "finetune", sheet_steps=250),
        state,
        make_game_step(graphs, (generator_side, critic_side), optimizers),
        batch,
        sheet,
    )


def trained_player(options: Options, *, finetuned: bool = True) -> GeneratorPlayer:
    """Mapping, encoder and synthesis network of a finished run.

    Args:
      options: Names the run's directory; its seed and number of encodings must be the run's.
      finetuned: Whether to take them after stage (c) or after stage (b).

    Raises:
      FacesemError: If a stage was not run.
    """
    if finetuned:
        graphs, _, template = finetune_game(options.recipe(), init_player(0))
        state = _previous(options.directory, "finetune", template)
        player = modules_of(graphs[0], state.generator, averaged=True)
        return GeneratorPlayer(centre_mapping(player.mapping), player.encoder, player.synthesis)
    return player_before_finetuning(options)


def main(options: Options) -> None:
    """Runs or resumes a stage."""
    stages = {"autoencode": autoencode, "mapping": fit_mapping, "finetune": finetune}
    stages[options.stage](options.recipe())


if __name__ == "__main__":
    run_command(main, Options)
