"""Precision of the products in a linear map: float32 exactly, or bfloat16 operands for speed.

A matrix unit (TPU, tensor core) multiplies bfloat16 numbers many times faster than float32 ones.
Rounding the operands costs each product a relative error of up to 2^-8 and leaves the sums and
everything between the products in float32. Only the tangents' products may be rounded: the primal
pass stays in float32, since ReLUs that flip and normalisations of rounded maps change the Jacobian
itself (by 8 % on the bundled pair if all of it is in bfloat16, against 0.4 % for the tangents).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.extend.core import Literal, Primitive
from jaxtyping import Array, PyTree

from facesem_jax.checks import check_shape
from facesem_jax.errors import FacesemError

PRODUCTS = ("float32", "bfloat16")


def with_products(f: Callable[[Array], PyTree], products: str) -> Callable[[Array], PyTree]:
    """A function whose matrix products and convolutions round their operands.

    Works under `jax.jit` and `jax.vmap`. Products inside loops (`scan`, `while`) keep theirs.

    Args:
      f: Pure function of one array, such as the linear map of `jax.linearize`.
      products: "float32" (f itself) or "bfloat16".

    Returns:
      A function of the same signature and types.

    Raises:
      FacesemError: On another name.
    """
    if products not in PRODUCTS:
        raise FacesemError(f"products is {products!r}; expected one of {', '.join(PRODUCTS)}.")
    if products == "float32":
        return f

    def rounded(x):
        closed, shape = jax.make_jaxpr(f, return_shape=True)(x)
        out = _evaluate(closed.jaxpr, closed.consts, [x])
        return jax.tree.unflatten(jax.tree.structure(shape), out)

    return rounded


def relative_error(a: Array, reference: Array) -> Array:
    """``||a - reference||_F / ||reference||_F``.

    Args:
      a: An approximation, such as a Jacobian from bfloat16 products.
      reference: What it approximates, of the same shape.

    Raises:
      FacesemError: If the shapes differ.
    """
    check_shape("a", a, reference.shape)
    return jnp.linalg.norm(jnp.ravel(a - reference)) / jnp.linalg.norm(jnp.ravel(reference))


def _evaluate(jaxpr, consts, args) -> list[Array]:
    """Runs a program equation by equation; see `jax.make_jaxpr`."""
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))

    def read(v):
        return v.val if isinstance(v, Literal) else values[v]

    for eqn in jaxpr.eqns:
        operands = [read(v) for v in eqn.invars]
        out = _apply(eqn.primitive, operands, eqn.params)
        values.update(zip(eqn.outvars, out, strict=True))
    return [read(v) for v in jaxpr.outvars]


def _apply(primitive: Primitive, operands, params) -> list[Array]:
    if primitive.name in ("dot_general", "conv_general_dilated"):
        return [_rounded_product(primitive, operands, params)]
    # Calls (jit, custom derivatives, remat) are run inline, so that the products in them are seen.
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        inner = params.get(name)
        if inner is not None and primitive.name not in ("scan", "while", "cond"):
            return _evaluate(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), operands)
    bind_params = primitive.get_bind_params(params)
    subfuns, bind_params = bind_params if isinstance(bind_params, tuple) else ((), bind_params)
    out = primitive.bind(*subfuns, *operands, **bind_params)
    return list(out) if primitive.multiple_results else [out]


def _rounded_product(primitive: Primitive, operands, params) -> Array:
    rounding = {"precision": None, "preferred_element_type": jnp.result_type(*operands)}

    def narrow(*operands):
        operands = [x.astype(jnp.bfloat16) for x in operands]
        return primitive.bind(*operands, **(params | rounding))

    def emulated(*operands):
        # The same numbers: a float32 holds the product of two bfloat16 numbers exactly.
        operands = [jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=7) for x in operands]
        return primitive.bind(*operands, **params)

    # XLA's CPU back end converts narrow operands first, slowly, or refuses them.
    return jax.lax.platform_dependent(*operands, cpu=emulated, default=narrow)
