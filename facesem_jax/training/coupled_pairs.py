r"""The coupling with the generator: one face in two views, or in two lights.

A decomposer must give one face the same canonical depth and albedo however it is turned and lit.
Faces to train this on come from the generator, edited along the directions of pose and light that
the decomposer itself finds so far, and finds anew as training goes on: the stabilised training of
"Unsupervised Disentanglement of Linear-Encoded Facial Semantics" (CVPR 2021). For normal latents a
direction is the covariance of the reading with the latent
(`facesem_jax.training.turned_pairs.turn_direction`). A partner's coordinate along it is

.. math:: a' = a \cos\varphi + \epsilon \sin\varphi, \quad \epsilon \sim N(0, 1),

so that partners are as likely as before at every angle: the same face at 0, one with an independent
view at a right angle, and the reflected latent (`facesem_jax.training.turned_pairs.reflected`) at
half a turn. An angle that grows with the step is a curriculum on rotation. While the directions are
still bad, a pair differs in some other one of the latent's coordinates, which changes the face
little.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from facesem_jax.conv import PRECISION
from facesem_jax.decomposer.decomposer import Decomposer
from facesem_jax.training.turned_pairs import turn_direction


def pair_readings(decomposer: Decomposer, images: Float[Array, "n h w 3"]) -> Float[Array, "n 2"]:
    """Yaw in radians and the light's x direction, as the decomposer reads them."""
    return jnp.stack([decomposer.view(images)[:, 1], decomposer.light(images)[:, 2]], axis=1)


def pair_directions(
    latents: Float[Array, "n d"], readings: Float[Array, "n 2"]
) -> Float[Array, "2 d"]:
    """Unit directions that turn the head, and that move the light, each without the other.

    Args:
      latents: Of unit covariance.
      readings: From `pair_readings`.

    Returns:
      The turn, then the light; 0 where a reading does not vary.
    """
    yaw, light_x = readings.T
    return jnp.stack([turn_direction(latents, yaw, light_x), turn_direction(latents, light_x, yaw)])


def moved(
    latents: Float[Array, "n d"],
    directions: Float[Array, "n d"],
    angle: float | Float[Array, ""],
    noise: Float[Array, " n"],
) -> Float[Array, "n d"]:
    """Latents with another coordinate along one direction each.

    Args:
      latents: Normal, with zero mean and unit covariance.
      directions: Of length 1, or 0 for a latent that stays as it is.
      angle: phi of the formula above, radians.
      noise: Standard normal, epsilon.

    Returns:
      z + (a' - a) v with a = z . v.
    """
    along = jnp.einsum("nd,nd->n", latents, directions, precision=PRECISION)
    change = along * (jnp.cos(angle) - 1) + noise * jnp.sin(angle)
    return latents + change[:, None] * directions


def coupled_latents(
    latents: Float[Array, "n d"],
    directions: Float[Array, "2 d"],
    angle: float | Float[Array, ""],
    key: Array,
) -> Float[Array, "n d"]:
    """The partners of a batch of latents: turned at even places, relit at odd ones.

    Args:
      latents: Normal, with zero mean and unit covariance.
      directions: From `pair_directions`.
      angle: How far, radians from 0 to pi; see `moved`.
      key: Seeds the noise.
    """
    own = directions[jnp.arange(len(latents)) % 2]
    noise = jax.random.normal(key, (len(latents),), latents.dtype)
    return moved(latents, own, angle, noise)
