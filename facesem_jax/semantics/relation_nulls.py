"""Whether related parts of the face lie along related directions: what chance would give."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from facesem_jax.checks import check_shape
from facesem_jax.errors import FacesemError
from facesem_jax.semantics.relations import (
    MantelResult,
    direction_distances,
    mantel,
    spatial_distances,
)


def rotated_factorization(
    J: Float[np.ndarray, "n d"], V: Float[np.ndarray, "d P"], rng: np.random.Generator
) -> tuple[Float[np.ndarray, "n P"], Float[np.ndarray, "d P"]]:
    r"""A factorisation that explains as much of J, with directions turned at random.

    With ``V = B C``, B an orthonormal basis of its span, and Q a random rotation (Haar), the
    directions ``V' = B Q C`` have the same span and the same mutual cosines, and their
    least-squares maps ``U' = J V' (V'^T V')^+`` give the same product U' V'^T as those of V: only
    which map goes with which direction, and how the maps look, is left to chance.

    Args:
      J: Scaled mean Jacobian.
      V: Directions as columns.
      rng: Draws the rotation.

    Returns:
      The maps (n, P) and directions (d, P).

    Example:
      >>> rng = np.random.default_rng(0)
      >>> J, V = rng.normal(size=(9, 4)), rng.normal(size=(4, 2))
      >>> U2, V2 = rotated_factorization(J, V, rng)
      >>> bool(np.allclose(V2.T @ V2, V.T @ V))
      True
    """
    check_shape("J", J, (None, None))
    check_shape("V", V, (J.shape[1], None))
    left, s, right = np.linalg.svd(np.asarray(V, np.float64), full_matrices=False)
    rank = int(np.sum(s > s[0] * max(V.shape) * np.finfo(np.float64).eps))
    basis, coordinates = left[:, :rank], s[:rank, None] * right[:rank]
    q, r = np.linalg.qr(rng.normal(size=(rank, rank)))
    # Signs that make the distribution uniform (Mezzadri 2007).
    turned = basis @ (q * np.sign(np.diag(r))) @ coordinates
    return _least_squares_maps(J, turned), turned


def _least_squares_maps(J, V) -> Float[np.ndarray, "n P"]:
    """``U = J V (V^T V)^+``, the maps of least error for given directions."""
    return np.asarray(J, np.float64) @ np.linalg.pinv(np.asarray(V, np.float64)).T


class RotationTest(NamedTuple):
    """Mantel's r of a factorisation among those of rotated ones.

    Attributes:
      r: Of the factorisation itself.
      null: Of the rotated ones.
      p: ``(1 + #{null >= r}) / (1 + rotations)``, one-sided.
    """

    r: float
    null: Float[np.ndarray, " rotations"]
    p: float


def rotation_test(
    J: Float[np.ndarray, "n d"],
    maps: Float[np.ndarray, "P h w c"],
    V: Float[np.ndarray, "d P"],
    *,
    rotations: int = 99,
    seed: int = 0,
) -> RotationTest:
    """Do near maps have near directions more than in rotated factorisations of the same J?

    On either side the maps are the least-squares ones of the directions: sparse maps lie apart
    more, whatever the directions, and the rotated ones have none.

    Args:
      J: Scaled mean Jacobian, its rows in the maps' order (h w c).
      maps: Live components' maps; their shape alone counts.
      V: Their directions as columns.
      rotations: Number of rotated factorisations.
      seed: Seeds the rotations.

    Raises:
      FacesemError: On wrong shapes, fewer than 3 components, or no rotations.

    Example:
      >>> rng = np.random.default_rng(0)
      >>> maps, V = rng.normal(size=(4, 3, 3, 2)), rng.normal(size=(5, 4))
      >>> found = rotation_test(maps.reshape(4, -1).T @ V.T, maps, V, rotations=9)
      >>> len(found.null), 0.1 <= found.p <= 1
      (9, True)
    """
    check_shape("maps", maps, (V.shape[1], None, None, None))
    check_shape("J", J, (int(np.prod(maps.shape[1:])), V.shape[0]))
    if rotations < 1:
        raise FacesemError(f"rotations is {rotations}; expected at least 1.")

    def score(maps, V):
        return mantel(direction_distances(V), spatial_distances(maps), permutations=1).r

    rng = np.random.default_rng(seed)
    null = []
    for _ in range(rotations):
        U, turned = rotated_factorization(J, V, rng)
        null.append(score(U.T.reshape(maps.shape), turned))
    own = score(_least_squares_maps(J, V).T.reshape(maps.shape), V)
    null = np.array(null)
    # NaN, where all distances are equal, is below nothing and counts against the factorisation.
    return RotationTest(own, null, (1 + int(np.sum(~(null < own)))) / (1 + rotations))


def mirrored_distances(
    maps: Float[np.ndarray, "P h w c"], blur: float = 2.0
) -> Float[np.ndarray, "P P"]:
    """How far map i is from map j's mirror image, the lesser of both ways; 0 on the diagonal.

    A left brow and a right one are far apart as `spatial_distances` sees it, and near here.

    Args:
      maps: Live components' maps.
      blur: As for `spatial_distances`.

    Returns:
      A symmetric matrix in [0, 1].

    Example:
      >>> maps = np.zeros((2, 16, 16, 1))
      >>> maps[0, 8, 2], maps[1, 8, 13] = 1, 1  # One is the other's mirror image.
      >>> bool(np.abs(mirrored_distances(maps)).max() < 1e-6)
      True
    """
    check_shape("maps", maps, (None, None, None, None))
    count = len(maps)
    both = spatial_distances(np.concatenate([maps, maps[:, :, ::-1]]), blur)
    across = np.minimum(both[:count, count:], both[:count, count:].T)
    np.fill_diagonal(across, 0)
    return across


def pixel_relations(
    jacobian: Float[np.ndarray, "h w c d"],
    pixels: int = 256,
    *,
    permutations: int = 999,
    seed: int = 0,
) -> MantelResult:
    """The same question asked of J* itself, with no factorisation: do near pixels move alike?

    Distances between pixels i and j are ``1 - |<J_i, J_j>| / (|J_i| |J_j|)`` of their blocks
    (c, d), and the straight way between them in the frame.

    Args:
      jacobian: Scaled mean Jacobian by pixel; pixels whose block is zero are left out.
      pixels: So many, drawn at random.
      permutations: As for `mantel`.
      seed: Draws the pixels and seeds the permutations.

    Raises:
      FacesemError: On a wrong shape, or fewer than 3 pixels that are not zero.

    Example:
      >>> rows, columns = np.mgrid[:6, :6] / 6
      >>> jacobian = np.stack([np.cos(rows), np.sin(rows), columns], axis=-1)[:, :, None]
      >>> pixel_relations(jacobian, permutations=99).p
      0.01
    """
    check_shape("jacobian", jacobian, (None, None, None, None))
    alive = np.argwhere(np.any(jacobian != 0, axis=(2, 3)))
    if len(alive) < 3:
        raise FacesemError(f"{len(alive)} pixels of the Jacobian are not zero; expected 3 or more.")
    rng = np.random.default_rng(seed)
    chosen = alive[rng.permutation(len(alive))[:pixels]]
    blocks = jacobian[chosen[:, 0], chosen[:, 1]].reshape(len(chosen), -1)
    apart = np.linalg.norm(chosen[:, None] - chosen[None], axis=-1)
    return mantel(direction_distances(blocks.T), apart, permutations=permutations, seed=seed)


def tree_distances(distances: Float[np.ndarray, "P P"]) -> Float[np.ndarray, "P P"]:
    """Heights at which pairs meet in the average-linkage tree (cophenetic distances).

    Args:
      distances: Symmetric distances, at least 2.

    Returns:
      A symmetric matrix with a zero diagonal.

    Source:
      Sokal and Rohlf, "The comparison of dendrograms by objective methods" (1962).

    Example:
      >>> line = np.abs(np.subtract.outer([0.0, 1.0, 5.0], [0.0, 1.0, 5.0]))
      >>> tree_distances(line)[0]
      array([0. , 1. , 4.5])
    """
    check_shape("distances", distances, (None, len(distances)))
    if len(distances) < 2:
        raise FacesemError("a tree needs at least 2 leaves.")
    condensed = squareform(np.asarray(distances, float), checks=False)
    return squareform(hierarchy.cophenet(hierarchy.average(condensed)))


def placed_distances(
    centres: Float[np.ndarray, "r 2"], regions: Int[np.ndarray, " P"]
) -> Float[np.ndarray, "P P"]:
    """Distances in the atlas's own tree between the regions that components belong to.

    Args:
      centres: The regions' centres in the frame; their average-linkage tree is the atlas's.
      regions: The region of every component.

    Returns:
      A symmetric matrix; 0 for two components of one region.

    Example:
      >>> placed_distances(np.array([[0.0, 0.0], [0.0, 3.0]]), np.array([0, 0, 1]))
      array([[0., 0., 3.],
             [0., 0., 3.],
             [3., 3., 0.]])
    """
    check_shape("centres", centres, (None, 2))
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
    return tree_distances(apart)[np.ix_(regions, regions)]
