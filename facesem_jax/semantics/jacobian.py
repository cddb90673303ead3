"""Exact Jacobians by forward mode: one linearisation per sample, tangents in chunks."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from facesem_jax.checks import check_floating, check_shape
from facesem_jax.errors import FacesemError
from facesem_jax.semantics.products import with_products

DEFAULT_CHUNK_SIZE = 8
"""Tangents pushed at once: about the batch where a CPU's convolutions are fastest per image.

An accelerator wants more, 32 to 128.
"""


def single_sample(f: Callable[[Array], PyTree]) -> Callable[[Float[Array, "d"]], PyTree]:
    """Turns a function of a batch into one of a single sample, ``w -> f(w[None])[0]``.

    Args:
      f: Pure function (n, d) -> pytree of arrays with a leading axis n.

    Returns:
      A pure function (d,) -> the same pytree without that axis.
    """
    return lambda w: jax.tree.map(lambda y: y[0], f(w[None]))


def jacobian(
    f: Callable[[Float[Array, "d"]], PyTree],
    w: Float[Array, "d"],
    *,
    basis: Float[Array, "d k"] | None = None,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    products: str = "float32",
) -> PyTree[Float[Array, "... k"]]:
    r"""The exact Jacobian at one sample, ``J_{ab} = df_a/dw_b``, or ``J B`` along a basis.

    ``f`` is linearised once; the tangents (rows of the identity, or columns of ``basis``) are then
    pushed through the linear map ``chunk_size`` at a time. The primal pass is not repeated per
    chunk, and memory holds the residuals of one sample plus ``chunk_size`` tangents whatever d.
    Equals `jax.jacfwd` to rounding. Works under `jax.jit` and `jax.vmap`.

    The chunks run in a `jax.lax.map` rather than an unrolled loop: as fast on a CPU, and the
    compiler cannot keep the temporaries of several chunks alive at once (10 times less memory at
    128 tangents in chunks of 8).

    Args:
      f: Pure function of one sample, (d,) -> array or pytree of arrays.
      w: The sample.
      basis: Directions in the columns; ``None`` stands for the identity. Costs k / d of the whole.
      chunk_size: Tangents pushed at once, at least 1.
      products: Precision of the tangents' products, "float32" or "bfloat16"; see
        `facesem_jax.semantics.products`.

    Returns:
      For every array of f's output, an array of that shape with a last axis k (d without a basis);
      in f's unit per unit of w (per unit of the basis's coefficient).

    Raises:
      FacesemError: On a wrong shape or dtype, a chunk size below 1, or an unknown precision.

    Source:
      Zheng et al. (CVPR 2021), local representations, ``J = d[albedo, depth]/dw``; forward mode as
      Griewank and Walther, "Evaluating Derivatives" (2008), section 3.1.

    Example:
      >>> w = jnp.array([1.0, 2.0])
      >>> jacobian(lambda w: {"product": w[0] * w[1]}, w)["product"].tolist()
      [2.0, 1.0]
    """
    check_shape("w", w, (None,))
    check_floating("w", w)
    if chunk_size < 1:
        raise FacesemError(f"chunk_size is {chunk_size}; expected at least 1.")
    if basis is None:
        tangents = jnp.eye(w.shape[0], dtype=w.dtype)
    else:
        check_shape("basis", basis, (w.shape[0], None))
        tangents = jnp.asarray(basis, w.dtype).T
    push = with_products(jax.linearize(f, w)[1], products)
    columns = jax.lax.map(push, tangents, batch_size=min(chunk_size, max(tangents.shape[0], 1)))
    return jax.tree.map(lambda c: jnp.moveaxis(c, 0, -1), columns)


def pushed_rows(
    f: Callable[[Float[Array, "k"]], Float[Array, "..."]],
    x: Float[Array, "k"],
    tangents: Float[Array, "t k"],
    count: Int[Array, ""],
    chunk_size: int,
    products: str = "float32",
) -> Float[Array, "t ..."]:
    """The derivative of f at x along the first ``count`` of t tangents; the other rows are 0.

    As `jacobian`, for a number of tangents that only the data tell: the loop's length is ``count``
    over ``chunk_size``, rounded up.

    Args:
      f: Pure function of one sample, (k,) -> array.
      x: The sample.
      tangents: Tangents in the rows.
      count: How many of them to push.
      chunk_size: Tangents pushed at once.
      products: As for `jacobian`.

    Returns:
      One derivative per tangent; zeros beyond ``count``, or, in the last chunk, derivatives along
      what ``tangents`` has there.
    """
    y, push = jax.linearize(f, x)
    push = with_products(push, products)
    chunk_size = min(chunk_size, tangents.shape[0])
    padding = -tangents.shape[0] % chunk_size
    padded = jnp.pad(tangents, ((0, padding), (0, 0)))

    def body(i, rows):
        start = i * chunk_size
        chunk = jax.lax.dynamic_slice_in_dim(padded, start, chunk_size)
        return jax.lax.dynamic_update_slice_in_dim(rows, jax.vmap(push)(chunk), start, axis=0)

    rows = jnp.zeros((padded.shape[0], *y.shape), y.dtype)
    rows = jax.lax.fori_loop(0, -(-count // chunk_size), body, rows)
    return rows[: tangents.shape[0]]
