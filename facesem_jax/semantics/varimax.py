"""Varimax rotation, and the varimax-rotated truncated SVD that starts the factorisation.

Both work under `jax.jit`: the numerical rank is a mask, not a shape.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from facesem_jax.checks import check_floating, check_shape
from facesem_jax.errors import FacesemError

_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


@partial(jax.jit, static_argnames=("max_iterations",))
def varimax(
    loadings: Float[Array, "n k"], *, max_iterations: int = 100, tolerance: float = 1e-5
) -> Float[Array, "k k"]:
    r"""The rotation that makes the columns of ``loadings @ rotation`` most concentrated.

    .. math::
      \max_{R^\top R = I} \sum_j \Big[ \tfrac1n \sum_i \Lambda_{ij}^4
      - \big( \tfrac1n \sum_i \Lambda_{ij}^2 \big)^2 \Big], \quad \Lambda = A R

    solved by the usual fixed point: R becomes the polar factor of
    ``A^T (Lambda^3 - Lambda diag(mean Lambda^2))`` until the sum of its singular values settles.

    Args:
      loadings: A, in any unit (n, k). Rows of zeros (masked or padding) are left out of n; columns
        of zeros stay where they are.
      max_iterations: Most fixed-point iterations.
      tolerance: Relative growth of the sum of singular values at which to stop.

    Returns:
      The orthogonal R (k, k); the identity for all-zero loadings.

    Source:
      Kaiser, "The varimax criterion for analytic rotation in factor analysis" (1958).
    """
    k = loadings.shape[1]
    # Fourth powers: without scaling, float32 underflows for loadings below about 1e-9.
    largest = jnp.max(jnp.abs(loadings))
    A = loadings / jnp.where(largest > 0, largest, 1)
    rows = jnp.maximum(jnp.sum(jnp.any(A != 0, axis=1)), 1).astype(A.dtype)
    empty = jnp.all(A == 0, axis=0)

    def step(carry):
        R, total, _, i = carry
        rotated = _matmul(A, R)
        target = rotated**3 - rotated * (jnp.sum(rotated**2, axis=0) / rows)
        target = _matmul(A.T, target)
        # The polar factor is arbitrary on the null space that columns of zeros leave; a block of
        # its own, as large as the rest, keeps it the identity there.
        fill = jnp.max(jnp.abs(target))
        left, singular, right = jnp.linalg.svd(target + fill * jnp.diag(empty.astype(A.dtype)))
        grown = jnp.sum(singular) - fill * jnp.sum(empty)
        return _matmul(left, right), grown, total, i + 1

    def proceed(carry):
        _, total, before, i = carry
        return (i < max_iterations) & (total > before * (1 + tolerance))

    eye = jnp.eye(k, dtype=A.dtype)
    start = (eye, jnp.zeros((), A.dtype), jnp.full((), -1, A.dtype), jnp.zeros((), jnp.int32))
    R = jax.lax.while_loop(proceed, step, start)[0]
    return jnp.where(largest > 0, R, eye)


@partial(jax.jit, static_argnames=("num_components",))
def varimax_directions(
    J: Float[Array, "n d"], num_components: int, key: PRNGKeyArray
) -> Float[Array, "d P"]:
    """Orthonormal start for V: varimax-rotated right singular vectors of J.

    The leading P right singular vectors R_P are rotated so that the maps ``J R_P T`` are as
    concentrated as varimax can make them; ``V = R_P T`` has orthonormal columns, so ``U = J V`` is
    the least-squares optimum for it and the redundancy term starts at zero. Only directions
    within the numerical rank take part in the rotation; the remaining columns are random unit
    vectors orthogonalised against them and each other, for which ``J V`` is about zero. Each
    column's sign makes its map positive where it is strongest.

    Args:
      J: Scaled mean Jacobian (n, d).
      num_components: P, at most d.
      key: Seeds the columns beyond the numerical rank.

    Returns:
      V (d, P) with orthonormal columns, in order of decreasing ``||J v_p||``.

    Raises:
      FacesemError: If J is not a floating-point matrix or P is not in 1 to d.
    """
    check_shape("J", J, (None, None))
    check_floating("J", J)
    d = J.shape[1]
    if not 1 <= num_components <= d:
        raise FacesemError(f"num_components is {num_components}; expected 1 to d = {d}.")
    # The d x d Gram matrix is much cheaper than an SVD of (n, d) and loses only directions
    # below sqrt(eps) of the strongest, which a start can do without.
    values, vectors = jnp.linalg.eigh(_matmul(J.T, J))
    values, vectors = values[::-1], vectors[:, ::-1]
    floor = d * jnp.finfo(J.dtype).eps * values[0]
    rank = jnp.sum((values > floor) & (values > 0))
    inside = jnp.arange(num_components) < rank
    V = jnp.where(inside, vectors[:, :num_components], 0)
    V = _matmul(V, varimax(_matmul(J, V)))
    # QR keeps the span of its leading columns, so only the random ones are replaced.
    noise = jax.random.normal(key, V.shape, J.dtype)
    Q, _ = jnp.linalg.qr(jnp.where(inside, V, noise))
    V = jnp.where(inside, V, Q)
    maps = _matmul(J, V)
    peak = jnp.take_along_axis(maps, jnp.argmax(jnp.abs(maps), axis=0)[None], axis=0)[0]
    V = V * jnp.where(peak < 0, -1, 1).astype(V.dtype)
    return V[:, jnp.argsort(-jnp.sum(maps**2, axis=0), stable=True)]
