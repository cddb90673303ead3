r"""PALM for the sparse orthogonal factorisation: one compiled loop over two Optax optimisers.

The objective, with J (n, d), U (n, P), V (d, P), is

.. math::
  F(U, V) = \|J - U V^\top\|_F^2 + \alpha \|U\|_1 + \beta \sum_{i \ne j} (v_i^\top v_j)^2,
  \qquad \|v_p\|_2 = 1.

Blocks and their curvature. With V fixed the smooth part has the Hessian ``2 V^T V`` in every row of
U, so ``L_U = 2 ||V^T V||_2``. V is updated one column at a time (PALM allows any number of blocks):
with the other columns fixed the redundancy term is the quadratic
``2 beta v_p^T (sum_{j != p} v_j v_j^T) v_p``, so the Hessian in ``v_p`` is
``2 ||u_p||^2 I + 4 beta V_{-p} V_{-p}^T``. Over the whole of V at once the term is quartic: its
Hessian at V is bounded by ``8 ||V||_2^2 + 4 ||offdiag(V^T V)||_2``, which changes along the step,
and one constant for all columns lets the strongest map dictate the step of the weakest. Columns
give a bound that is exact, and a step that is the block's minimiser where beta = 0.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from facesem_jax.semantics import proximal_gradient as pg
from facesem_jax.semantics.projections import project_unit_sphere
from facesem_jax.semantics.prox import soft_threshold

_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)

# The eigenvalues and norms behind the Lipschitz constants carry a few roundings; without this
# margin an exact constant can come out a hair too small for the descent lemma.
_MARGIN = 1 + 1e-5


class PalmResult(NamedTuple):
    """What :func:`solve` returns.

    Attributes:
      U: Maps (n, P).
      V: Unit columns (d, P).
      objective: The objective after each accepted iteration, in a buffer of ``max_iterations``;
        NaN beyond ``iterations``.
      initial_objective: The objective of the start (after projecting V).
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


def redundancy(V: Float[Array, "d P"]) -> Float[Array, ""]:
    """The redundancy term ``sum_{i != j} (v_i . v_j)^2``; each pair counts twice."""
    return jnp.sum(_off_diagonal(_matmul(V.T, V)) ** 2)


def objective(J, U, V, alpha, beta) -> Float[Array, ""]:
    """The objective F(U, V) of this module.

    The residual is formed in full: ``||J||^2 - 2 <J V, U> + tr(U^T U V^T V)`` would save a product
    but cancels, and in float32 its error exceeds the decrease of a late iteration.

    Args:
      J: Scaled mean Jacobian (n, d).
      U: Maps (n, P).
      V: Directions (d, P).
      alpha: Weight of the l1 norm, in the unit of J.
      beta: Weight of the redundancy term, in the unit of J squared.
    """
    residual = J - _matmul(U, V.T)
    return jnp.sum(residual**2) + alpha * jnp.sum(jnp.abs(U)) + beta * redundancy(V)


def _off_diagonal(gram):
    return gram * (1 - jnp.eye(gram.shape[0], dtype=gram.dtype))


def _gradient_maps(U, JV, gram):
    """Partial gradient in U: ``2 (U V^T V - J V)``."""
    return 2 * (_matmul(U, gram) - JV)


def _lipschitz_maps(gram):
    return 2 * jnp.linalg.eigvalsh(gram)[-1] * _MARGIN


def _gradient_column(p, v, Vt, JtU, UtU, beta):
    """Partial gradient in column p at ``v``, the other columns being rows of ``Vt``."""
    others = jnp.arange(Vt.shape[0]) != p
    fit = _matmul(jnp.where(others, UtU[p], 0), Vt) + UtU[p, p] * v - JtU[:, p]
    overlap = jnp.where(others, _matmul(Vt, v), 0)
    return 2 * fit + 4 * beta * _matmul(overlap, Vt)


