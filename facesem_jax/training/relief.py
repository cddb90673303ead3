"""How far a face's sides fall back behind its middle, row by row.

A face with flatter sides that turns further shows nearly the same pictures, and errors of the view
make depth flatter than it is: the pictures hardly settle this one scale.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from facesem_jax.decomposer.config import DecomposerConfig
from facesem_jax.decomposer.decomposer import depth_prior


def middle_of_rows(depth: Float[Array, "h w"]) -> Float[Array, "h 1"]:
    """Mean of the two central columns, in the map's own unit; the width is even."""
    half = depth.shape[1] // 2
    return jnp.mean(depth[:, half - 1 : half + 1], axis=1, keepdims=True)


def with_deeper_sides(depth: Float[Array, "h w"], factor: float) -> Float[Array, "h w"]:
    r"""A map whose rows fall back so many times as far behind their middles.

    .. math:: d'_{yx} = m_y + f\,(d_{yx} - m_y)

    Args:
      depth: d, scene units.
      factor: f, a pure number; 1 leaves the map as it is.
    """
    middle = middle_of_rows(depth)
    return middle + factor * (depth - middle)


def relief_of_prior(
    depth: Float[Array, "n h w"], config: DecomposerConfig, window: Float[Array, "h w"]
) -> Float[Array, ""]:
    r"""How far a mean depth falls back to the sides, as a share of what the prior does.

    .. math:: \frac{\sum_p w_p\, \hat q_p\, \hat d_p}{\sum_p w_p\, \hat q_p^2}

    with :math:`\hat d` the mean depth less that of each row's middle and :math:`\hat q` the same of
    the prior's surface, over all but the two columns on either side that may be clamped.

    Args:
      depth: Canonical depth of a batch, scene units.
      config: Gives the prior.
      window: Weights w.

    Returns:
      A pure number: 1 for the prior itself, 0 for flat rows; not finite without a prior.
    """
    half_range = (config.max_depth - config.min_depth) / 2
    surfaces = half_range * jnp.tanh(depth_prior(config, depth.dtype)), jnp.mean(depth, axis=0)
    prior, found = ((x - middle_of_rows(x))[:, 2:-2] for x in surfaces)
    weight = window[:, 2:-2] * prior
    return jnp.sum(weight * found) / jnp.sum(weight * prior)
