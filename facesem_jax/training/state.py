"""One optimisation step of an NNX module, as a pure function of pytrees."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Int


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything that a step changes.

    Attributes:
      step: Steps taken.
      params: The trained parameters, a tree of `nnx.Param`.
      buffers: What the modules hold besides (noise maps, running averages); not trained.
      average: Exponential moving average of ``params``.
      optimizer: The optimiser's state.
      extra: What else a run must find again where it left off, such as directions that were
        measured under way; `make_step`'s leave it as it is. ``None`` has no arrays.
    """

    step: Int[Array, ""]
    params: Any
    buffers: Any
    average: Any
    optimizer: Any
    extra: Any = None


def init_state(modules, optimizer: optax.GradientTransformation) -> tuple[Any, TrainState]:
    """Splits modules into a graph definition and a train state.

    Args:
      modules: An NNX module, or a tuple or dictionary of them.
      optimizer: The optimiser.

    Returns:
      The graph definition (static) and the state.
    """
    graph, params, buffers = nnx.split(modules, nnx.Param, ...)
    # Weak types, as of zeros times a number, are gone after a step: it would be compiled again.
    params, buffers = jax.tree.map(
        lambda x: jnp.asarray(x, jnp.asarray(x).dtype), (params, buffers)
    )
    copy = jax.tree.map(jnp.array, params)  # No buffer may be shared: the state is donated.
    state = TrainState(jnp.zeros((), jnp.int32), params, buffers, copy, optimizer.init(params))
    return graph, state


def modules_of(graph, state: TrainState, *, averaged: bool = False):
    """The modules of a state, with the current or the averaged parameters."""
    return nnx.merge(graph, state.average if averaged else state.params, state.buffers)


def advance(
    state: TrainState,
    gradient,
    optimizer: optax.GradientTransformation,
    decay: float,
    ramp: float = 10.0,
) -> TrainState:
    """The state after a step of the optimiser.

    Args:
      state: Before it; ``buffers`` and ``extra`` stay.
      gradient: Of the parameters.
      optimizer: The optimiser.
      decay: Of the moving average; ramped up from 0 over the first steps.
      ramp: Until the decay is reached, step t of n counts in proportion to t^(ramp - 1): the
        average is of about the last n / ramp steps.
    """
    updates, optimizer_state = optimizer.update(gradient, state.optimizer, state.params)
    params = optax.apply_updates(state.params, updates)
    count = state.step + 1
    rate = jnp.minimum(decay, count / (count + ramp))
    average = optax.incremental_update(params, state.average, 1 - rate)
    return TrainState(count, params, state.buffers, average, optimizer_state, state.extra)


def make_step(
    graph,
    loss: Callable,
    optimizer: optax.GradientTransformation,
    decay: float = 0.999,
) -> Callable[[TrainState, Any], tuple[TrainState, dict]]:
    """Builds the step function ``(state, batch) -> (state, terms)``.

    Args:
      graph: From `init_state`.
      loss: ``(modules, batch, step) -> (scalar, terms)``; pure.
      optimizer: The optimiser.
      decay: Of the moving average; ramped up from 0 over the first steps.

    Returns:
      A pure function, to be jitted; ``terms`` gains the total ``loss`` and ``gradient_norm``.
    """

    def step(state: TrainState, batch) -> tuple[TrainState, dict]:
        def objective(params):
            return loss(nnx.merge(graph, params, state.buffers), batch, state.step)

        (total, terms), gradient = jax.value_and_grad(objective, has_aux=True)(state.params)
        terms = terms | {"loss": total, "gradient_norm": optax.tree.norm(gradient)}
        return advance(state, gradient, optimizer, decay), terms

    return step
