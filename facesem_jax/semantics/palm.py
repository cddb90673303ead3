"""PALM for the sparse orthogonal factorisation: one compiled loop over Optax proximal steps.

The objective, its gradients and their Lipschitz constants are in ``objective``. PALM allows any
number of blocks, and small ones have small constants. U is updated a few columns at a time: one
constant for all of them, ``2 ||V^T V||_2``, is several times larger, and a sweep over blocks costs
the same n P^2 as one step on all of U. V is updated column by column: over the whole of V the
redundancy term is quartic, its curvature changes along the step, and the strongest map would
dictate the step of the weakest.

Inside, both factors are kept transposed, U^T (P, n) and V^T (P, d): a block of columns is then
contiguous, neither product with J transposes it, and under `jax.vmap` the products of all restarts
are one.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from facesem_jax.semantics import objective as F
from facesem_jax.semantics import proximal_gradient as pg
from facesem_jax.semantics.projections import project_unit_sphere
from facesem_jax.semantics.prox import soft_threshold

_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)

# The optimality condition costs a fifth of an iteration.
_CHECK_EVERY = 5

# Sweeps from U = 0 that make the first maps. Least-squares maps are a worse start: for nearly
# parallel directions they are huge and of opposite sign, and take ten iterations to shrink.
_START_SWEEPS = 10


class PalmResult(NamedTuple):
    """What :func:`solve` returns.

    Attributes:
      U: Maps (n, P).
      V: Unit columns (d, P).
      objective: The objective after each accepted iteration, in a buffer of ``max_iterations``;
        NaN beyond ``iterations``.
      initial_objective: The objective of the start.
      iterations: Number of accepted iterations.
      optimality: The relative proximal-gradient residual at the end, see :func:`optimality`.
      stalled: True where no plain step lowered the objective in this precision any more.
    """

    U: Float[Array, "n P"]
    V: Float[Array, "d P"]
    objective: Float[Array, " max_iterations"]
    initial_objective: Float[Array, ""]
    iterations: Int[Array, ""]
    optimality: Float[Array, ""]
    stalled: Bool[Array, ""]


class _Products(NamedTuple):
    """The products that a point's gradients share: ``V^T J^T, V^T V, U^T J, U^T U``."""

    VJ: Float[Array, "P n"]
    gram: Float[Array, "P P"]
    UJ: Float[Array, "P d"]
    UU: Float[Array, "P P"]


def _maps_products(J, U):
    return _matmul(U, J), _matmul(U, U.T)


def _directions_products(J, V):
    return _matmul(V, J.T), _matmul(V, V.T)


def _maps_step(alpha):
    return pg.proximal_gradient(lambda x, step: soft_threshold(x, alpha * step))


_DIRECTION_STEP = pg.proximal_gradient(lambda x, step: project_unit_sphere(x, axis=-1))


def _step(optimiser, gradient, x, lipschitz):
    updates, _ = optimiser.update(gradient, optimiser.init(x), x, lipschitz=lipschitz)
    return optax.apply_updates(x, updates)


