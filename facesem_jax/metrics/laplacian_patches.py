"""ProGAN's sliced Wasserstein distance: how alike two sets of pictures are, band by band."""

from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from facesem_jax.checks import check_shape
from facesem_jax.errors import FacesemError
from facesem_jax.laplacian_pyramid import laplacian_pyramid

PATCH = 7
"""Pixels per side of a patch."""
Seed = int | Sequence[int]
_AT_ONCE = 500
"""Pictures that are split into bands at a time."""


def random_patches(
    images: Float[np.ndarray, "n h w c"], each: int, seed: Seed
) -> Float[np.ndarray, "m d"]:
    """Patches of 7x7 pixels at random places, every channel normalised over all of them.

    Args:
      images: One level of a pyramid, at least 7 pixels per side.
      each: Patches per picture.
      seed: Seeds the places.

    Returns:
      (n * each, 7 * 7 * c), in the order of the pictures, each channel of mean 0 and standard
      deviation 1 (0 where it is constant).

    Raises:
      FacesemError: If the pictures are smaller than a patch, or ``each`` is below 1.
    """
    check_shape("images", images, (None, None, None, None))
    n, h, w = images.shape[:3]
    if min(h, w) < PATCH or each < 1 or not n:
        raise FacesemError(
            f"{each} patches of {PATCH}x{PATCH} cannot be taken from {n} pictures of {h}x{w}."
        )
    windows = np.lib.stride_tricks.sliding_window_view(images, (PATCH, PATCH), (1, 2))
    rng = np.random.default_rng(seed)
    places = np.repeat(np.arange(n), each)
    top, left = (rng.integers(0, side - PATCH + 1, n * each) for side in (h, w))
    patches = np.ascontiguousarray(windows[places, top, left], np.float32)
    # Sums in float64, without a copy in it: the patches alone take gigabytes.
    count = patches[:, 0].size
    mean = np.einsum("nchw->c", patches, dtype=np.float64) / count
    patches -= mean[:, None, None].astype(np.float32)
    spread = np.sqrt(np.einsum("nchw,nchw->c", patches, patches, dtype=np.float64) / count)
    patches /= np.where(spread > 0, spread, 1)[:, None, None].astype(np.float32)
    return patches.reshape(n * each, -1)


def directions(dimension: int, count: int, seed: Seed) -> Float[np.ndarray, "d k"]:
    """Random unit vectors in the columns."""
    drawn = np.random.default_rng(seed).normal(size=(dimension, count))
    return (drawn / np.linalg.norm(drawn, axis=0)).astype(np.float32)


def sliced_distances(
    samples: list[Float[np.ndarray, "m d"]],
    pairs: list[tuple[int, int]],
    theta: Float[np.ndarray, "d k"],
) -> list[float]:
    r"""1-Wasserstein distances over given directions, of several pairs of samples at once.

    .. math:: \frac1K \sum_k \frac1m \sum_i |\theta_k a_{(i)} - \theta_k b_{(i)}|

    `facesem_jax.training.sliced_wasserstein` is the squared 2-Wasserstein distance, a loss with a
    smooth gradient; ProGAN's measure is this one, in the samples' own unit.

    Args:
      samples: All of one size; sorted once each, however many pairs they are in.
      pairs: Indices into them.
      theta: Unit directions in the columns.

    Returns:
      A distance per pair.

    Raises:
      FacesemError: If the samples differ in shape.

    Source:
      Rabin et al. (2011); Karras et al., arXiv 1710.10196.
    """
    for k, sample in enumerate(samples):
        check_shape(f"samples[{k}]", sample, samples[0].shape)
    totals = np.zeros(len(pairs))
    # A few directions at a time: all of them would take gigabytes.
    for part in np.array_split(theta, max(1, theta.shape[1] // 8), axis=1):
        lines = [np.sort((sample @ part).T, axis=1) for sample in samples]
        for p, (a, b) in enumerate(pairs):
            totals[p] += np.abs(lines[a] - lines[b]).mean(axis=1, dtype=np.float64).sum()
    return (totals / theta.shape[1]).tolist()


def _bands(images):
    split = jax.jit(laplacian_pyramid)
    starts = range(0, max(len(images), 1), _AT_ONCE)
    pieces = [split(jnp.asarray(images[i : i + _AT_ONCE], jnp.float32)) for i in starts]
    return [np.concatenate(levels) for levels in zip(*pieces, strict=True)]


def patch_distances(
    sets: list[Float[np.ndarray, "n h w 3"]],
    pairs: list[tuple[int, int]],
    *,
    each: int = 128,
    repeats: int = 4,
    projections: int = 128,
    seed: int = 0,
) -> Iterator[tuple[int, list[float]]]:
    """ProGAN's protocol: sliced Wasserstein distances of patches, level by level.

    Args:
      sets: Pictures, as many in each set, of one size.
      pairs: Indices of the sets to compare.
      each: Patches per picture and level.
      repeats: Draws of directions; the distance is the mean over them.
      projections: Directions per draw.
      seed: Seeds places (others in every set) and directions (the same for all pairs).

    Yields:
      Per level its pixels per side and a distance per pair, 1000 times larger, as is usual.

    Raises:
      FacesemError: If sets differ in shape, or their size does not fit a pyramid.

    Source:
      Karras et al., arXiv 1710.10196, section 5.

    Example:
      >>> a, b = np.random.default_rng(0).normal(size=(2, 8, 32, 32, 3))
      >>> found = dict(patch_distances([a, b, b[::-1]], [(0, 1), (1, 2)], each=16))
      >>> list(found), len(found[32])  # Levels, and a distance per pair.
      ([32, 16], 2)
    """
    for k, one in enumerate(sets):
        check_shape(f"sets[{k}]", one, np.shape(sets[0]))
    pyramids = [_bands(one) for one in sets]
    for level in range(len(pyramids[0])):
        patches = [
            random_patches(pyramid[level], each, (seed, level, k))
            for k, pyramid in enumerate(pyramids)
        ]
        theta = directions(patches[0].shape[1], repeats * projections, (seed, level, len(sets)))
        found = sliced_distances(patches, pairs, theta)
        yield pyramids[0][level].shape[1], [1000 * d for d in found]
