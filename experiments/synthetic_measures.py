"""Errors of depth, view and light on synthetic heads, and the baselines of Unsup3D's Table 2."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from experiments.synthetic_sets import HeadSet
from experiments.synthetic_training import depth_in_range, supervised_depth
from facesem_jax.decomposer import Decomposer, DecomposerConfig
from facesem_jax.decomposer.camera import intrinsics
from facesem_jax.decomposer.decomposer import depth_prior
from facesem_jax.decomposer.networks import EncoderDecoder
from facesem_jax.decomposer.warp import canonical_warp
from facesem_jax.metrics.affine import affine_fit, direction_error
from facesem_jax.metrics.depth import (
    eroded,
    mean_angle_deviation,
    scale_invariant_depth_error,
)

_BATCH = 25
#: (SIDE x 100, MAD in degrees) on the Basel Face Model, Unsup3D's Table 2 (arXiv 1911.11130).
PUBLISHED = {
    "unsupervised": (0.793, 16.51),
    "supervised": (0.410, 10.78),
    "constant": (2.723, 43.34),
    "average": (1.990, 23.26),
}


class Estimate(NamedTuple):
    """What a method says of a set.

    Attributes:
      depth: In the view, scene units.
      mask: Where it says anything.
    """

    depth: Float[np.ndarray, "n h w"]
    mask: Bool[np.ndarray, "n h w"]


class DepthErrors(NamedTuple):
    """Errors per image.

    Attributes:
      side: Scale-invariant depth error.
      mad: Mean angle deviation of the normals, degrees.
      covered: Share of the true mask (eroded) that counted.
    """

    side: Float[np.ndarray, "n"]
    mad: Float[np.ndarray, "n"]
    covered: Float[np.ndarray, "n"]


def constant_estimate(heads: HeadSet, config: DecomposerConfig) -> Estimate:
    """One depth everywhere."""
    depth = np.full(heads.mask.shape, config.rotation_center_depth, np.float32)
    return Estimate(depth, np.ones_like(heads.mask))


def average_estimate(heads: HeadSet, training: HeadSet) -> Estimate:
    """The mean true depth of the training heads that show at a pixel.

    Pixels that none of them covers take the mean of the covered pixels' farthest value.
    """
    total = np.zeros(heads.mask.shape[1:])
    seen = np.zeros_like(total)
    for start in range(0, len(training), 500):
        part = slice(start, start + 500)
        mask = training.mask[part]
        total += np.sum(training.depth(part) * mask, axis=0)
        seen += np.sum(mask, axis=0)
    mean = np.divide(total, seen, out=np.full_like(total, np.nan), where=seen > 0)
    mean = np.where(seen > 0, mean, np.nanmax(mean)).astype(np.float32)
    depth = np.broadcast_to(mean, heads.mask.shape)
    return Estimate(depth, np.ones_like(heads.mask))


def supervised_estimate(
    heads: HeadSet, network: EncoderDecoder, config: DecomposerConfig
) -> Estimate:
    """Depth in the view by the network that was trained on it."""
    run = jax.jit(lambda network, x: supervised_depth(network, x, config))
    depth = np.concatenate([np.asarray(run(network, x)) for x in _batches(heads)])[: len(heads)]
    return Estimate(depth, np.ones_like(heads.mask))


def unsupervised_estimate(
    heads: HeadSet, decomposer: Decomposer, release: float = 1.0
) -> tuple[Estimate, Float[np.ndarray, "n 6"], Float[np.ndarray, "n 4"]]:
    """The canonical depth moved into the view, as Unsup3D evaluates it; and view and light.

    Args:
      heads: The set.
      decomposer: The networks.
      release: As for `Decomposer.depth`.
    """

    @jax.jit
    def run(decomposer, x):
        depth, view = decomposer.depth(x, release), decomposer.view(x)
        # Exact under occlusion, which the search that training uses is not.
        warp = canonical_warp(depth, view, decomposer.config, "rasterizer")
        return warp.depth, warp.mask, view, decomposer.light(x)

    pieces = [jax.tree.map(np.asarray, run(decomposer, x)) for x in _batches(heads)]
    depth, mask, view, light = (np.concatenate(p)[: len(heads)] for p in zip(*pieces, strict=True))
    return Estimate(depth, mask), view, light


def canonical_estimates(
    heads: HeadSet,
    depth: Float[np.ndarray, "n h w"],
    mask: Bool[np.ndarray, "n h w"],
    config: DecomposerConfig,
) -> dict[str, Estimate]:
    """Canonical depth maps that no training gave, moved into the true view.

    Args:
      heads: The set.
      depth: True canonical depth of the same heads.
      mask: Where there is a head in it.
      config: Of the decomposer.

    Returns:
      "individual", each head's own map: what remains is what no map of one depth per canonical
      pixel can show. "shared", the mean of the maps for all: what view alone gives. "prior", the
      surface that depth starts from: what it takes before anything is learned of shape.
    """
    seen = mask.sum(axis=0)
    mean = np.sum(depth * mask, axis=0) / np.maximum(seen, 1)
    mean = np.where(seen > 0, mean, config.border)
    maps = {
        "individual": np.where(mask, depth, config.border),
        "shared": np.broadcast_to(mean, depth.shape),
        "prior": np.broadcast_to(depth_in_range(depth_prior(config), config), depth.shape),
    }
    warp = jax.jit(lambda depth, view: canonical_warp(depth, view, config, "rasterizer"))
    estimates = {}
    for name, canonical in maps.items():
        pieces = []
        for start in range(0, len(heads), _BATCH):
            rows = slice(start, start + _BATCH)
            moved = warp(canonical[rows].astype(np.float32), heads.view[rows])
            pieces.append((np.asarray(moved.depth), np.asarray(moved.mask)))
        estimates[name] = Estimate(*(np.concatenate(p) for p in zip(*pieces, strict=True)))
    return estimates


def depth_errors(estimate: Estimate, heads: HeadSet, config: DecomposerConfig) -> DepthErrors:
    """SIDE and MAD of every head over the pixels that truth and estimate show, both eroded."""
    camera = intrinsics(config.image_size, config.fov_degrees)

    @jax.jit
    def run(depth, shown, truth, mask):
        inside = eroded(mask)
        both = inside & eroded(shown)
        side = scale_invariant_depth_error(depth, truth, both)
        mad = mean_angle_deviation(depth, truth, both, camera)
        return side, mad, jnp.sum(both, (1, 2)) / jnp.sum(inside, (1, 2))

    pieces = []
    for start in range(0, len(heads), _BATCH):
        rows = slice(start, start + _BATCH)
        truth, mask = heads.depth(rows), heads.mask[rows]
        pieces.append(run(estimate.depth[rows], estimate.mask[rows], truth, mask))
    return DepthErrors(*(np.concatenate(p) for p in zip(*pieces, strict=True)))


def pose_and_light_errors(
    view: Float[np.ndarray, "n 6"], light: Float[np.ndarray, "n 4"], heads: HeadSet
) -> dict[str, dict]:
    """Errors of view and light up to an affine map, angles in degrees.

    Args:
      view: Estimated.
      light: Estimated.
      heads: The truth.
    """
    found, true = np.degrees(view[:, :3]), np.degrees(heads.view[:, :3])
    errors = {
        name: affine_fit(found[:, i], true[:, i])._asdict()
        for i, name in enumerate(("pitch", "yaw", "roll"))
    }
    for i, name in enumerate(("ambient", "diffuse", "light_x", "light_y")):
        errors[name] = affine_fit(light[:, i], heads.light[:, i])._asdict()
    error, chance = direction_error(light[:, 2:], heads.light[:, 2:])
    errors["light_direction"] = {"error": error, "chance": chance}
    return errors


def table_row(errors: DepthErrors) -> dict[str, float]:
    """Mean and standard deviation over the images, SIDE times 100 as the paper prints it."""
    return {
        "side_x100": float(100 * errors.side.mean()),
        "side_x100_sd": float(100 * errors.side.std()),
        "mad_degrees": float(errors.mad.mean()),
        "mad_degrees_sd": float(errors.mad.std()),
        "covered": float(errors.covered.mean()),
    }


def margin(rows: dict[str, dict]) -> dict[str, dict[str, float]]:
    """The goal: unsupervised over average-depth error, here and in Unsup3D's Table 2."""
    measures: dict[str, Callable[[dict], float]] = {
        "side": lambda row: row["side_x100"],
        "mad": lambda row: row["mad_degrees"],
    }
    result = {}
    for i, (name, read) in enumerate(measures.items()):
        here = read(rows["unsupervised"]) / read(rows["average"])
        published = PUBLISHED["unsupervised"][i] / PUBLISHED["average"][i]
        result[name] = {"ratio": here, "published": published, "met": float(here <= published)}
    return result


def _batches(heads: HeadSet):
    """Pictures in batches of one size, the last filled up, so that nothing compiles twice."""
    for start in range(0, len(heads), _BATCH):
        images = heads.images(slice(start, start + _BATCH))
        yield np.pad(images, ((0, _BATCH - len(images)), (0, 0), (0, 0), (0, 0)))