def sweep_maps(
    U: Float[Array, "P n"],
    VJ: Float[Array, "P n"],
    gram: Float[Array, "P P"],
    alpha: Float[Array, ""],
    *,
    blocks: int = 8,
    sweeps: int = 1,
) -> Float[Array, "P n"]:
    """One proximal step on every block of maps in turn, each with its own Lipschitz constant.

    Args:
      U: Maps, transposed.
      VJ: ``V^T J^T``.
      gram: ``V^T V``.
      alpha: Weight of the l1 norm.
      blocks: Number of blocks; at least P makes every column one.
      sweeps: Sweeps over all blocks.

    Returns:
      The maps, transposed; the objective has not risen, in exact arithmetic.

    Source:
      Bolte, Sabach and Teboulle (2014), section 3.6 (PALM with several blocks); blocks of one:
      the closed-form column update of Mairal et al. (2010), algorithm 2, here with the l1 norm.
    """
    P, n = U.shape
    size = -(-P // min(blocks, P))
    count = -(-P // size)
    optimiser = _maps_step(alpha)

    def block(i, U):
        # The last block overlaps the one before it where P is no multiple of the size.
        p = jnp.minimum(i % count * size, P - size)
        rows = jax.lax.dynamic_slice(gram, (p, 0), (size, P))
        own = jax.lax.dynamic_slice(rows, (0, p), (size, size))
        target = jax.lax.dynamic_slice(VJ, (p, 0), (size, n))
        u = jax.lax.dynamic_slice(U, (p, 0), (size, n))
        u = _step(optimiser, F.gradient_of_maps(U, target, rows), u, F.lipschitz_of_maps(own))
        return jax.lax.dynamic_update_slice(U, u, (p, 0))

    return jax.lax.fori_loop(0, count * sweeps, block, U)


def sweep_directions(
    V: Float[Array, "P d"],
    UJ: Float[Array, "P d"],
    UU: Float[Array, "P P"],
    beta: Float[Array, ""],
) -> Float[Array, "P d"]:
    """One projected gradient step on every direction in turn, with its own Lipschitz constant.

    Args:
      V: Directions, transposed; unit rows.
      UJ: ``U^T J``.
      UU: ``U^T U``.
      beta: Weight of the redundancy term.

    Returns:
      The directions, transposed; the objective has not risen, in exact arithmetic.

    Source:
      Bolte, Sabach and Teboulle (2014), section 3.6; with beta = 0 the column update of Mairal et
      al. (2010), algorithm 2, on the sphere instead of the ball.
    """

    def direction(p, carry):
        V, gram = carry
        gradient = F.gradient_of_direction(p, V, UJ, UU, beta)
        v = _step(_DIRECTION_STEP, gradient, V[p], F.lipschitz_of_direction(p, gram, UU, beta))
        # Projecting once more keeps rounding in x + (v - x) from adding up over iterations.
        v = project_unit_sphere(v)
        V = V.at[p].set(v)
        row = _matmul(V, v)
        return V, gram.at[p].set(row).at[:, p].set(row)

    return jax.lax.fori_loop(0, V.shape[0], direction, (V, _matmul(V, V.T)))[0]


def optimality(
    U: Float[Array, "P n"],
    V: Float[Array, "P d"],
    at: _Products,
    alpha: Float[Array, ""],
    beta: Float[Array, ""],
) -> Float[Array, ""]:
    """Relative size of the proximal-gradient map: zero exactly at a critical point.

    The larger of ``||U - T_U(U)||_F / ||U||_F`` and ``||V - T_V(V)||_F / sqrt(P)``, where T is
    the plain step from the same point: on all of U at once, and on every direction.

    Args:
      U: Maps, transposed.
      V: Directions, transposed.
      at: The products at this point.
      alpha: Weight of the l1 norm.
      beta: Weight of the redundancy term.

    Source: Bolte, Sabach and Teboulle (2014), lemma 4 (distance to the subdifferential).
    """
    lipschitz = 2 * jnp.linalg.eigvalsh(at.gram)[-1] * F.MARGIN
    step_u = _step(_maps_step(alpha), F.gradient_of_maps(U, at.VJ, at.gram), U, lipschitz) - U
    curvature = jax.vmap(lambda p: F.lipschitz_of_direction(p, at.gram, at.UU, beta))
    gradient = F.gradient_of_directions(V, at.UJ, at.UU, at.gram, beta)
    lipschitz = curvature(jnp.arange(V.shape[0]))[:, None]
    step_v = _step(_DIRECTION_STEP, gradient, V, lipschitz) - V
    norm_u = jnp.linalg.norm(U)
    relative_u = jnp.linalg.norm(step_u) / jnp.where(norm_u > 0, norm_u, 1)
    return jnp.maximum(relative_u, jnp.linalg.norm(step_v) / jnp.sqrt(V.shape[0]))


class _Carry(NamedTuple):
    U: Array
    V: Array
    at: _Products
    momentum: pg.InertialState
    value: Array
    history: Array
    iterations: Array
    optimality: Array
    stalled: Array


@partial(jax.jit, static_argnames=("max_iterations", "blocks"))
def solve(
    J: Float[Array, "n d"],
    V: Float[Array, "d P"],
    alpha: float | Float[Array, ""],
    beta: float | Float[Array, ""],
    tolerance: float | Float[Array, ""] = 1e-4,
    *,
    max_iterations: int = 300,
    blocks: int = 8,
) -> PalmResult:
    """Minimises the objective from given directions by inertial PALM with a monotone safeguard.

    The first maps are nearly the exact sparse codes of the directions. One iteration extrapolates
    both factors, then takes :func:`sweep_maps` and :func:`sweep_directions`. The candidate is
    accepted only if it lowers the objective. Otherwise momentum restarts and the same step is
    taken without extrapolation, which cannot rise in exact arithmetic; if rounding makes even that
    rise, the iterate stays and the loop stops as ``stalled``. The change is computed from
    differences (``objective.change_of_maps``) and added to the objective of the start, so the
    accepted objectives never go up, as computed, in any precision. Optimality is tested every
    fifth iteration.

    A run under `jax.vmap` gives what it gives alone: where one is done, nothing of it changes
    while the others go on.

    Args:
      J: Scaled mean Jacobian (n, d). Rows of zeros keep U zero.
      V: Start of the directions (d, P); projected onto the sphere.
      alpha: Weight of the l1 norm, in the unit of J.
      beta: Weight of the redundancy term, in the unit of J squared.
      tolerance: Stop once :func:`optimality` is at most this.
      max_iterations: Length of the history buffer and most iterations taken.
      blocks: Blocks of columns of U per sweep. More blocks take fewer iterations, and smaller
        products: 8 is a fair middle for P from 32 to 128.

    Returns:
      A :class:`PalmResult`.

    Source:
      Bolte, Sabach and Teboulle (2014), algorithm PALM; Pock and Sabach (2016), iPALM, with one
      extrapolation per factor instead of per block, as Ang and Gillis (2019) do for non-negative
      factorisations; the restart is the function scheme of O'Donoghue and Candès (2015).
    """
    dtype = J.dtype
    alpha, beta = jnp.asarray(alpha, dtype), jnp.asarray(beta, dtype)
    sweep = partial(sweep_maps, alpha=alpha, blocks=blocks)

    def iterate(_, c: _Carry) -> _Carry:
        U, V = pg.extrapolate((c.U, c.V), c.momentum)
        V = project_unit_sphere(V, axis=-1)
        U = sweep(U, c.at.VJ, c.at.gram)
        UJ, UU = _maps_products(J, U)
        V = sweep_directions(V, UJ, UU, beta)
        change = F.change_of_maps(c.U, U, c.at.VJ, c.at.gram, alpha)
        change = change + F.change_of_directions(c.V, V, UJ, UU, beta)
        value = c.value + change
        at = _Products(*_directions_products(J, V), UJ, UU)
        active = (c.iterations < max_iterations) & ~c.stalled
        accept = active & (change < 0)
        accepted = _Carry(
            U, V, at, pg.InertialState((c.U, c.V), c.momentum.count + 1), value,
            c.history.at[c.iterations].set(value), c.iterations + 1, c.optimality, c.stalled,
        )  # fmt: skip
        # The next trip takes the plain step from the same iterate; where this one was plain
        # already, there is nothing left to try.
        refused = c._replace(
            momentum=pg.restart(c.momentum), stalled=c.stalled | (active & (c.momentum.count == 0))
        )
        return jax.tree.map(partial(jnp.where, accept), accepted, refused)

    def body(c: _Carry) -> _Carry:
        c = jax.lax.fori_loop(0, _CHECK_EVERY, iterate, c)
        return c._replace(optimality=optimality(c.U, c.V, c.at, alpha, beta))

    def proceed(c: _Carry):
        return (c.iterations < max_iterations) & (c.optimality > tolerance) & ~c.stalled

    V = project_unit_sphere(V).T
    VJ, gram = _directions_products(J, V)
    U = sweep(jnp.zeros_like(VJ), VJ, gram, sweeps=_START_SWEEPS)
    initial = F.objective(J, U.T, V.T, alpha, beta)
    start = _Carry(
        U, V, _Products(VJ, gram, *_maps_products(J, U)),
        pg.InertialState((U, V), jnp.zeros((), jnp.int32)), initial,
        jnp.full((max_iterations,), jnp.nan, dtype), jnp.zeros((), jnp.int32),
        jnp.full((), jnp.inf, dtype), jnp.zeros((), bool),
    )  # fmt: skip
    end = jax.lax.while_loop(proceed, body, start)
    return PalmResult(
        end.U.T, end.V.T, end.history, initial, end.iterations, end.optimality, end.stalled
    )
