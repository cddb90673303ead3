r"""The factorisation's objective, its partial gradients, their Lipschitz constants, its change.

With J (n, d), U (n, P), V (d, P),

.. math::
  F(U, V) = \|J - U V^\top\|_F^2 + \alpha \|U\|_1 + \beta \sum_{i \ne j} (v_i^\top v_j)^2,
  \qquad \|v_p\|_2 = 1.

With V fixed, the Hessian in some columns B of U is ``2 V_B^T V_B`` in every row, so
``L = 2 ||V_B^T V_B||_2``: for a single column it is 2, and a proximal step is the exact minimiser.
With U and the other columns fixed, the redundancy term is the quadratic
``2 beta v_p^T (sum_{j != p} v_j v_j^T) v_p`` in a column of V, so its Hessian is
``2 ||u_p||^2 I + 4 beta V_{-p} V_{-p}^T``; where beta = 0, the step is the exact minimiser too.

All but :func:`objective` and :func:`redundancy` take the factors transposed, U^T (P, n) and V^T
(P, d), and the products that do not change along their block.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)

# The sums behind the Lipschitz constants carry a few roundings; without this margin an exact
# constant can come out a hair too small for the descent lemma.
MARGIN = 1 + 1e-5


def redundancy(V: Float[Array, "d P"]) -> Float[Array, ""]:
    """The redundancy term ``sum_{i != j} (v_i . v_j)^2``; each pair counts twice."""
    return jnp.sum(off_diagonal(_matmul(V.T, V)) ** 2)


def objective(
    J: Float[Array, "n d"],
    U: Float[Array, "n P"],
    V: Float[Array, "d P"],
    alpha: float | Float[Array, ""],
    beta: float | Float[Array, ""],
) -> Float[Array, ""]:
    """The objective F(U, V) of this module.

    The residual is formed in full: ``||J||^2 - 2 <J V, U> + tr(U^T U V^T V)`` would save a product
    but cancels.

    Args:
      J: Scaled mean Jacobian (n, d).
      U: Maps (n, P).
      V: Directions (d, P).
      alpha: Weight of the l1 norm, in the unit of J.
      beta: Weight of the redundancy term, in the unit of J squared.
    """
    residual = J - _matmul(U, V.T)
    return jnp.sum(residual**2) + alpha * jnp.sum(jnp.abs(U)) + beta * redundancy(V)


def off_diagonal(gram: Float[Array, "P P"]) -> Float[Array, "P P"]:
    """The matrix with zeros on its diagonal."""
    return gram * (1 - jnp.eye(gram.shape[0], dtype=gram.dtype))


def _spectral_bound(symmetric):
    """The largest absolute row sum or the Frobenius norm, whichever is less.

    Both bound the spectral norm, and are cheaper than eigenvalues once per block.
    """
    size = jnp.abs(symmetric)
    return jnp.minimum(jnp.max(jnp.sum(size, axis=0)), jnp.sqrt(jnp.sum(size**2)))


def gradient_of_maps(
    U: Float[Array, "P n"], VJ: Float[Array, "B n"], gram: Float[Array, "B P"]
) -> Float[Array, "B n"]:
    """Partial gradient of the smooth part in columns B of U: ``2 (V_B^T V U^T - V_B^T J^T)``.

    Args:
      U: Maps, transposed.
      VJ: Rows B of ``V^T J^T``.
      gram: Rows B of ``V^T V``.
    """
    return 2 * (_matmul(gram, U) - VJ)


def lipschitz_of_maps(gram: Float[Array, "B B"]) -> Float[Array, ""]:
    """``2 ||V_B^T V_B||_2``, bounded.

    Args:
      gram: ``V_B^T V_B``.
    """
    return 2 * _spectral_bound(gram) * MARGIN


def gradient_of_direction(
    p: int | Int[Array, ""],
    V: Float[Array, "P d"],
    UJ: Float[Array, "P d"],
    UU: Float[Array, "P P"],
    beta: float | Float[Array, ""],
) -> Float[Array, " d"]:
    """Partial gradient in ``v_p``, with the other directions as they are.

    Args:
      p: Number of the direction.
      V: Directions, transposed.
      UJ: ``U^T J``.
      UU: ``U^T U``.
      beta: Weight of the redundancy term.
    """
    others = jnp.arange(V.shape[0]) != p
    overlap = jnp.where(others, _matmul(V, V[p]), 0)
    return 2 * (_matmul(UU[p], V) - UJ[p]) + 4 * beta * _matmul(overlap, V)


def gradient_of_directions(
    V: Float[Array, "P d"],
    UJ: Float[Array, "P d"],
    UU: Float[Array, "P P"],
    gram: Float[Array, "P P"],
    beta: float | Float[Array, ""],
) -> Float[Array, "P d"]:
    """:func:`gradient_of_direction` of all at once; ``gram`` is ``V^T V``."""
    return 2 * (_matmul(UU, V) - UJ) + 4 * beta * _matmul(off_diagonal(gram), V)


def lipschitz_of_direction(
    p: int | Int[Array, ""],
    gram: Float[Array, "P P"],
    UU: Float[Array, "P P"],
    beta: float | Float[Array, ""],
) -> Float[Array, ""]:
    """``2 ||u_p||^2 + 4 beta ||V_{-p} V_{-p}^T||_2``, the norm bounded through the Gram matrix.

    Args:
      p: Number of the direction.
      gram: ``V^T V``.
      UU: ``U^T U``.
      beta: Weight of the redundancy term.
    """
    others = jnp.arange(gram.shape[0]) != p
    rest = jnp.where(others[:, None] & others[None, :], gram, 0)
    lipschitz = (2 * UU[p, p] + 4 * beta * _spectral_bound(rest)) * MARGIN
    # A dead column (u_p = 0) with beta = 0 has no curvature and no gradient: any step will do.
    return jnp.where(lipschitz > 0, lipschitz, 1)


def change_of_maps(
    old: Float[Array, "P n"],
    new: Float[Array, "P n"],
    VJ: Float[Array, "P n"],
    gram: Float[Array, "P P"],
    alpha: float | Float[Array, ""],
) -> Float[Array, ""]:
    """``F(new, V) - F(old, V)``, from differences only.

    A quadratic changes by its gradient at the midpoint times the step. Differences of two values
    of F would carry the rounding of F itself, which exceeds the decrease of a late iteration in
    float32; here the rounding shrinks with the step.

    Args:
      old: Maps before, transposed.
      new: Maps after, transposed.
      VJ: ``V^T J^T``.
      gram: ``V^T V``.
      alpha: Weight of the l1 norm.
    """
    step = new - old
    smooth = gradient_of_maps((old + new) / 2, VJ, gram) * step
    return jnp.sum(smooth + alpha * (jnp.abs(new) - jnp.abs(old)))


def change_of_directions(
    old: Float[Array, "P d"],
    new: Float[Array, "P d"],
    UJ: Float[Array, "P d"],
    UU: Float[Array, "P P"],
    beta: float | Float[Array, ""],
) -> Float[Array, ""]:
    """``F(U, new) - F(U, old)``, from differences only, as :func:`change_of_maps`.

    Args:
      old: Directions before, transposed.
      new: Directions after, transposed.
      UJ: ``U^T J``.
      UU: ``U^T U``.
      beta: Weight of the redundancy term.
    """
    step, middle = new - old, (old + new) / 2
    smooth = jnp.sum(2 * (_matmul(UU, middle) - UJ) * step)
    half = _matmul(step, middle.T)  # The Gram matrix changes by half + half^T.
    total = _matmul(new, new.T) + _matmul(old, old.T)
    return smooth + beta * jnp.sum(off_diagonal((half + half.T) * total))
