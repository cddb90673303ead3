"""Trains the bundled generator on the face stream, in five stages.

    python -m experiments.pretrain_generator --stage autoencode
    python -m experiments.pretrain_generator --stage flow
    python -m experiments.pretrain_generator --stage mapping
    python -m experiments.pretrain_generator --stage finetune
    python -m experiments.pretrain_generator --stage texture --start digiface64

Each stage starts from the one before it, the last one from packed networks
(`experiments.bundle_weights`), and resumes from its own last checkpoint.
"""

import jax
import numpy as np
import optax
from flax import nnx
from jax.tree_util import Partial

from experiments.autoencode_stage import autoencode, previous_state, white_space
from experiments.face_sources import stream_batches
from experiments.generator_recipe import GENERATOR, Options
from experiments.mapping_stage import (
    centre_mapping,
    fit_flow,
    fit_mapping,
    trained_mapping,
)
from experiments.texture_stage import fit_texture, textured_player
from experiments.training_loop import cosine_tail, run_training
from facesem_jax.command_line import run_command
from facesem_jax.errors import FacesemError
from facesem_jax.generators.encoder import Encoder, EncoderConfig
from facesem_jax.generators.mapping import Mapping
from facesem_jax.generators.stylegan2 import Synthesis
from facesem_jax.training.adversarial import GameBatch, GameState, make_game_step
from facesem_jax.training.discriminator import Discriminator, DiscriminatorConfig
from facesem_jax.training.finetune import (
    GeneratorPlayer,
    discriminator_loss,
    player_loss,
    player_optimizer,
)
from facesem_jax.training.state import init_state, modules_of
from facesem_jax.viz.pictures import grid, rgb


def init_player(seed: int) -> GeneratorPlayer:
    """Untrained networks of stage (c), for their structure."""
    rngs = nnx.Rngs(seed)
    encoder = Encoder(EncoderConfig(GENERATOR.resolution, w_dim=GENERATOR.w_dim), rngs=rngs)
    return GeneratorPlayer(
        Mapping.of(GENERATOR, rngs=rngs), encoder, Synthesis(GENERATOR, rngs=rngs)
    )


def player_before_finetuning(options: Options) -> GeneratorPlayer:
    """The networks after stage (b), W whitened."""
    space = white_space(options)
    return GeneratorPlayer(trained_mapping(options), space.encoder, space.synthesis)


def finetune_game(options: Options, player: GeneratorPlayer):
    """Graphs, optimisers and the initial state of stage (c)."""
    rates = [cosine_tail(options.learning_rate * factor, options.steps) for factor in (1.0, 2.0)]
    optimizers = (
        player_optimizer(rates[0], options.finetune),
        optax.adam(rates[1], b1=0.0, b2=0.99),
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

    def batch(faces, step, regularise):
        return GameBatch(faces(step), regularise)

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
        options.loop("finetune", sheet_steps=250),
        state,
        make_game_step(graphs, (generator_side, critic_side), optimizers),
        Partial(batch, faces),
        sheet,
        kind=lambda step: step % options.finetune.interval == 0,
    )


def trained_player(options: Options) -> GeneratorPlayer:
    """Mapping, encoder and synthesis network after a stage of a run.

    Args:
      options: Names the stage (not the first two) and the run's directory; seed, number of
        encodings and start must be the run's.

    Raises:
      FacesemError: If a stage was not run, or its networks are no generator yet.
    """
    if options.stage == "finetune":
        graphs, _, template = finetune_game(options.recipe(), init_player(0))
        state = previous_state(options.directory, "finetune", template)
        player = modules_of(graphs[0], state.generator, averaged=True)
        return GeneratorPlayer(centre_mapping(player.mapping), player.encoder, player.synthesis)
    if options.stage == "texture":
        return textured_player(options.recipe())
    if options.stage == "mapping":
        return player_before_finetuning(options)
    raise FacesemError(f"After --stage {options.stage} there is no mapping network yet.")


def main(options: Options) -> None:
    """Runs or resumes a stage."""
    stages = {
        "autoencode": autoencode,
        "flow": fit_flow,
        "mapping": fit_mapping,
        "finetune": finetune,
        "texture": fit_texture,
    }
    stages[options.stage](options.recipe())


if __name__ == "__main__":
    run_command(main, Options)
