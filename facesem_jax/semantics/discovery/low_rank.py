"""LowRankGAN: directions that change one region of the picture and spare the rest."""

import dataclasses
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from facesem_jax.checks import check_shape
from facesem_jax.errors import FacesemError
from facesem_jax.semantics.discovery.result import Discovered, check_count, discovered
from facesem_jax.semantics.discovery.robust_pca import robust_pca
from facesem_jax.semantics.jacobian import DEFAULT_CHUNK_SIZE
from facesem_jax.semantics.moments import as_pytree, stream_moments
from facesem_jax.semantics.sample_jacobian import SampleJacobian
from facesem_jax.semantics.semantic_function import (
    EnvironmentSemantics,
    LocalSemantics,
    framed_images,
)

AUTHORS_WEIGHT = 512**0.5 / 60
"""Times 1/sqrt(d) the lambda of robust PCA: 1/60, as in the authors' code, at their d of 512."""
_TOLERANCE = 1e-5  # Of robust PCA: the rank has settled by then.


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PictureSemantics:
    """``w -> picture`` in the framing that the decomposer reads, a pytree.

    Attributes:
      f: Semantics that hold the generator and the crop.
    """

    f: LocalSemantics | EnvironmentSemantics

    def __call__(self, w: Float[Array, "n d"]) -> Float[Array, "n h w 3"]:
        """Images in [-1, 1]."""
        return framed_images(self.f, w)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RegionGrams:
    """``w -> J_r^T J_r`` of every region r, a pytree.

    Attributes:
      jacobian: ``w -> J(w)``, (h, w, c, d).
      masks: Binary, one per region.
    """

    jacobian: SampleJacobian
    masks: Float[Array, "r h w"]

    def __call__(self, w: Float[Array, "d"]) -> Float[Array, "r d d"]:
        """The Gram matrices at one sample."""
        J = self.jacobian(w)
        rows = J.reshape(*J.shape[:2], -1, J.shape[-1])

        def gram(mask):
            kept = (rows * mask[:, :, None, None]).reshape(-1, rows.shape[-1])
            return jnp.dot(kept.T, kept, precision=jax.lax.Precision.HIGHEST)

        # One region at a time: all masked copies of J at once would take gigabytes.
        return jax.lax.map(gram, self.masks)


def region_grams(
    f: Callable[[Float[Array, "n d"]], Float[Array, "n h w c"]],
    ws: Float[Array, "n d"],
    masks: Bool[np.ndarray, "r h w"],
    *,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    progress: Callable[[Iterable], Iterable] = iter,
) -> Float[np.ndarray, "r d d"]:
    """``E_w[J_r^T J_r]`` with J_r the exact derivative of a region's pixels.

    The paper takes one picture; here the mean over several makes directions for all faces.

    Args:
      f: Pictures of latents, best a pytree such as `PictureSemantics`.
      ws: Latents.
      masks: Regions; they may overlap, and one may be the whole picture.
      chunk_size: Tangents pushed at once; see `SampleJacobian`.
      progress: Wraps the iteration over single samples.

    Returns:
      One Gram matrix per region, not divided by the number of pixels.

    Raises:
      FacesemError: As `stream_moments`.

    Source:
      Zhu et al. (NeurIPS 2021), equation 3.

    Example:
      >>> import jax, jax.numpy as jnp, numpy as np
      >>> picture = lambda w: jnp.broadcast_to(w[:, None, :, None], (w.shape[0], 1, 2, 1))
      >>> # The two pixels are w's two entries.
      >>> masks = np.array([[[True, False]], [[False, True]]])
      >>> region_grams(picture, jnp.ones((1, 2)), masks).tolist()
      [[[1.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]]]
    """
    check_shape("masks", masks, (None, None, None))
    derivative = RegionGrams(
        SampleJacobian(as_pytree(f), chunk_size), jnp.asarray(masks, jnp.result_type(ws))
    )
    last = None
    for step in progress(stream_moments(derivative, ws, batch_size=1, name="Gram matrix")):
        last = step
    return np.asarray(last.moments.mean)


def low_rank_directions(
    region: Float[np.ndarray, "d d"],
    rest: Float[np.ndarray, "d d"],
    count: int,
    *,
    weight: float | None = None,
    relaxed: int = 0,
    name: str = "region",
) -> Discovered:
    r"""Principal directions of a region, projected on the null space of the rest.

    Robust PCA of both matrices; with V the singular vectors of the region's low-rank part and
    :math:`B_0` those of the rest's low-rank part beyond its rank, the directions are
    :math:`B_0 B_0^\top v_i`, brought to unit length.

    Args:
      region: ``J^T J`` of the region's pixels, divided by their number.
      rest: ``J^T J`` of the other pixels, divided by their number.
      count: Most directions wanted; the region's rank may give fewer.
      weight: lambda of robust PCA: smaller leaves a lower rank. Default: `AUTHORS_WEIGHT` over the
        square root of d.
      relaxed: Directions of the rest's principal space to give up, its weakest ones: the rest then
        changes a little.
      name: Of the region; the directions are "name-1" and so on.

    Returns:
      The directions; the scores are the singular values before projection.

    Raises:
      FacesemError: On wrong shapes or count, or if nothing of the region is left by the projection.

    Source:
      Zhu, Feng, Shen et al., "Low-Rank Subspaces in GANs" (NeurIPS 2021, arXiv 2106.04488),
      equations 4 to 8, and the authors' code for the ranks.

    Example:
      >>> import numpy as np
      >>> region, rest = np.diag([2.0, 0.0, 2.0]), np.diag([0.0, 3.0, 3.0])
      >>> # Axis 2 moves the rest as well; with so large a weight nothing counts as sparse.
      >>> found = low_rank_directions(region, rest, 1, weight=10.0)
      >>> found.vectors.round(3).tolist()
      [[1.0, 0.0, 0.0]]
    """
    check_shape("region", region, (None, np.shape(region)[0]))
    check_shape("rest", rest, np.shape(region))
    d = len(region)
    check_count(count, d)
    weight = AUTHORS_WEIGHT / d**0.5 if weight is None else weight
    front, back = (robust_pca(m, weight, tolerance=_TOLERANCE) for m in (region, rest))
    _, singular, right = np.linalg.svd(front.low_rank)
    principal = right[: front.rank]
    _, _, right = np.linalg.svd(back.low_rank)
    null = right[min(max(1, back.rank - relaxed), d - 1) :]
    projected = principal @ null.T @ null
    lengths = np.linalg.norm(projected, axis=1)
    # What the projection leaves of a vector within the rest's principal space is rounding.
    kept = np.flatnonzero(lengths > 1e-6)[:count]
    if not kept.size:
        raise FacesemError(
            f"nothing of the {name} can move without the rest: the rest's principal space (rank "
            f"{back.rank} of {d}) holds the region's (rank {front.rank}). Lower the weight of the "
            "sparse part, or relax the rest."
        )
    return discovered(projected[kept], name, singular[kept])