def _lipschitz_column(p, gram, UtU, beta):
    """``2 ||u_p||^2 + 4 beta ||V_{-p} V_{-p}^T||_2``, the norm bounded through the Gram matrix.

    The spectral norm of a symmetric matrix is at most its largest absolute row sum and at most
    its Frobenius norm; both are cheaper than eigenvalues once per column.
    """
    others = jnp.arange(gram.shape[0]) != p
    rest = jnp.where(others[:, None] & others[None, :], jnp.abs(gram), 0)
    bound = jnp.minimum(jnp.max(jnp.sum(rest, axis=0)), jnp.sqrt(jnp.sum(rest**2)))
    lipschitz = (2 * UtU[p, p] + 4 * beta * bound) * _MARGIN
    # A dead column (u_p = 0) with beta = 0 has no curvature and no gradient: any step will do.
    return jnp.where(lipschitz > 0, lipschitz, 1)


def optimality(U, V, JV, JtU, alpha, beta) -> Float[Array, ""]:
    """Relative size of the proximal-gradient map: zero exactly at a critical point.

    The larger of ``||U - T_U(U)||_F / ||U||_F`` and ``||V - T_V(V)||_F / sqrt(P)``, where T is
    the plain step of each block from the same point.

    Source: Bolte, Sabach and Teboulle (2014), lemma 4 (distance to the subdifferential).
    """
    gram = _matmul(V.T, V)
    lipschitz = _lipschitz_maps(gram)
    step_u = soft_threshold(U - _gradient_maps(U, JV, gram) / lipschitz, alpha / lipschitz) - U
    UtU = _matmul(U.T, U)
    columns = jnp.arange(V.shape[1])
    curvature = jax.vmap(lambda p: _lipschitz_column(p, gram, UtU, beta))(columns)
    gradient = 2 * (_matmul(V, UtU) - JtU) + 4 * beta * _matmul(V, _off_diagonal(gram))
    step_v = project_unit_sphere(V - gradient / curvature) - V
    norm_u = jnp.linalg.norm(U)
    relative_u = jnp.linalg.norm(step_u) / jnp.where(norm_u > 0, norm_u, 1)
    return jnp.maximum(relative_u, jnp.linalg.norm(step_v) / jnp.sqrt(V.shape[1]))


class _Carry(NamedTuple):
    U: Array
    V: Array
    JV: Array
    state_u: pg.InertialState
    state_v: pg.InertialState
    value: Array
    history: Array
    iterations: Array
    optimality: Array
    stalled: Array


