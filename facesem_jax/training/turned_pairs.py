"""Pairs of one face in two views, drawn from a generator without labels.

A decomposer that reads yaw roughly is enough to find the direction of its generator's latent space
that turns the head (its scale does not matter). Moved along it, a latent shows the same face in
another view: two pictures that must agree in canonical depth and albedo. This is the stabilised
training of "Unsupervised Disentanglement of Linear-Encoded Facial Semantics" (CVPR 2021), with
reflected latents, so that the pictures stay samples of the generator.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def turn_direction(
    latents: Float[Array, "n d"], yaw: Float[Array, " n"], light_x: Float[Array, " n"]
) -> Float[Array, " d"]:
    r"""The unit direction that yaw follows and the light's x direction does not.

    .. math:: v = E[(y - \bar y)(z - \bar z)], \quad
       v_\perp = v - v_l (v_l \cdot v) / \|v_l\|^2

    For normal latents of unit covariance this covariance is the mean gradient of y (Stein).

    Args:
      latents: Of unit covariance.
      yaw: The decomposer's yaw of each latent's picture.
      light_x: The decomposer's light direction from the side.

    Returns:
      v_perp / ||v_perp||.
    """
    centred = latents - jnp.mean(latents, axis=0)
    v, v_light = ((y - jnp.mean(y)) @ centred / len(latents) for y in (yaw, light_x))
    v = v - v_light * (v @ v_light) / jnp.maximum(v_light @ v_light, 1e-12)
    return v / jnp.maximum(jnp.linalg.norm(v), 1e-12)


def reflected(latents: Float[Array, "n d"], direction: Float[Array, " d"]) -> Float[Array, "n d"]:
    """Latents mirrored in the hyperplane through 0 with a unit normal: as likely as before.

    Args:
      latents: Normal, with zero mean and unit covariance.
      direction: The unit normal.

    Returns:
      z - 2 (z . v) v, shape (n, d).
    """
    return latents - 2 * (latents @ direction)[:, None] * direction
