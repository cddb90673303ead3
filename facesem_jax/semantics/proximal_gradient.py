"""Proximal gradient steps as Optax gradient transformations, and the inertia of iPALM.

``optax.apply_updates(params, updates)`` after :func:`proximal_gradient` gives
``prox(params - gradient / lipschitz)``. Alternating such optimisers over blocks of parameters, each
with the Lipschitz constant of its own partial gradient, *is* PALM; starting them from
:func:`extrapolate` makes it iPALM.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

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
    """What inertia remembers.

    Attributes:
      previous: The parameters before the last update.
      count: Updates since the start or the last restart; sets the extrapolation weight.
    """

    previous: PyTree[Array]
    count: Array


def nesterov_weight(count: Array) -> Array:
    """The extrapolation weight ``k / (k + 3)``: none at first, towards 1 later.

    Source: Pock and Sabach (2016), section 5.1 (their ``(k - 1) / (k + 2)``, k counted from 1).
    """
    return count / (count + 3)


def extrapolate(params, state: InertialState, weight=nesterov_weight):
    """The point ``y = x_k + weight (x_k - x_{k-1})`` that the next step starts from.

    iPALM allows two extrapolation points (one for the gradient, one for the proximal centre);
    here they are the same.

    Args:
      params: The current iterate, any pytree.
      state: The iterate before it and the count.
      weight: Extrapolation weight in [0, 1] as a function of the count.

    Source:
      Pock and Sabach (2016), algorithm iPALM with ``alpha_k = beta_k``.
    """
    w = weight(state.count)
    return jax.tree.map(lambda x, p: x + w.astype(x.dtype) * (x - p), params, state.previous)


def restart(state: InertialState) -> InertialState:
    """Forgets the momentum: the next step is the plain one from the current point."""
    return state._replace(count=jnp.zeros_like(state.count))