@partial(jax.jit, static_argnames=("max_iterations", "inner_steps"))
def solve(
    J: Float[Array, "n d"],
    U: Float[Array, "n P"],
    V: Float[Array, "d P"],
    alpha: float | Float[Array, ""],
    beta: float | Float[Array, ""],
    tolerance: float | Float[Array, ""] = 1e-4,
    *,
    max_iterations: int = 300,
    inner_steps: int = 5,
) -> PalmResult:
    """Minimises the objective from a start by inertial PALM with a monotone safeguard.

    One iteration takes ``inner_steps`` proximal steps on U (the first from the extrapolated
    point; they cost n P^2 each against the n d P of the products with J, which they share) and
    one sweep over the columns of V. The candidate is accepted only if its objective is not above
    the current one. Otherwise momentum restarts and the same step is taken without
    extrapolation, which cannot rise in exact arithmetic; if rounding makes even that rise, the
    iterate stays and the loop stops as ``stalled``. The accepted objectives therefore never go
    up, as computed, in any precision.

    Args:
      J: Scaled mean Jacobian (n, d).
      U: Start of the maps (n, P).
      V: Start of the directions (d, P); projected onto the sphere.
      alpha: Weight of the l1 norm, in the unit of J.
      beta: Weight of the redundancy term, in the unit of J squared.
      tolerance: Stop once :func:`optimality` is at most this.
      max_iterations: Length of the history buffer and most iterations taken.
      inner_steps: Proximal steps on U per iteration.

    Returns:
      A :class:`PalmResult`.

    Source:
      Bolte, Sabach and Teboulle (2014), algorithm PALM; Pock and Sabach (2016), iPALM;
      the restart is the function scheme of O'Donoghue and Candès (2015).
    """
    dtype = J.dtype
    alpha, beta = jnp.asarray(alpha, dtype), jnp.asarray(beta, dtype)
    plain_u = pg.proximal_gradient(lambda x, step: soft_threshold(x, alpha * step))
    maps_step = pg.inertial(plain_u)
    column_step = pg.inertial(pg.proximal_gradient(lambda x, step: project_unit_sphere(x)))

    def update_maps(U, state, JV, gram):
        lipschitz = _lipschitz_maps(gram)
        gradient = _gradient_maps(pg.extrapolate(U, state), JV, gram)
        updates, state = maps_step.update(gradient, state, U, lipschitz=lipschitz)
        U = optax.apply_updates(U, updates)

        def inner(_, U):
            updates, _ = plain_u.update(
                _gradient_maps(U, JV, gram), plain_u.init(U), U, lipschitz=lipschitz
            )
            return optax.apply_updates(U, updates)

        return jax.lax.fori_loop(1, inner_steps, inner, U), state

    def update_directions(V, state, JtU, UtU, gram):
        def column(p, carry):
            Vt, gram = carry
            own = state._replace(previous=state.previous[:, p])
            gradient = _gradient_column(p, pg.extrapolate(Vt[p], own), Vt, JtU, UtU, beta)
            lipschitz = _lipschitz_column(p, gram, UtU, beta)
            updates, _ = column_step.update(gradient, own, Vt[p], lipschitz=lipschitz)
            # Projecting once more keeps rounding in x + (v - x) from adding up over iterations.
            v = project_unit_sphere(optax.apply_updates(Vt[p], updates))
            Vt = Vt.at[p].set(v)
            row = _matmul(Vt, v)
            return Vt, gram.at[p].set(row).at[:, p].set(row)

        Vt, _ = jax.lax.fori_loop(0, V.shape[1], column, (V.T, gram))
        return Vt.T, state._replace(previous=V, count=state.count + 1)

    def body(c: _Carry) -> _Carry:
        gram = _matmul(c.V.T, c.V)
        U, state_u = update_maps(c.U, c.state_u, c.JV, gram)
        JtU, UtU = _matmul(J.T, U), _matmul(U.T, U)
        V, state_v = update_directions(c.V, c.state_v, JtU, UtU, gram)
        value = objective(J, U, V, alpha, beta)

        def accept():
            JV = _matmul(J, V)
            return _Carry(
                U, V, JV, state_u, state_v, value,
                c.history.at[c.iterations].set(value),
                c.iterations + 1,
                optimality(U, V, JV, JtU, alpha, beta),
                c.stalled,
            )  # fmt: skip

        def refuse():
            # The next trip takes the plain step from the same iterate; where this one was plain
            # already, there is nothing left to try.
            return c._replace(
                state_u=pg.restart(c.state_u),
                state_v=pg.restart(c.state_v),
                stalled=c.state_u.count == 0,
            )

        return jax.lax.cond(value <= c.value, accept, refuse)

    def proceed(c: _Carry):
        return (c.iterations < max_iterations) & (c.optimality > tolerance) & ~c.stalled

    V = project_unit_sphere(V)
    initial = objective(J, U, V, alpha, beta)
    start = _Carry(
        U, V, _matmul(J, V), maps_step.init(U), column_step.init(V), initial,
        jnp.full((max_iterations,), jnp.nan, dtype), jnp.zeros((), jnp.int32),
        jnp.full((), jnp.inf, dtype), jnp.zeros((), bool),
    )  # fmt: skip
    end = jax.lax.while_loop(proceed, body, start)
    return PalmResult(
        end.U, end.V, end.history, initial, end.iterations, end.optimality, end.stalled
    )
