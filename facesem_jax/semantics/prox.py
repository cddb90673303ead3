"""Proximal operators, one per function, each with the formula it solves."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from facesem_jax.checks import check_floating


def soft_threshold(
    x: Float[Array, "..."], threshold: float | Float[Array, "..."]
) -> Float[Array, "..."]:
    r"""Soft-thresholding, the proximal operator of ``threshold * ||.||_1``.

    .. math::
      \arg\min_z \tfrac12 (z - x)^2 + t |z| = \mathrm{sign}(x) \max(|x| - t, 0)

    Entries with ``|x| <= threshold`` become exactly zero, which is what makes the maps U of the
    factorisation sparse in the strict sense.

    Args:
      x: Any shape, any unit.
      threshold: Non-negative, in the unit of ``x``; broadcasts against it.

    Returns:
      An array of the shape and dtype of ``x``.

    Raises:
      FacesemError: If ``x`` is not floating point.

    Source:
      Daubechies, Defrise and De Mol (2004), section 1; Parikh and Boyd, "Proximal Algorithms"
      (2014), equation 6.9.
    """
    check_floating("x", x)
    # x - clip(x, -t, t) rather than sign(x) * max(|x| - t, 0): one rounding, and no -0.0 that
    # would print as a non-zero.
    return x - jnp.clip(x, -threshold, threshold)
