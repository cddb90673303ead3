"""How directions relate to one another, and whether their maps relate in the same way."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.cluster import hierarchy
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import squareform
from scipy.stats import rankdata

from facesem_jax.checks import check_shape
from facesem_jax.errors import FacesemError


class MantelResult(NamedTuple):
    """The outcome of :func:`mantel`.

    Attributes:
      r: Correlation of the two matrices' upper triangles; NaN where one of them is constant.
      p: One-sided permutation p-value, at least ``1 / (1 + permutations)``.
      permutations: Number of permutations drawn.
    """

    r: float
    p: float
    permutations: int


def _cosine_distances(rows: Float[np.ndarray, "P k"], what: str) -> Float[np.ndarray, "P P"]:
    if not np.all(np.isfinite(rows)):
        raise FacesemError(f"{what} has NaN or infinite entries.")
    norms = np.linalg.norm(rows, axis=1)
    if np.any(norms == 0):
        dead = np.flatnonzero(norms == 0).tolist()
        raise FacesemError(f"{what} {dead} are zero and have no direction; keep live ones only.")
    unit = rows / norms[:, None]
    distances = 1 - np.clip(np.abs(unit @ unit.T), 0, 1)
    distances = (distances + distances.T) / 2
    np.fill_diagonal(distances, 0)
    return distances


def direction_distances(V: Float[np.ndarray, "d P"]) -> Float[np.ndarray, "P P"]:
    """Cosine distances ``1 - |cos(v_i, v_j)|``; blind to sign, which is a convention.

    Args:
      V: Directions as columns (d, P), not zero.

    Returns:
      A symmetric matrix (P, P) in [0, 1] with a zero diagonal.

    Example:
      >>> direction_distances(np.array([[1.0, 0.0, -1.0], [0.0, 1.0, 0.0]]))
      array([[0., 1., 0.],
             [1., 0., 1.],
             [0., 1., 0.]])
    """
    check_shape("V", V, (None, None))
    return _cosine_distances(np.asarray(V, float).T, "V's columns")


def spatial_distances(
    maps: Float[np.ndarray, "P h w c"], blur: float = 2.0
) -> Float[np.ndarray, "P P"]:
    """How far apart two maps act: one minus the overlap of their blurred magnitudes.

    The magnitude of a map is its norm over channels at every pixel. Its overlap, as a cosine, is
    preferred to the distance of centroids because many components have two sides: a pair of eyes
    has its centroid on the nose. The blur lets maps that touch count as near.

    Args:
      maps: Live components' maps (P, h, w, c).
      blur: Standard deviation of the Gaussian blur, in pixels; 0 for none.

    Returns:
      A symmetric matrix (P, P) in [0, 1] with a zero diagonal.

    Example:
      >>> maps = np.zeros((2, 16, 16, 4))
      >>> maps[0, 2, 2], maps[1, 13, 13] = 1, 1
      >>> spatial_distances(maps).round(2)
      array([[0., 1.],
             [1., 0.]])
    """
    check_shape("maps", maps, (None, None, None, None))
    maps = np.asarray(maps, float)
    magnitude = np.linalg.norm(maps, axis=-1)
    if blur > 0:
        magnitude = gaussian_filter(magnitude, (0, blur, blur), mode="constant")
    return _cosine_distances(magnitude.reshape(maps.shape[0], -1), "Maps")


def _check_distances(name: str, distances) -> Float[np.ndarray, "P P"]:
    distances = np.asarray(distances, float)
    check_shape(name, distances, (None, distances.shape[0] if distances.ndim else None))
    if not np.all(np.isfinite(distances)):
        raise FacesemError(f"{name} has NaN or infinite entries.")
    if not np.allclose(distances, distances.T) or np.any(np.diag(distances) != 0):
        raise FacesemError(f"{name} is no distance matrix: expected symmetry and a zero diagonal.")
    return distances


def clustered_order(distances: Float[np.ndarray, "P P"]) -> Int[np.ndarray, " P"]:
    """The order in which near components stand side by side.

    Average linkage with optimal leaf ordering (Bar-Joseph, Gifford and Jaakkola 2001).

    Args:
      distances: Symmetric distances (P, P).

    Returns:
      A permutation of 0 to P - 1.
    """
    distances = _check_distances("distances", distances)
    if distances.shape[0] < 3:
        return np.arange(distances.shape[0])
    condensed = squareform(distances, checks=False)
    tree = hierarchy.linkage(condensed, method="average", optimal_ordering=True)
    return hierarchy.leaves_list(tree).astype(int)


def mantel(
    first: Float[np.ndarray, "P P"],
    second: Float[np.ndarray, "P P"],
    *,
    permutations: int = 9999,
    seed: int = 0,
    method: str = "pearson",
) -> MantelResult:
    """Mantel's test: do two distance matrices over the same components agree?

    The entries of a distance matrix are not independent, so the correlation's significance is
    found by permuting the components of one matrix, rows and columns together. The p-value is
    ``(1 + #{r_perm >= r}) / (1 + permutations)``, one-sided towards agreement.

    Args:
      first: Symmetric distances (P, P), P at least 3.
      second: Symmetric distances (P, P).
      permutations: Number of random permutations.
      seed: Seeds them.
      method: "pearson", or "spearman" for ranks.

    Returns:
      A :class:`MantelResult`; where a matrix has only one distance, r is NaN and p is 1.

    Raises:
      FacesemError: On matrices that are no distances or differ in size, fewer than 3 components,
        no permutations, or an unknown method.

    Source:
      Mantel (1967); p-value after Phipson and Smyth (2010).

    Example:
      >>> places = np.random.default_rng(0).normal(size=(8, 2))
      >>> apart = np.linalg.norm(places[:, None] - places, axis=-1)
      >>> found = mantel(apart, 2 * apart, permutations=999)
      >>> round(found.r, 6), found.p
      (1.0, 0.001)
    """
    first, second = _check_distances("first", first), _check_distances("second", second)
    count = first.shape[0]
    if second.shape != first.shape or count < 3:
        raise FacesemError(
            f"Mantel's test needs two matrices over the same 3 or more components; "
            f"found {first.shape} and {second.shape}."
        )
    if permutations < 1 or method not in ("pearson", "spearman"):
        raise FacesemError(
            f"permutations is {permutations} and method {method!r}; expected at least 1 "
            "and 'pearson' or 'spearman'."
        )
    upper = np.triu_indices(count, 1)

    def standardise(matrix):
        values = matrix[upper]
        values = rankdata(values) if method == "spearman" else values
        centred = values - values.mean()
        norm = np.linalg.norm(centred)
        return centred / norm if norm > 1e-12 * max(np.abs(values).max(), 1e-300) else None

    x, y = standardise(first), standardise(second)
    if x is None or y is None:
        return MantelResult(float("nan"), 1.0, permutations)
    square = np.zeros((count, count))
    square[upper] = x
    square += square.T
    r = float(square[upper] @ y)
    rng = np.random.default_rng(seed)
    exceed = 0
    # Bounded blocks: all permutations of 128 components at once would take 650 MB.
    block = max(1, 2_000_000 // y.size)
    for begin in range(0, permutations, block):
        size = min(block, permutations - begin)
        order = rng.permuted(np.tile(np.arange(count), (size, 1)), axis=1)
        permuted = square[order[:, upper[0]], order[:, upper[1]]]
        # A permutation that leaves the matrix unchanged must count in spite of rounding.
        exceed += int(np.sum(permuted @ y >= r - 1e-12))
    return MantelResult(r, (1 + exceed) / (1 + permutations), permutations)
