"""What the exact method replaces, kept for comparison and tests only."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from facesem_jax.checks import check_floating, check_shape


def jacobian_central_differences(
    f: Callable[[Float[Array, "d"]], PyTree],
    w: Float[Array, "d"],
    *,
    step: float | None = None,
    basis: Float[Array, "d k"] | None = None,
) -> PyTree[Float[Array, "... k"]]:
    r"""Approximates the Jacobian by ``(f(w + h b) - f(w - h b)) / (2 h)`` per direction b.

    The error is ``O(h^2)`` from truncation plus ``O(eps |f| / h)`` from rounding: in float32 some
    1e-4 relative at best, in float64 about 1e-10. A comparison baseline: two forward passes per
    direction, and wrong where a ReLU's kink lies between the two points.

    Args:
      f: Pure function of one sample, (d,) -> array or pytree of arrays.
      w: The sample; its dtype is the dtype of the computation.
      step: h in units of w; ``None`` takes the cube root of the dtype's epsilon times
        ``max(1, max |w|)``, which balances the two errors.
      basis: Directions in the columns; ``None`` stands for the identity.

    Returns:
      For every array of f's output, an array of that shape with a last axis k.

    Raises:
      FacesemError: On a wrong shape or dtype.
    """
    check_shape("w", w, (None,))
    check_floating("w", w)
    if basis is None:
        directions = jnp.eye(w.shape[0], dtype=w.dtype)
    else:
        check_shape("basis", basis, (w.shape[0], None))
        directions = jnp.asarray(basis, w.dtype).T
    if step is None:
        h = jnp.finfo(w.dtype).eps ** (1 / 3) * jnp.maximum(1, jnp.max(jnp.abs(w)))
    else:
        h = step
    h = jnp.asarray(h, w.dtype)

    def difference(direction: Array) -> PyTree:
        above, below = f(w + h * direction), f(w - h * direction)
        return jax.tree.map(lambda a, b: (a - b) / (2 * h), above, below)

    columns = jax.lax.map(difference, directions)
    return jax.tree.map(lambda c: jnp.moveaxis(c, 0, -1), columns)
