"""The sparse orthogonal factorisation of the mean Jacobian: restarts around PALM."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facesem_jax.checks import check_floating, check_shape
from facesem_jax.errors import FacesemError
from facesem_jax.semantics import palm, starts


class Factorization(NamedTuple):
    """A factorisation ``J ~ U V^T``.

    Attributes:
      U: Sparse maps (n, P), in the unit of J.
      V: Latent directions (d, P), unit columns. A column whose map is all zero ("dead") is
        arbitrary.
      objective: The objective after each accepted iteration (iterations,); never rises.
      initial_objective: The objective at the start of the kept restart.
      iterations: Accepted iterations of the kept restart.
      optimality: Relative proximal-gradient residual at the end, see ``palm.optimality``.
      converged: Whether ``optimality`` reached the tolerance.
      stop_reason: "tolerance", "max_iterations", or "precision" (no step lowered the objective
        in this floating-point precision any more).
      restart: Number of the restart kept; 0 is the varimax start.
      restart_objectives: Final objective of every restart (restarts,).
    """

    U: Float[Array, "n P"]
    V: Float[Array, "d P"]
    objective: Float[np.ndarray, " iterations"]
    initial_objective: float
    iterations: int
    optimality: float
    converged: bool
    stop_reason: str
    restart: int
    restart_objectives: Float[np.ndarray, " restarts"]


def check_problem(J, num_components, alpha, beta) -> None:
    """Raises unless the factorisation is well posed.

    Raises:
      FacesemError: On a J that is not a finite, non-zero floating-point matrix, a number of
        components not in 1 to min(n, d), or a negative or non-finite weight.
    """
    check_shape("J", J, (None, None))
    check_floating("J", J)
    check_settings(J.shape, num_components, alpha, beta)
    energy = float(jnp.sum(J**2))
    if not np.isfinite(energy):
        raise FacesemError(
            "J has NaN or infinite entries (or overflows when squared); "
            "check the decomposer's outputs and the scale."
        )
    if energy == 0:
        raise FacesemError("J is zero everywhere: the outputs do not depend on the latent.")


def check_settings(shape, num_components, alpha, beta) -> None:
    """The part of `check_problem` that needs J's shape alone, before there is a J.

    Args:
      shape: (n, d), outputs and latent dimensions.
      num_components: P.
      alpha: Weight of the l1 norm.
      beta: Weight of the redundancy term.

    Raises:
      FacesemError: On a number of components not in 1 to min(n, d), or a negative or non-finite
        weight.
    """
    n, d = shape
    if num_components < 1:
        raise FacesemError(f"num_components is {num_components}; expected at least 1.")
    if num_components > min(n, d):
        what = f"w_dim = {d}" if d <= n else f"the number of pixel outputs = {n}"
        raise FacesemError(
            f"num_components is {num_components}, more than {what}: that many unit directions "
            "cannot be mutually orthogonal, so some are redundant by construction. "
            f"Ask for at most {min(n, d)}; {min(n, d, 32)} is a good start."
        )
    for name, weight in (("alpha", alpha), ("beta", beta)):
        if not (np.isfinite(weight) and weight >= 0):
            raise FacesemError(f"{name} is {weight}; expected a finite number, zero or more.")


def factorize(
    J: Float[Array, "n d"],
    num_components: int,
    alpha: float = 0.02,
    beta: float = 0.01,
    seed: int = 0,
    *,
    restarts: int = 3,
    max_iterations: int = 500,
    tolerance: float = 1e-4,
    initial_directions: Float[Array, "d P"] | None = None,
) -> Factorization:
    r"""Factorises the scaled mean Jacobian into sparse maps and unit directions.

    .. math::
      \min_{U, V} \|J - U V^\top\|_F^2 + \alpha \|U\|_1
      + \beta \sum_{i \ne j} (v_i^\top v_j)^2 \quad \text{s.t. } \|v_p\|_2 = 1

    The problem is not convex; the restart with the lowest objective is kept. The default weights
    are meant for J scaled as ``scaling.block_scale`` does, ``||J||_F^2 = d``. A target sparsity
    or explained variance can be given instead of alpha: see ``alpha_search.alpha_for``.

    Args:
      J: Scaled mean Jacobian (n, d). Rows that are all zero (masked pixels) stay zero in U and
        cost nothing.
      num_components: P, 1 to min(n, d).
      alpha: Weight of the l1 norm, in the unit of J.
      beta: Weight of the redundancy term, in the unit of J squared.
      seed: Seeds every start but the first.
      restarts: Number of starts: the varimax start, then seeded ones (``starts``).
      max_iterations: Most iterations of each restart.
      tolerance: Stop at this relative proximal-gradient residual.
      initial_directions: Start from these (d, P) alone instead of the restarts.

    Returns:
      A :class:`Factorization`, components in no particular order.

    Raises:
      FacesemError: See :func:`check_problem`; also on restarts or max_iterations below 1.

    Source:
      Zheng et al. (CVPR 2021), local representations; the solver is ``palm.solve``.
    """
    check_problem(J, num_components, alpha, beta)
    for name, count in (("restarts", restarts), ("max_iterations", max_iterations)):
        if count < 1:
            raise FacesemError(f"{name} is {count}; expected at least 1.")
    J = jnp.asarray(J)
    n = J.shape[0]
    if initial_directions is not None:
        check_shape("initial_directions", initial_directions, (J.shape[1], num_components))
        restarts = 1
    rows = np.flatnonzero(np.asarray(jnp.any(J != 0, axis=1)))
    if rows.size < n:
        J = J[rows]

    best, best_restart, finals = None, 0, []
    for restart in range(restarts):
        V = initial_directions
        if V is None:
            V = starts.start_directions(J, num_components, seed, restart)
        U = starts.least_squares_maps(J, V)
        result = palm.solve(J, U, V, alpha, beta, tolerance, max_iterations=max_iterations)
        k = int(result.iterations)
        finals.append(float(result.objective[k - 1] if k else result.initial_objective))
        if best is None or finals[-1] < finals[best_restart]:
            best, best_restart = result, restart

    U = best.U if rows.size == n else jnp.zeros((n, num_components), J.dtype).at[rows].set(best.U)
    converged = bool(best.optimality <= tolerance)
    reason = "tolerance" if converged else "precision" if best.stalled else "max_iterations"
    return Factorization(
        U=U,
        V=best.V,
        objective=np.asarray(best.objective)[: int(best.iterations)],
        initial_objective=float(best.initial_objective),
        iterations=int(best.iterations),
        optimality=float(best.optimality),
        converged=converged,
        stop_reason=reason,
        restart=best_restart,
        restart_objectives=np.asarray(finals),
    )
