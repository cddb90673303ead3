"""The methods that `experiments.compare` compares, each with what it cost to run."""

import dataclasses
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from experiments.environment_stages import EXACT_BATCH
from experiments.localized_stages import Track, in_batches
from facesem_jax.errors import FacesemError
from facesem_jax.semantics import discovery
from facesem_jax.semantics.environment import stream_exact_directions
from facesem_jax.semantics.moments import finalise, stream_jacobian_moments
from facesem_jax.semantics.regions import Atlas
from facesem_jax.semantics.scaling import block_scale, scale_jacobian
from facesem_jax.semantics.semantic_function import EnvironmentSemantics, LocalSemantics

#: Regions that LowRankGAN is asked for: both sides of a pair together.
REGIONS = ("mouth", "nose", "eye", "brow", "forehead", "jaw corner")
_JACOBIAN_BATCH = 4
_MASK = 0.5
"""Share of a pixel that a region must own to count as its part."""
WITH_TARGETS = ("regression", "environment")
"""Methods that follow given semantics; the others find directions without being told."""


@dataclasses.dataclass(frozen=True)
class Found:
    """What a method found.

    Attributes:
      directions: Its leading directions.
      seconds: What finding them took, compilation included; what two methods share counts for
        both.
      needs: What it needs, in a few words.
    """

    directions: discovery.Discovered
    seconds: float
    needs: str


@dataclasses.dataclass(frozen=True)
class Survey:
    """What all methods found, and what they were found from.

    Attributes:
      found: The methods by name.
      left_out: Why others do not work on this generator.
      J: Scaled mean Jacobian.
      scale: Its scale.
      ws: The regression's latents, mapped.
      ys: Their global semantics, each in its unit.
    """

    found: dict[str, Found]
    left_out: dict[str, str]
    J: Float[np.ndarray, "n d"]
    scale: Float[np.ndarray, "h w 4"]
    ws: Float[np.ndarray, "m d"]
    ys: Float[np.ndarray, "m k"]


@dataclasses.dataclass(frozen=True)
class Sources:
    """What the methods draw on.

    Attributes:
      generator: The generator.
      local: The local semantics.
      environment: The global semantics.
      z: Latents of the regression, before the mapping.
      jacobian_w: Latents of the Jacobians.
      region_w: Latents of LowRankGAN's Jacobians.
    """

    generator: object
    local: LocalSemantics
    environment: EnvironmentSemantics
    z: Float[np.ndarray, "n z"]
    jacobian_w: Float[np.ndarray, "m d"]
    region_w: Float[np.ndarray, "r d"]


def region_masks(size: int) -> dict[str, np.ndarray]:
    """Where each of the `REGIONS` lies in the frame: pixels of which it owns most."""
    atlas = Atlas(size, size)
    masks = {}
    for region in REGIONS:
        sides = [n for n in atlas.names if n.removeprefix("left ").removeprefix("right ") == region]
        masks[region] = sum(atlas.masks[atlas.names.index(n)] for n in sides) > _MASK
    return masks


