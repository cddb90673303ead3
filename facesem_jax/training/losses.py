"""Image and depth losses that both trainings share."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Guards of the confidence loss, as in Unsup3D's code.
_EPSILON = 1e-7


def masked_mean(x: Float[Array, "n h w c"], mask: Float[Array, "n h w"] | None = None) -> Array:
    """Mean over the pixels where ``mask`` is 1 (all pixels without one)."""
    if mask is None:
        return jnp.mean(x)
    weight = jnp.broadcast_to(mask[..., None], x.shape)
    return jnp.sum(x * weight) / jnp.maximum(jnp.sum(weight), 1)


def confident_l1(
    difference: Float[Array, "n h w c"], sigma: Float[Array, "n h w"], mask: Float[Array, "n h w"]
) -> Float[Array, ""]:
    r"""Negative log likelihood of a Laplacian error with a predicted scale.

    .. math:: \langle \sqrt 2 |x| / \sigma + \ln \sigma \rangle_{mask}

    Args:
      difference: Reconstruction less image.
      sigma: Predicted scale, positive.
      mask: 1 where the reconstruction is defined.

    Returns:
      The mean over the mask (Unsup3D, arXiv 1911.11130, equation 3, less its constant).
    """
    sigma = sigma[..., None] + _EPSILON
    return masked_mean(jnp.sqrt(2.0) * jnp.abs(difference) / sigma + jnp.log(sigma), mask)


def gradient_l1(
    difference: Float[Array, "n h w c"], mask: Float[Array, "n h w"] | None = None
) -> Float[Array, ""]:
    """Mean absolute forward difference along both axes: L1 between the images' gradients."""

    def along(axis):
        slope = jnp.abs(jnp.diff(difference, axis=axis))
        if mask is None:
            return jnp.mean(slope)
        count = mask.shape[axis]
        both = jnp.minimum(
            jax.lax.slice_in_dim(mask, 1, count, axis=axis),
            jax.lax.slice_in_dim(mask, 0, count - 1, axis=axis),
        )
        return masked_mean(slope, both)

    return along(1) + along(2)


def halve(x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c"]:
    """Averages 2x2 blocks."""
    n, h, w, c = x.shape
    return jnp.mean(x.reshape(n, h // 2, 2, w // 2, 2, c), axis=(2, 4))


def pyramid_l1(difference: Float[Array, "n h w c"], levels: int = 3) -> Float[Array, ""]:
    """Mean absolute difference, averaged over a pyramid of halved images.

    Coarse levels reward a part that is nearly in place, which the finest level does not.

    Args:
      difference: Reconstruction less image; height and width divisible by 2^(levels - 1).
      levels: Number of scales, from full resolution down.
    """
    total = 0.0
    for level in range(levels):
        difference = halve(difference) if level else difference
        total = total + jnp.mean(jnp.abs(difference))
    return total / levels
