"""``w -> J(w)`` as a pytree, by the cheapest exact way that the function offers."""

import dataclasses
from collections.abc import Callable

import jax
from jaxtyping import Array, Float, PyTree

from facesem_jax.semantics.jacobian import DEFAULT_CHUNK_SIZE, jacobian, single_sample
from facesem_jax.semantics.waist import waist_jacobian


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SampleJacobian:
    """``w -> J(w)``, or ``w -> J(w) B``, so that jit takes the weights inside ``f`` as arguments.

    Attributes:
      f: Function of a batch, (n, d) -> pytree with a leading axis n; itself a pytree (such as
        `LocalSemantics`, an NNX module, or `jax.tree_util.Partial`). If it has an attribute
        ``waist`` that is not ``None``, a `facesem_jax.semantics.waist.Waist` that computes the
        same, the Jacobian goes through it.
      chunk_size: Tangents pushed at once.
      basis: Directions in the columns (d, k); ``None`` stands for the identity.
      products: Precision of the tangents' products, "float32" or "bfloat16".
    """

    f: Callable[[Array], PyTree]
    chunk_size: int = dataclasses.field(default=DEFAULT_CHUNK_SIZE, metadata={"static": True})
    basis: Float[Array, "d k"] | None = None
    products: str = dataclasses.field(default="float32", metadata={"static": True})

    def __call__(self, w: Float[Array, "d"]) -> PyTree[Float[Array, "... k"]]:
        """The Jacobian at one sample; raises as `facesem_jax.semantics.jacobian.jacobian`."""
        shared = {
            "basis": self.basis,
            "chunk_size": self.chunk_size,
            "products": self.products,
        }
        waist = getattr(self.f, "waist", None)
        if waist is not None:
            return waist_jacobian(waist, w, **shared)
        return jacobian(single_sample(self.f), w, **shared)