def low_rank(sources: Sources, count: int, track: Track) -> discovery.Discovered:
    """LowRankGAN's directions for every region in turn, the strongest of each first."""
    masks = region_masks(sources.environment.size)
    both = np.stack([m for mask in masks.values() for m in (mask, ~mask)])
    n = len(sources.region_w)
    grams = (
        discovery.region_grams(
            discovery.PictureSemantics(sources.environment),
            jnp.asarray(sources.region_w),
            both,
            progress=lambda steps: track(steps, "Jacobians of regions", n),
        )
        / both.sum(axis=(1, 2))[:, None, None]
    )
    each = -(-count // len(masks))
    parts = []
    for i, region in enumerate(masks):
        try:
            parts.append(
                discovery.low_rank_directions(
                    grams[2 * i], grams[2 * i + 1], each, relaxed=each, name=region
                )
            )
        except FacesemError:  # The region cannot move alone, as it says; the others may.
            continue
    if not parts:
        raise FacesemError("LowRankGAN leaves no direction for any region of this generator.")
    rounds = [(p, i) for i in range(each) for p in parts if i < len(p.names)][:count]
    return discovery.discovered(
        np.stack([p.vectors[i] for p, i in rounds]),
        [p.names[i] for p, i in rounds],
        np.array([p.scores[i] for p, i in rounds]),
    )


def find_all(sources: Sources, count: int, components: int, seed: int, track: Track) -> Survey:
    """Runs every method.

    Args:
      sources: What they draw on.
      count: Directions per method, at most.
      components: Components of our factorisation.
      seed: Seeds what is random.
      track: Progress.
    """
    begin = time.perf_counter()
    for_jacobian, size = jnp.asarray(sources.jacobian_w), _JACOBIAN_BATCH
    steps = stream_jacobian_moments(sources.local, for_jacobian, batch_size=size)
    for step in track(steps, "exact Jacobians", -(-len(for_jacobian) // size)):
        last = step
    mean = finalise(last.moments).mean
    scale = block_scale(mean)
    J = scale_jacobian(mean, scale)
    jax.block_until_ready(J)
    jacobian_seconds = time.perf_counter() - begin

    begin = time.perf_counter()
    map_all = jax.jit(lambda generator, z: generator.mapping(z))
    ws = np.asarray(map_all(sources.generator, jnp.asarray(sources.z)))
    mapping_seconds = time.perf_counter() - begin
    begin = time.perf_counter()
    ys = in_batches(sources.environment, ws, track, "pose and light of samples")
    semantics_seconds = time.perf_counter() - begin
    names, spreads = sources.environment.names, np.std(ys, axis=0)

    def exact():
        gradients = stream_exact_directions(
            sources.environment, jnp.asarray(sources.jacobian_w), batch_size=EXACT_BATCH
        )
        count = -(-len(sources.jacobian_w) // EXACT_BATCH)
        for step in track(gradients, "exact gradients", count):
            last = step
        return discovery.environment_edit_directions(last.moments.mean, names, spreads)

    d = sources.generator.config.w_dim
    several = min(count, d)
    plans: dict[str, tuple[Callable[[], discovery.Discovered], float, str]] = {
        "local (ours)": (
            lambda: discovery.local_directions(J, scale, several, components=components, seed=seed),
            jacobian_seconds,
            "decomposer",
        ),
        "environment (ours)": (exact, semantics_seconds, "decomposer"),
        "regression": (
            lambda: discovery.regressed_directions(jnp.asarray(ws), jnp.asarray(ys), names),
            mapping_seconds + semantics_seconds,
            "decomposer",
        ),
        "PCA of J*": (
            lambda: discovery.jacobian_pca_directions(J, several),
            jacobian_seconds,
            "decomposer",
        ),
        "ICA of J*": (
            lambda: discovery.jacobian_ica_directions(J, several, seed),
            jacobian_seconds,
            "decomposer",
        ),
        "SeFa": (
            lambda: discovery.sefa_directions(discovery.style_weights(sources.generator), several),
            0.0,
            "weights",
        ),
        "GANSpace": (
            lambda: discovery.ganspace_directions(jnp.asarray(ws), several),
            mapping_seconds,
            "mapping",
        ),
        "LowRankGAN": (lambda: low_rank(sources, several, track), 0.0, "regions"),
        "random": (lambda: discovery.random_directions(d, several, seed), 0.0, "nothing"),
    }
    found, left_out = {}, {}
    for name, (find, before, needs) in plans.items():
        begin = time.perf_counter()
        try:
            directions = find().first(count)
        except FacesemError as error:  # Not for this generator: the others still compare.
            left_out[name] = str(error)
            continue
        found[name] = Found(directions, before + time.perf_counter() - begin, needs)
    return Survey(found, left_out, np.asarray(J), np.asarray(scale), ws, ys)
