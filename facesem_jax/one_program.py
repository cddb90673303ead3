"""Methods of modules as whole programs."""

from collections.abc import Callable
from functools import partial

import jax


def one_program(method: Callable | None = None, *, static: tuple[str, ...] = ()) -> Callable:
    """Compiles a pure method as a whole where it is called on its own.

    Outside of `jax.jit` every operation is a program of its own, and each takes JAX some tens of
    milliseconds to compile: a network of a hundred layers' operations takes seconds before it
    first runs. Within `jax.jit`, `jax.vmap` and the like the method is inlined, and the outer
    program is what it would be without.

    Args:
      method: A pure method of an `nnx.Module`; ``None`` gives a decorator.
      static: Names of the arguments that are not arrays.
    """
    if method is None:
        return partial(one_program, static=static)
    return jax.jit(method, inline=True, static_argnames=static)
