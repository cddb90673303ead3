"""Last stage of the generator's training: bands of its samples get the faces' patches."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, PRNGKeyArray

from facesem_jax.errors import FacesemError
from facesem_jax.generators.stylegan2 import Synthesis
from facesem_jax.laplacian_pyramid import laplacian_pyramid
from facesem_jax.metrics.laplacian_patches import PATCH
from facesem_jax.training.autoencode import psnr, reconstruction_loss
from facesem_jax.training.patch_bands import patches_along, sorted_in_groups
from facesem_jax.training.state import TrainState, advance


@dataclasses.dataclass(frozen=True)
class TextureConfig:
    """Weights of the texture's stage.

    Attributes:
      patches: Of the squared distance between the samples' and the faces' patches, in units of
        their band's own spread.
      coarsest: What the last band counts, where others count 1. It is the low-pass picture: what
        it shows is the mapping's, and it differs most from one batch to the next.
      reconstruction: Of the pyramid L1 of encoder and synthesis.
      noise: Standard deviation of the noise on the encoder's w.
      memory: Share of the running difference that a step keeps.
      faces: Stream faces that the wanted values are the mean of.
      directions: Directions in all; a step takes a quarter of them.
      blocks: How many of the synthesis network's blocks learn, from the finest on: its
        convolutions at a resolution and their toRGB. ``None`` for all.
    """

    patches: float = 6.0
    coarsest: float = 0.3
    reconstruction: float = 1.0
    noise: float = 0.05
    memory: float = 0.5
    faces: int = 8192
    directions: int = 512
    blocks: int | None = None


PARTS = 4
"""Parts of the directions, taken in turn."""
GROUPS = 2
"""Groups of samples in a batch."""


class WantedPatches(NamedTuple):
    """What the samples' patches are held to.

    Attributes:
      theta: Per band, directions (parts, d, k), over the spread of the band's channels.
      values: Per band, sorted projections (parts, s, k) of one group of faces, in expectation.
    """

    theta: list[Float[Array, "parts d k"]]
    values: list[Float[Array, "parts s k"]]


class TextureBatch(NamedTuple):
    """A batch of the stage.

    Attributes:
      w: Of samples, from the mapping network.
      encoded: The encoder's w of the faces.
      images: The faces, in [-1, 1].
      wanted: The targets.
    """

    w: Float[Array, "n d"]
    encoded: Float[Array, "m d"]
    images: Float[Array, "m h w 3"]
    wanted: WantedPatches


class TextureResult(NamedTuple):
    """What `texture_loss` found beside the loss.

    Attributes:
      terms: The loss's parts.
      running: The new running mean of the differences, per band.
      drawn: The batch's samples, then the reconstructions.
    """

    terms: dict[str, Float[Array, ""]]
    running: list[Float[Array, "parts s k"]]
    drawn: Float[Array, "n+m h w 3"]


def patch_directions(
    spreads: list[Float[Array, " c"]], count: int, key: PRNGKeyArray
) -> list[Float[Array, "parts d k"]]:
    """Random unit directions per band, for patches whose channels have these spreads.

    Args:
      spreads: Standard deviation of each channel, band by band.
      count: Directions per band, a multiple of `PARTS`.
      key: Seeds them.

    Raises:
      FacesemError: On another count.
    """
    if count < 1 or count % PARTS:
        raise FacesemError(f"directions is {count}; expected a multiple of {PARTS}, above 0.")
    found = []
    for level, spread in enumerate(spreads):
        shape = (PARTS, len(spread) * PATCH * PATCH, count // PARTS)
        theta = jax.random.normal(jax.random.fold_in(key, level), shape)
        theta = theta / jnp.linalg.norm(theta, axis=1, keepdims=True)
        found.append(theta / jnp.repeat(spread, PATCH * PATCH)[:, None])
    return found


def wanted_values(
    images: Float[Array, "n h w 3"],
    theta: list[Float[Array, "parts d k"]],
    group: int,
    key: PRNGKeyArray,
) -> list[Float[Array, "parts s k"]]:
    """Sorted projections of groups of faces, averaged over the groups.

    Args:
      images: n a multiple of ``group``.
      theta: Of `patch_directions`.
      group: Faces per group; as many as samples in a group of the training.
      key: Seeds the patches' places.
    """
    bands = laplacian_pyramid(images)
    flat = [jnp.concatenate(list(lines), axis=1) for lines in theta]
    along = patches_along(bands, flat, key)
    means = [jnp.mean(sorted_in_groups(x, len(images) // group), axis=0) for x in along]
    return [x.reshape(len(x), PARTS, -1).transpose(1, 0, 2) for x in means]


def finest_blocks(params, blocks: int | None):
    """A synthesis network's parameters; those of all but the finest blocks let no gradient pass.

    Args:
      params: Of a `Synthesis`, as `facesem_jax.training.state.init_state` splits them.
      blocks: How many blocks learn; ``None`` for all, and for other networks.

    Returns:
      The same tree and values.
    """
    if blocks is None:
        return params
    held = len(params["to_rgbs"]) - blocks
    # Convolutions 2b-1 and 2b are block b's; the constant that all begins with is the first's.
    first = {"const": min(held, 1), "convs": max(2 * held - 1, 0), "to_rgbs": held}

    def learned(path, x):
        index = getattr(path[1], "key", 0)
        return x if index >= first[path[0].key] else jax.lax.stop_gradient(x)

    return jax.tree_util.tree_map_with_path(learned, params)


def texture_loss(
    synthesis: Synthesis,
    batch: TextureBatch,
    running: list[Float[Array, "parts s k"]],
    step: Int[Array, ""],
    key: PRNGKeyArray,
    config: TextureConfig,
) -> tuple[Float[Array, ""], TextureResult]:
    r"""Distance of the samples' patches from the faces', and the reconstruction.

    A batch's sorted values differ from the wanted ones by what is wrong and by chance. The square
    of that difference is smallest for samples that vary too little, because chance is part of it.
    So each group's difference is multiplied by another's instead, and by the running mean of
    earlier steps, whose chance is independent:

    .. math:: \sum_l c_l \langle (s_1 - m)(s_2 - m) \rangle,

    of which the expectation is the squared distance of the expected values alone.

    Args:
      synthesis: The trained network.
      batch: Samples' w, faces, and what is wanted.
      running: Earlier steps' mean of s - m, per band.
      step: Steps so far; says which part of the directions it is.
      key: Seeds the patches' places and the noise on w.
      config: Weights.

    Returns:
      The loss, and what else it found. ``patches`` among its terms is the running mean absolute
      difference over the bands.

    Source:
      Rabin et al. (2011) for the sliced distance; the product of independent estimates is the
      usual unbiased one of a square.
    """
    places, noise = jax.random.split(key)
    count = batch.w.shape[0]
    encoded = batch.encoded + config.noise * jax.random.normal(noise, batch.encoded.shape)
    drawn = synthesis(jnp.concatenate([batch.w, encoded]))
    part = step % PARTS
    theta = [lines[part] for lines in batch.wanted.theta]
    found = patches_along(laplacian_pyramid(drawn[:count]), theta, places)
    # Before its part was seen once, there is no mean.
    memory = jnp.where(step < PARTS, 0.0, config.memory)
    last = len(found) - 1
    product, size, after = 0.0, 0.0, []
    for level, projections in enumerate(found):
        groups = sorted_in_groups(projections, GROUPS) - batch.wanted.values[level][part]
        past = running[level][part]
        others = memory * past + (1 - memory) * groups[::-1]
        weight = config.coarsest if level == last else 1.0
        product += weight * jnp.mean(groups * jax.lax.stop_gradient(others)) * GROUPS
        mean = memory * past + (1 - memory) * jax.lax.stop_gradient(jnp.mean(groups, axis=0))
        after.append(running[level].at[part].set(mean))
        size += jnp.mean(jnp.abs(mean)) / len(found)
    rebuilt = drawn[count:]
    reconstruction = reconstruction_loss(rebuilt, batch.images, 0.0)
    total = config.patches * product + config.reconstruction * reconstruction
    terms = {
        "patches": size,
        "reconstruction": reconstruction,
        "psnr": psnr(rebuilt, batch.images),
    }
    return total, TextureResult(terms, after, drawn)


def make_texture_step(
    graph,
    optimizer: optax.GradientTransformation,
    key: PRNGKeyArray,
    config: TextureConfig,
    decay: float = 0.995,
) -> Callable[[TrainState, TextureBatch], tuple[TrainState, dict]]:
    """Builds the step function; the state's ``extra`` holds the running differences.

    Args:
      graph: Of the synthesis network, from `facesem_jax.training.state.init_state`.
      optimizer: The optimiser.
      key: Seeds places and noise, with the step's number.
      config: Weights.
      decay: Of the moving average of the weights; ramped up from 0 over the first steps.
    """

    def step(state: TrainState, batch: TextureBatch) -> tuple[TrainState, dict]:
        def objective(params):
            synthesis = nnx.merge(graph, finest_blocks(params, config.blocks), state.buffers)
            random = jax.random.fold_in(key, state.step)
            return texture_loss(synthesis, batch, state.extra, state.step, random, config)

        (total, found), gradient = jax.value_and_grad(objective, has_aux=True)(state.params)
        terms = found.terms | {"loss": total, "gradient_norm": optax.tree.norm(gradient)}
        after = advance(state, gradient, optimizer, decay)
        return dataclasses.replace(after, extra=found.running), terms

    return step
