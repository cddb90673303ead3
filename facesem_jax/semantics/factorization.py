"""The sparse orthogonal factorisation of the mean Jacobian: restarts around PALM."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Array, Float

from facesem_jax.checks import check_floating, check_seed, check_shape
from facesem_jax.errors import FacesemError
from facesem_jax.semantics import palm, row_sharding, starts


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
    sharding: NamedSharding | None = None,
    side_by_side: bool | None = None,
) -> Factorization:
    r"""Factorises the scaled mean Jacobian into sparse maps and unit directions.

    .. math::
      \min_{U, V} \|J - U V^\top\|_F^2 + \alpha \|U\|_1
      + \beta \sum_{i \ne j} (v_i^\top v_j)^2 \quad \text{s.t. } \|v_p\|_2 = 1

    The problem is not convex; the restart with the lowest objective is kept. The default weights
    are meant for J scaled as ``scaling.block_scale`` does, ``||J||_F^2 = d``. A target sparsity
    or explained variance can be given instead of alpha: see ``alpha_search.alpha_for``.

    All restarts, their starts and the choice of the best are one compiled program: nothing
    travels between host and device from the checks of the arguments to the result.

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
      sharding: Splits J and U by rows over several devices, see ``row_sharding.rows_over``. A J
        that lies split over devices by rows already needs none; its rows of zeros are then kept,
        since leaving them out would move the others between devices. One that is split by columns
        alone is gathered on one device.
      side_by_side: Whether restarts run as a batch (`jax.vmap`) or one after the other
        (`jax.lax.map`); the results are the same up to rounding. A batch goes on until the slowest
        restart is done. By default one after the other on a CPU, whose cores one restart keeps
        busy, and a batch elsewhere.

    Returns:
      A :class:`Factorization`, components in no particular order.

    Raises:
      FacesemError: See :func:`check_problem`; also on restarts or max_iterations below 1, a seed or
        tolerance out of range, a start that is not finite, or a sharding that does not split rows.

    Source:
      Zheng et al. (CVPR 2021), local representations; the solver is ``palm.solve``.

    Example:
      >>> U = jnp.zeros((30, 2)).at[:5, 0].set(1.0).at[20:25, 1].set(1.0)
      >>> J = U @ jnp.array([[0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
      >>> found = factorize(J, 2, alpha=0.01, beta=0.0)
      >>> bool(jnp.linalg.norm(found.U @ found.V.T - J) < 0.05), int(jnp.sum(found.U != 0))
      (True, 10)
    """
    if jnp.result_type(J) in (jnp.float16, jnp.bfloat16):
        J = jnp.asarray(J, jnp.float32)  # XLA decomposes no matrix of 16 bits.
    check_problem(J, num_components, alpha, beta)
    check_seed(seed)
    if not tolerance >= 0:
        raise FacesemError(f"tolerance is {tolerance}; expected 0 or more.")
    for name, count in (("restarts", restarts), ("max_iterations", max_iterations)):
        if count < 1:
            raise FacesemError(f"{name} is {count}; expected at least 1.")
    n, d = J.shape
    if initial_directions is not None:
        check_shape("initial_directions", initial_directions, (d, num_components))
        if not bool(jnp.isfinite(initial_directions).all()):
            raise FacesemError("initial_directions holds NaN or infinite values.")
        restarts = 1
    J, rows, sharding = _place(J, sharding)
    if side_by_side is None:
        side_by_side = jax.default_backend() != "cpu"

    result, best, finals = _solve_all(
        # Always the same types: another one, such as a NumPy scalar, would compile once more.
        J, initial_directions, np.uint32(seed), float(alpha), float(beta), float(tolerance),
        num_components=num_components, restarts=restarts, max_iterations=max_iterations,
        side_by_side=side_by_side, sharding=sharding,
    )  # fmt: skip
    U = result.U
    if rows is not None:
        U = row_sharding.restore_rows(U, rows, n, sharding)
    small, best, finals = jax.device_get((result._replace(U=None, V=None), best, finals))
    iterations = int(small.iterations)
    converged = bool(small.optimality <= tolerance)
    reason = "tolerance" if converged else "precision" if small.stalled else "max_iterations"
    return Factorization(
        U=U,
        V=result.V,
        objective=small.objective[:iterations],
        initial_objective=float(small.initial_objective),
        iterations=iterations,
        optimality=float(small.optimality),
        converged=converged,
        stop_reason=reason,
        restart=int(best),
        restart_objectives=finals,
    )


def _place(J, sharding):
    """J without its rows of zeros, on its devices; the rows kept, None for all; the sharding."""
    already = row_sharding.sharding_of(J)
    if already is not None and sharding is None:
        return jax.device_put(J, already), None, already
    rows = np.flatnonzero(np.asarray(jnp.any(J != 0, axis=1)))
    if sharding is None:
        if isinstance(J, jax.Array) and len(J.sharding.device_set) > 1:
            J = np.asarray(J)  # Split by columns, or copied to all: one device solves it.
        J = jnp.asarray(J)
        return (J, None, None) if rows.size == J.shape[0] else (J[rows], rows, None)
    sharding = row_sharding.rows_over(sharding)
    return row_sharding.place_rows(np.asarray(J)[rows], sharding), rows, sharding


@partial(
    jax.jit,
    static_argnames=("num_components", "restarts", "max_iterations", "side_by_side", "sharding"),
)
def _solve_all(
    J, V, seed, alpha, beta, tolerance,
    *, num_components, restarts, max_iterations, side_by_side, sharding,
):  # fmt: skip
    """The best of all restarts, its number, and the final objective of each."""

    def solve(V):
        return palm.solve(J, V, alpha, beta, tolerance, max_iterations=max_iterations)

    if V is None:
        V = starts.start_directions(J, num_components, seed, restarts)
    else:
        V = jnp.asarray(V, J.dtype)[None]
    results = jax.vmap(solve)(V) if side_by_side else jax.lax.map(solve, V)
    last = jnp.maximum(results.iterations - 1, 0)[:, None]
    reached = jnp.take_along_axis(results.objective, last, axis=1)[:, 0]
    finals = jnp.where(results.iterations > 0, reached, results.initial_objective)
    best = jnp.argmin(jnp.where(jnp.isnan(finals), jnp.inf, finals))
    result = jax.tree.map(lambda x: x[best], results)
    if sharding is not None:
        result = result._replace(U=jax.lax.with_sharding_constraint(result.U, sharding))
    return result, best, finals
