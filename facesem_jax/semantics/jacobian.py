"""Exact Jacobians by forward mode: one linearisation per sample, tangents in chunks."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from facesem_jax.checks import check_floating, check_shape
from facesem_jax.errors import FacesemError

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

    Returns:
      For every array of f's output, an array of that shape with a last axis k (d without a basis);
      in f's unit per unit of w (per unit of the basis's coefficient).

    Raises:
      FacesemError: On a wrong shape or dtype, or a chunk size below 1.

    Source:
      Zheng et al. (CVPR 2021), local representations, ``J = d[albedo, depth]/dw``; forward mode as
      Griewank and Walther, "Evaluating Derivatives" (2008), section 3.1.
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
    _, push = jax.linearize(f, w)
    columns = jax.lax.map(push, tangents, batch_size=min(chunk_size, max(tangents.shape[0], 1)))
    return jax.tree.map(lambda c: jnp.moveaxis(c, 0, -1), columns)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SampleJacobian:
    """``w -> J(w)`` as a pytree, so that jit takes the weights inside ``f`` as arguments.

    Attributes:
      f: Function of a batch, (n, d) -> pytree with a leading axis n; itself a pytree (such as
        `LocalSemantics`, an NNX module, or `jax.tree_util.Partial`).
      chunk_size: Tangents pushed at once.
    """

    f: Callable[[Array], PyTree]
    chunk_size: int = dataclasses.field(default=DEFAULT_CHUNK_SIZE, metadata={"static": True})

    def __call__(self, w: Float[Array, "d"]) -> PyTree[Float[Array, "... d"]]:
        """The Jacobian at one sample."""
        return jacobian(single_sample(self.f), w, chunk_size=self.chunk_size)
