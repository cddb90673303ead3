"""Proximal gradient steps and inertia as Optax gradient transformations.

``optax.apply_updates(params, updates)`` after :func:`proximal_gradient` gives
``prox(params - gradient / lipschitz)``; :func:`inertial` wraps it so that the step starts from the
extrapolated point of iPALM. Alternating two such optimisers over two blocks of parameters, each
with the Lipschitz constant of its own partial gradient, *is* PALM.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from facesem_jax.errors import FacesemError

Prox = Callable[[Any, Any], Any]
"""``prox(leaf, step)``: the proximal operator of ``step`` times a function."""


def scale_by_lipschitz() -> optax.GradientTransformationExtraArgs:
    """Divides the gradient by a Lipschitz constant given at every update: ``-g / L``.

    The update takes the keyword ``lipschitz``: a scalar, or an array that broadcasts against
    every leaf (a diagonal majoriser of the Hessian).
    """

    def update(updates, state, params=None, *, lipschitz, **extra_args):
        del params, extra_args
        return jax.tree.map(lambda g: -g / lipschitz, updates), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def apply_prox(prox: Prox) -> optax.GradientTransformationExtraArgs:
    """Turns a step ``u`` into ``prox(params + u, 1 / L) - params``.

    Place it last in a chain. Applying the update gives the prox's output up to one rounding;
    exact zeros of the output are exact, since ``x + (0 - x) = 0`` in floating point.

    Args:
      prox: ``prox(leaf, step)`` with ``step = 1 / lipschitz``; a projection ignores the step.
    """

    def update(updates, state, params=None, *, lipschitz, **extra_args):
        del extra_args
        if params is None:
            raise FacesemError("apply_prox needs params; call update(gradient, state, params, ...)")
        step = 1 / jnp.asarray(lipschitz)
        return jax.tree.map(lambda u, x: prox(x + u, step) - x, updates, params), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def proximal_gradient(prox: Prox) -> optax.GradientTransformationExtraArgs:
    r"""The proximal gradient step with a Lipschitz constant given at every update.

    .. math::
      x^+ = \mathrm{prox}_{g / L}\big(x - \tfrac1L \nabla f(x)\big)

    Where L bounds the curvature of f between x and x^+, ``f + g`` does not rise (the descent
    lemma), whether or not g is convex.

    Args:
      prox: The proximal operator of g, ``prox(leaf, step)``.

    Returns:
      A transformation whose ``update`` takes the keyword ``lipschitz``.

    Source:
      Bolte, Sabach and Teboulle (2014), equations 2.6 and 3.2, lemma 2.
    """
    return optax.chain(scale_by_lipschitz(), apply_prox(prox))


class InertialState(NamedTuple):
    """State of :func:`inertial`.

    Attributes:
      previous: The parameters before the last update.
      count: Updates since the start or the last restart; sets the extrapolation weight.
      inner: The wrapped transformation's state.
    """

    previous: chex.ArrayTree
    count: chex.Array
    inner: chex.ArrayTree


def nesterov_weight(count: chex.Array) -> chex.Array:
    """The extrapolation weight ``k / (k + 3)``: none at first, towards 1 later.

    Source: Pock and Sabach (2016), section 5.1 (their ``(k - 1) / (k + 2)``, k counted from 1).
    """
    return count / (count + 3)


def extrapolate(params, state: InertialState, weight=nesterov_weight):
    """The point ``y = x_k + weight (x_k - x_{k-1})`` where the gradient is to be taken."""
    w = weight(state.count)
    return jax.tree.map(lambda x, p: x + w.astype(x.dtype) * (x - p), params, state.previous)


def restart(state: InertialState) -> InertialState:
    """Forgets the momentum: the next step is the plain one from the current point."""
    return state._replace(count=jnp.zeros_like(state.count))


def inertial(
    inner: optax.GradientTransformationExtraArgs, weight=nesterov_weight
) -> optax.GradientTransformationExtraArgs:
    """Adds inertia: the wrapped step is taken from the extrapolated point.

    The gradient handed to ``update`` must be that at ``extrapolate(params, state, weight)``;
    ``params`` stays the current iterate. iPALM allows two extrapolation points (one for the
    gradient, one for the proximal centre); here they are the same.

    Args:
      inner: A step such as :func:`proximal_gradient`.
      weight: Extrapolation weight in [0, 1] as a function of the count.

    Returns:
      A transformation with :class:`InertialState`.

    Source:
      Pock and Sabach (2016), algorithm iPALM with ``alpha_k = beta_k``.
    """
    inner = optax.with_extra_args_support(inner)

    def init(params):
        return InertialState(params, jnp.zeros((), jnp.int32), inner.init(params))

    def update(updates, state, params=None, **extra_args):
        if params is None:
            raise FacesemError("inertial needs params; call update(gradient, state, params, ...)")
        start = extrapolate(params, state, weight)
        updates, inner_state = inner.update(updates, state.inner, start, **extra_args)
        landed = optax.apply_updates(start, updates)
        updates = jax.tree.map(lambda new, x: new - x, landed, params)
        return updates, InertialState(params, state.count + 1, inner_state)

    return optax.GradientTransformationExtraArgs(init, update)
