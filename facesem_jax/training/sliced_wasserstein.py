"""Sliced Wasserstein distance between two samples."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from facesem_jax.checks import check_shape
from facesem_jax.conv import PRECISION


def sliced_wasserstein(
    a: Float[Array, "n d"], b: Float[Array, "n d"], key: PRNGKeyArray, projections: int = 256
) -> Float[Array, ""]:
    r"""Mean squared 2-Wasserstein distance over random directions.

    .. math:: \frac1K \sum_k \frac1n \sum_i (\theta_k a_{(i)} - \theta_k b_{(i)})^2

    with the projections sorted along each unit direction. Differentiable in both samples.

    Args:
      a: One sample.
      b: The other, of the same size.
      key: Seeds the directions.
      projections: K.

    Returns:
      The distance, in squared units of the samples.

    Source:
      Rabin, Peyré, Delon, Bernot, "Wasserstein barycenter and its application to texture
      mixing" (2011).
    """
    check_shape("a", a, (None, None))
    check_shape("b", b, a.shape)
    theta = jax.random.normal(key, (a.shape[1], projections), a.dtype)
    theta = theta / jnp.linalg.norm(theta, axis=0)
    sorted_a = jnp.sort(jnp.dot(a, theta, precision=PRECISION), axis=0)
    sorted_b = jnp.sort(jnp.dot(b, theta, precision=PRECISION), axis=0)
    return jnp.mean(jnp.square(sorted_a - sorted_b))
