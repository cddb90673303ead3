"""Pure functions, and methods of modules, as whole programs."""

from collections.abc import Callable
from functools import partial

import jax


def one_program(function: Callable | None = None, *, static: tuple[str, ...] = ()) -> Callable:
    """Compiles a pure function as a whole where it is called on its own.

    Outside of `jax.jit` every operation is a program of its own, and each takes JAX some tens of
    milliseconds to compile: a network of a hundred layers' operations takes seconds before it
    first runs. Within `jax.jit` the function is inlined, and the outer program is what it would
    be without.

    Args:
      function: Of pytrees, such as a method of an `nnx.Module`; ``None`` gives a decorator.
      static: Names of the arguments that are not arrays.
    """
    if function is None:
        return partial(one_program, static=static)
    return jax.jit(function, inline=True, static_argnames=static)
