r"""The perceptual term of the decomposer's loss, on features of the generator's encoder.

Unsup3D (Wu et al. 2020, arXiv 1911.11130, section 3.3) compares features of a network trained on
photographs, since the L1 of pixels alone is content with a blurred picture. Here the features are
the first stages of the encoder that trains with the generator
(`facesem_jax.semantics.perceptual`): no network from elsewhere is needed. With :math:`\hat y^l` of
length 1 at every pixel,

.. math::
  e_{hw} = \frac{1}{L} \sum_l \|\hat y^l_{hw}(a) - \hat y^l_{hw}(b)\|_2^2, \quad
  \Big\langle \frac{e}{2 \sigma^2} + \ln \sigma \Big\rangle

at a quarter of the resolution, where the decomposer predicts the scales sigma: the negative log
likelihood of a normal error (Unsup3D, equation 7, less its constant).
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from facesem_jax.checks import check_shape
from facesem_jax.errors import FacesemError
from facesem_jax.generators.encoder import Encoder
from facesem_jax.semantics.perceptual import unit_stages
from facesem_jax.training.losses import halve

#: Stages that reach a quarter of the resolution.
STAGES = 3
# As in `facesem_jax.training.losses`.
_EPSILON = 1e-7


def early_features(encoder: Encoder, images: Float[Array, "n h w 3"]) -> list[Array]:
    """Unit features of the encoder's first stages, at the full, half and quarter resolution.

    Args:
      encoder: The encoder.
      images: In [-1, 1], of any size that four divides: convolutions have no size of their own,
        though features of other sizes than the encoder's are not those it was trained for.

    Raises:
      FacesemError: On images of a wrong shape or dtype.
    """
    if images.shape[1] % 4 or images.shape[2] % 4:
        raise FacesemError(f"images have shape {images.shape}; height and width divide by 4.")
    return unit_stages(encoder, images, STAGES)


def feature_error(first: list[Array], second: list[Array]) -> Float[Array, "n h4 w4"]:
    """Squared distances of features, averaged over blocks and over the stages (e, see above).

    Args:
      first: Features of one batch.
      second: Features of as many others.

    Returns:
      From 0 to 4, at a quarter of the resolution.
    """
    total = 0.0
    for level, (a, b) in enumerate(zip(first, second, strict=True)):
        error = jnp.sum(jnp.square(a - b), axis=-1, keepdims=True)
        for _ in range(len(first) - 1 - level):
            error = halve(error)
        total = total + error[..., 0]
    return total / len(first)


def confident_feature_loss(
    error: Float[Array, "n h4 w4"],
    sigma: Float[Array, "n h4 w4"],
    weight: Float[Array, "n h4 w4"],
) -> Float[Array, ""]:
    """The weighted mean of e / (2 sigma^2) + ln sigma.

    Args:
      error: From `feature_error`.
      sigma: Predicted scale, positive.
      weight: Of each place, such as the share of it that the reconstruction shows.

    Raises:
      FacesemError: On different shapes.
    """
    check_shape("sigma", sigma, error.shape)
    check_shape("weight", weight, error.shape)
    sigma = sigma + _EPSILON
    each = error / (2 * jnp.square(sigma)) + jnp.log(sigma)
    return jnp.sum(each * weight) / jnp.maximum(jnp.sum(weight), 1)
