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


def pair_readings(
    decomposer: Decomposer, images: Float[Array, "n h w 3"], pitch: bool = False
) -> Float[Array, "n k"]:
    """What the decomposer reads of pose and light.

    Args:
      decomposer: The networks.
      images: In [-1, 1].
      pitch: Whether pitch is wanted too.

    Returns:
      Yaw in radians and the light's x direction; with ``pitch`` also pitch and the light's y
      direction.
    """
    view, light = decomposer.view(images), decomposer.light(images)
    columns = [view[:, 1], light[:, 2]]
    if pitch:
        columns += [view[:, 0], light[:, 3]]
    return jnp.stack(columns, axis=1)


def pair_directions(
    latents: Float[Array, "n d"], readings: Float[Array, "n k"]
) -> Float[Array, "r d"]:
    """Unit directions that turn the head, that move the light, and that make the head nod.

    Each leaves the other reading of its axis alone: the turn and the light's x, the nod and the
    light's y.

    Args:
      latents: Of unit covariance.
      readings: From `pair_readings`, of two columns or of four.

    Returns:
      The turn, the light, and of four readings the nod; 0 where a reading does not vary.
    """
    yaw, light_x, *vertical = readings.T
    found = [turn_direction(latents, yaw, light_x), turn_direction(latents, light_x, yaw)]
    if vertical:
        found.append(turn_direction(latents, *vertical))
    return jnp.stack(found)


def moved(
    latents: Float[Array, "n d"],
    directions: Float[Array, "n d"],
    angle: float | Float[Array, ""] | Float[Array, " n"],
    noise: Float[Array, " n"],
) -> Float[Array, "n d"]:
    """Latents with another coordinate along one direction each.

    Args:
      latents: Normal, with zero mean and unit covariance.
      directions: Of length 1, or 0 for a latent that stays as it is.
      angle: phi of the formula above, radians, for all or for each.
      noise: Standard normal, epsilon.

    Returns:
      z + (a' - a) v with a = z . v.
    """
    along = jnp.einsum("nd,nd->n", latents, directions, precision=PRECISION)
    change = along * (jnp.cos(angle) - 1) + noise * jnp.sin(angle)
    return latents + change[:, None] * directions


def coupled_latents(
    latents: Float[Array, "n d"],
    directions: Float[Array, "r d"],
    angle: float | Float[Array, ""],
    key: Array,
    mixed: bool = False,
) -> Float[Array, "n d"]:
    """The partners of a batch of latents: one turned, one relit, one nodding if asked, and so on.

    Args:
      latents: Normal, with zero mean and unit covariance.
      directions: From `pair_directions`.
      angle: How far, radians from 0 to pi; see `moved`.
      key: Seeds the noise, and the angles.
      mixed: Whether each pair has an angle of its own, uniform from 0 to ``angle``. With half a
        turn for all, a face in near profile only ever meets its mirror pose; mixed, also the front.
    """
    if mixed:
        key, key_angle = jax.random.split(key)
        angle = angle * jax.random.uniform(key_angle, (len(latents),), latents.dtype)
    own = directions[jnp.arange(len(latents)) % len(directions)]
    noise = jax.random.normal(key, (len(latents),), latents.dtype)
    return moved(latents, own, angle, noise)
