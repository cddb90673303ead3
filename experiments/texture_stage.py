"""Last stage of the generator's training: the samples' texture, against the stream's patches."""

import dataclasses
import itertools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial
from jaxtyping import Float, PRNGKeyArray
from rich.progress import track

from experiments.autoencode_stage import previous_state
from experiments.face_sources import stream_batches
from experiments.generator_recipe import Options
from experiments.judged_stage import check_judge, play_judged
from experiments.training_loop import cosine_tail, run_training
from facesem_jax import load_encoder, load_generator
from facesem_jax.errors import FacesemError
from facesem_jax.generators.encoder import Encoder
from facesem_jax.generators.mapping import Mapping
from facesem_jax.generators.stylegan2 import Synthesis
from facesem_jax.laplacian_pyramid import laplacian_pyramid
from facesem_jax.training.finetune import GeneratorPlayer
from facesem_jax.training.state import init_state, modules_of
from facesem_jax.training.texture import (
    GROUPS,
    TextureBatch,
    TextureConfig,
    WantedPatches,
    make_texture_step,
    patch_directions,
    wanted_values,
)
from facesem_jax.viz.pictures import grid, rgb

_AT_ONCE = 16
"""Groups of faces that are measured at a time."""


def wanted_patches(
    faces: Iterator[Float[jax.Array, "n h w 3"]],
    group: int,
    config: TextureConfig,
    key: PRNGKeyArray,
) -> WantedPatches:
    """What samples are held to, from batches of faces.

    Args:
      faces: Batches, each of a multiple of ``group`` faces; the first says how far the channels
        of the bands spread.
      group: Samples in a group of the training.
      config: Number of directions.
      key: Seeds directions and places.
    """
    lines, places = jax.random.split(key)
    first = next(faces)
    spreads = [jnp.std(band, axis=(0, 1, 2)) for band in jax.jit(laplacian_pyramid)(first)]
    theta = patch_directions(spreads, config.directions, lines)
    measure = jax.jit(wanted_values, static_argnames="group")
    totals, count = [0.0] * len(theta), 0
    for count, images in enumerate(itertools.chain([first], faces), 1):
        values = measure(images, theta, group=group, key=jax.random.fold_in(places, count - 1))
        totals = [total + value for total, value in zip(totals, values, strict=True)]
    return WantedPatches(theta, [total / count for total in totals])


def _wanted(options: Options) -> WantedPatches:
    """The stream's patches; measured anew when a run is resumed, from the same faces."""
    group = options.batch_size // GROUPS
    at_once = group * _AT_ONCE
    batch, _ = stream_batches(options.seed + 14, at_once)
    parts = track(range(-(-options.texture.faces // at_once)), "measuring patches of the stream")
    faces = (batch(i).images for i in parts)
    return wanted_patches(faces, group, options.texture, jax.random.key(options.seed + 15))


def _start(options: Options) -> tuple[Mapping, Encoder, Synthesis]:
    if not options.start:
        raise FacesemError(
            "--stage texture goes on from finished networks; give --start, a bundled name or a "
            "directory of experiments.bundle_weights."
        )
    generator = load_generator(options.start)
    return generator.mapping, load_encoder(options.start), generator.synthesis


def _optimizer(options: Options) -> optax.GradientTransformation:
    # In a game the other player moves too: a long momentum follows what it no longer asks for.
    momentum = 0.5 if options.judge.adversarial else 0.9
    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adam(cosine_tail(options.learning_rate, options.steps), b1=momentum, b2=0.99),
    )


def _batches(
    options: Options, mapping: Mapping, encoder: Encoder, wanted: WantedPatches
) -> Partial:
    """Step number to samples' w, and half as many faces."""
    draw, _ = stream_batches(options.seed + 16, options.batch_size // 2)
    key = jax.random.key(options.seed + 17)

    @jax.jit
    def latents(mapping, encoder, images, step):
        z = jax.random.normal(jax.random.fold_in(key, step), (options.batch_size, mapping.z_dim))
        return mapping(z), encoder(images)

    def batch(draw, mapping, encoder, wanted, step):
        images = draw(step).images
        return TextureBatch(*latents(mapping, encoder, images, step), images, wanted)

    return Partial(batch, draw, mapping, encoder, wanted)


def fit_texture(options: Options) -> None:
    """Stage (d): the synthesis network alone, from finished networks, judged if asked for."""
    if options.batch_size % (2 * GROUPS):
        raise FacesemError(
            f"batch_size is {options.batch_size}; --stage texture takes multiples of {2 * GROUPS}."
        )
    if options.texture.faces < 1:
        raise FacesemError(f"texture.faces is {options.texture.faces}; expected at least 1.")
    if not 0 <= options.texture.memory < 1:
        raise FacesemError(f"texture.memory is {options.texture.memory}; expected 0 to below 1.")
    mapping, encoder, synthesis = _start(options)
    blocks = options.texture.blocks
    if blocks is not None and not 1 <= blocks <= len(synthesis.to_rgbs):
        raise FacesemError(
            f"texture.blocks is {blocks}; {options.start} has {len(synthesis.to_rgbs)}. Give 1 to "
            "as many, or leave it out for all."
        )
    check_judge(options.judge, options.batch_size, encoder.config.resolution)
    shown = stream_batches(options.seed + 2, 16)[0](0).images
    if encoder.config.resolution != shown.shape[1]:
        raise FacesemError(
            f"{options.start} is for {encoder.config.resolution} pixels; the stream's faces have "
            f"{shown.shape[1]}."
        )
    optimizer = _optimizer(options)
    graph, state = init_state(synthesis, optimizer)
    wanted = _wanted(options)
    differences = [jnp.zeros_like(values) for values in wanted.values]
    z = jax.random.normal(jax.random.key(options.seed + 7), (48, mapping.z_dim))
    w = jnp.concatenate([encoder(shown), mapping(z)])
    redraw = jax.jit(lambda synthesis, w: synthesis(w))

    def sheet(state):
        drawn = rgb(redraw(modules_of(graph, state, averaged=True), w))
        return grid(np.stack([rgb(shown), *drawn.reshape(4, 16, *drawn.shape[1:])]))

    state = dataclasses.replace(state, extra=differences)
    batches = _batches(options, mapping, encoder, wanted)
    if options.judge.adversarial:
        player, size = (graph, state, optimizer), encoder.config.resolution
        play_judged(options, mapping, synthesis, player, size, batches, sheet)
        return
    run_training(
        options.loop("texture", sheet_steps=100),
        state,
        make_texture_step(graph, optimizer, jax.random.key(options.seed + 18), options.texture),
        batches,
        sheet,
    )


def textured_player(options: Options) -> GeneratorPlayer:
    """The networks that the stage started from, with the synthesis network as it became.

    Args:
      options: Names the run's directory and what it was given as ``--start``.

    Raises:
      FacesemError: If the stage was not run, or the start is missing.
    """
    mapping, encoder, synthesis = _start(options)
    graph, template = init_state(synthesis, _optimizer(options))
    state = previous_state(options.directory, "texture", template, extra=True)
    return GeneratorPlayer(mapping, encoder, modules_of(graph, state, averaged=True))
