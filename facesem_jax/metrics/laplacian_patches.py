"""ProGAN's sliced Wasserstein distance: how alike two sets of pictures are, band by band."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float
from scipy.ndimage import convolve1d

from facesem_jax.checks import check_shape
from facesem_jax.errors import FacesemError

_FILTER = np.array([1, 4, 6, 4, 1], np.float32) / 16
PATCH = 7
"""Pixels per side of a patch."""
Seed = int | Sequence[int]
SMALLEST = 16
"""Pixels per side of the pyramid's last level."""


def band_sizes(height: int, width: int, smallest: int = SMALLEST) -> list[int]:
    """Pixels per side of a pyramid's levels, from fine to coarse.

    Args:
      height: Of the pictures, ``smallest`` times a power of 2.
      width: The same.
      smallest: Pixels per side of the last level.

    Raises:
      FacesemError: If the size does not fit.
    """
    levels = int(np.log2(max(height, 1) / smallest)) if height >= smallest else -1
    if width != height or levels < 0 or smallest * 2**levels != height:
        raise FacesemError(
            f"the pictures have {height}x{width} pixels; expected squares of "
            f"{smallest} times a power of 2."
        )
    return [height >> level for level in range(levels + 1)]


def laplacian_pyramid(
    images: Float[np.ndarray, "n h w c"], smallest: int = SMALLEST
) -> list[Float[np.ndarray, "n hs ws c"]]:
    """Splits pictures into bands, from fine to coarse; the last is what is left, low-pass.

    Each level holds the picture less the next level's, enlarged: filtered by [1, 4, 6, 4, 1] / 16
    along both axes, mirrored beyond the border, every second pixel kept.

    Args:
      images: Any range; height and width are ``smallest`` times the same power of 2.
      smallest: Pixels per side of the last level.

    Returns:
      The levels; enlarged and added up, they give the pictures back.

    Raises:
      FacesemError: If the size does not fit.

    Source:
      Burt and Adelson (1983); Karras et al., arXiv 1710.10196, section 5 and its code.

    Example:
      >>> levels = laplacian_pyramid(np.ones((1, 64, 64, 3)))
      >>> len(levels), levels[-1].shape
      (3, (1, 16, 16, 3))
    """
    check_shape("images", images, (None, None, None, None))
    sizes = band_sizes(images.shape[1], images.shape[2], smallest)
    pyramid = [np.asarray(images, np.float32)]
    for _ in sizes[1:]:
        smaller = _filtered(pyramid[-1])[:, ::2, ::2]
        pyramid[-1] = pyramid[-1] - enlarged(smaller)
        pyramid.append(smaller)
    return pyramid


def enlarged(images: Float[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n 2*h 2*w c"]:
    """Doubles the size: zeros between the pixels, filtered by the pyramid's filter times 4."""
    n, h, w, c = images.shape
    spread = np.zeros((n, 2 * h, 2 * w, c), np.float32)
    spread[:, ::2, ::2] = images
    return 4 * _filtered(spread)


def _filtered(images):
    rows = convolve1d(images, _FILTER, axis=1, mode="mirror")
    return convolve1d(rows, _FILTER, axis=2, mode="mirror")


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
    pyramids = [laplacian_pyramid(one) for one in sets]
    for level in range(len(pyramids[0])):
        patches = [
            random_patches(pyramid[level], each, (seed, level, k))
            for k, pyramid in enumerate(pyramids)
        ]
        theta = directions(patches[0].shape[1], repeats * projections, (seed, level, len(sets)))
        found = sliced_distances(patches, pairs, theta)
        yield pyramids[0][level].shape[1], [1000 * d for d in found]
