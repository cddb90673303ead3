"""Alpha from a target a person can name: a share of zeros, or of explained variance."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facesem_jax.errors import FacesemError
from facesem_jax.semantics import components
from facesem_jax.semantics.factorization import Factorization, check_problem, factorize


class AlphaChoice(NamedTuple):
    """The outcome of :func:`alpha_for`.

    Attributes:
      alpha: Weight of the l1 norm, in the unit of J.
      achieved: Sparsity or explained variance at that alpha, whichever was the target.
      reached: Whether ``achieved`` is within the tolerance of the target.
      factorization: The factorisation at that alpha, so that it need not be solved again.
      tried: Every (alpha, value) evaluated, in order.
    """

    alpha: float
    achieved: float
    reached: bool
    factorization: Factorization
    tried: list[tuple[float, float]]


def largest_alpha(J: Float[Array, "n d"]) -> float:
    """An alpha at and above which U = 0 is optimal whatever V: ``2 max_i ||J_i||_2``.

    With U = 0 the gradient in ``u_ip`` is ``-2 J_i . v_p``, at most ``2 ||J_i||`` in size for a
    unit ``v_p``, and soft-thresholding keeps zero where alpha is no less.
    """
    return float(2 * jnp.sqrt(jnp.max(jnp.sum(J**2, axis=1))))


def alpha_for(
    J: Float[Array, "n d"],
    num_components: int,
    *,
    target_sparsity: float | None = None,
    target_explained_variance: float | None = None,
    beta: float = 0.01,
    seed: int = 0,
    tolerance: float = 0.005,
    max_evaluations: int = 12,
    restarts: int = 3,
    max_iterations: int = 300,
) -> AlphaChoice:
    """Finds the alpha whose factorisation has the sparsity or explained variance asked for.

    Bisection on log alpha. The first evaluation runs all restarts; later ones start from the
    directions found at the nearest smaller alpha, which has more live components: a component
    that died at a larger alpha seldom comes back.

    Args:
      J: Scaled mean Jacobian (n, d).
      num_components: P.
      target_sparsity: Share of exact zeros in U, over the rows of J that are not all zero;
        between 0 and 1. Give this or the next.
      target_explained_variance: ``1 - ||J - U V^T||_F^2 / ||J||_F^2``; between 0 and 1.
      beta: Weight of the redundancy term, in the unit of J squared.
      seed: Seeds the restarts.
      tolerance: Absolute distance to the target at which to stop.
      max_evaluations: Most factorisations solved.
      restarts: Restarts of the first evaluation.
      max_iterations: Most iterations of each factorisation.

    Returns:
      An :class:`AlphaChoice` with the evaluation nearest the target.

    Raises:
      FacesemError: Unless exactly one target is given, in (0, 1), or as ``factorize`` does.

    Example:
      >>> J = jax.random.normal(jax.random.key(0), (60, 8))
      >>> choice = alpha_for(J, 4, target_sparsity=0.5, tolerance=0.02)
      >>> choice.reached, abs(choice.achieved - 0.5) < 0.02
      (True, True)
    """
    if (target_sparsity is None) == (target_explained_variance is None):
        raise FacesemError("Give exactly one of target_sparsity and target_explained_variance.")
    wants_sparsity = target_sparsity is not None
    target = target_sparsity if wants_sparsity else target_explained_variance
    if not 0 < target < 1:
        name = "target_sparsity" if wants_sparsity else "target_explained_variance"
        raise FacesemError(f"{name} is {target}; expected a share between 0 and 1.")
    check_problem(J, num_components, 0.0, beta)
    unmasked = np.asarray(jnp.any(J != 0, axis=1))

    high = largest_alpha(J)
    low = high * 1e-5
    alpha = float(np.sqrt(low * high))
    solved: list[tuple[float, float, Factorization]] = []
    if max_evaluations < 1:
        raise FacesemError(f"max_evaluations is {max_evaluations}; expected at least 1.")
    for _ in range(max_evaluations):
        denser = [s for s in solved if s[0] < alpha]
        warm = max(denser, key=lambda s: s[0])[2].V if denser else None
        result = factorize(
            J, num_components, alpha, beta, seed,
            restarts=restarts if not solved else 1,
            max_iterations=max_iterations,
            initial_directions=warm,
        )  # fmt: skip
        if wants_sparsity:
            value = components.sparsity(result.U, unmasked)
        else:
            value = components.explained_variance(J, result.U, result.V)
        solved.append((alpha, value, result))
        if abs(value - target) <= tolerance:
            break
        # Sparsity grows with alpha, explained variance falls.
        if (value < target) == wants_sparsity:
            low = alpha
        else:
            high = alpha
        alpha = float(np.sqrt(low * high))
    alpha, value, result = min(solved, key=lambda s: abs(s[1] - target))
    return AlphaChoice(
        alpha, value, abs(value - target) <= tolerance, result, [s[:2] for s in solved]
    )
