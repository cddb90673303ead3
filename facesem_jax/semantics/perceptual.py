r"""A perceptual distance from the stages of an encoder.

For images a and b, with :math:`\hat y^l` the features of stage l, divided at every pixel by their
norm over the channels,

.. math::
  D(a, b) = \frac{1}{L} \sum_l \frac{1}{H_l W_l} \sum_{h, w}
    \|\hat y^l_{hw}(a) - \hat y^l_{hw}(b)\|_2^2

which is 0 for equal images and at most 4. Source: Zhang et al. (2018, arXiv 1801.03924, equation 1)
with all channel weights 1 and the stages averaged. Their networks learned from photographs; the
bundled encoder learned from the bundled generator's kind of faces alone, and sees photographs with
their eyes.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from facesem_jax.generators.encoder import Encoder

# The square root's derivative is infinite at 0: a pixel whose features are all 0 has a gradient.
_EPSILON = 1e-10


def unit_stages(
    encoder: Encoder, images: Float[Array, "n h w 3"], count: int | None = None
) -> list[Array]:
    r"""Features :math:`\hat y^l` of every stage, of length 1 at every pixel.

    Args:
      encoder: The encoder.
      images: In [-1, 1], at its resolution.
      count: As for `Encoder.stages`; with it images may have another size.

    Raises:
      FacesemError: On images of a wrong shape or dtype.
    """
    stages = encoder.stages(images, count)
    return [y / jnp.sqrt(jnp.sum(y**2, axis=-1, keepdims=True) + _EPSILON) for y in stages]


def feature_distance(first: list[Array], second: list[Array]) -> Float[Array, " n"]:
    """D from the features of both images, see `unit_stages`."""
    apart = [
        jnp.mean(jnp.sum((a - b) ** 2, axis=-1), axis=(1, 2))
        for a, b in zip(first, second, strict=True)
    ]
    return sum(apart) / len(apart)


def perceptual_distance(
    encoder: Encoder, first: Float[Array, "n h w 3"], second: Float[Array, "n h w 3"]
) -> Float[Array, " n"]:
    """D(a, b) of every pair of images; arguments and errors as for `unit_stages`."""
    return feature_distance(unit_stages(encoder, first), unit_stages(encoder, second))
