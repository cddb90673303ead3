r"""Yaw of large turns from the latent, where the reading of the picture folds back.

A decomposer that learned from faces of small and middling turns takes one in near profile for a
slightly turned one: beyond some angle its yaw falls again, and the photometric loss cannot mend
that, since the albedo has adapted to the wrong view. Along the latent's direction of the turn the
head goes on turning. So the direction is fitted where the reading is right, about the front, and
extrapolated: the linear encoding of semantics that "Unsupervised Disentanglement of Linear-Encoded
Facial Semantics" (CVPR 2021) builds on, used to correct the reading itself. The extrapolation is
rough, but it does not fold. So it is a lower bound during training: once view is on the right
side, the photometric loss draws it to the right angle.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from facesem_jax.conv import PRECISION
from facesem_jax.errors import FacesemError
from facesem_jax.semantics.environment import ridge_regression


class LatentPose(NamedTuple):
    """Angles of faces as functions of their latents have them, radians.

    Attributes:
      yaw: (n,).
      pitch: (n,); ``None`` where it is not asked for.
    """

    yaw: Float[Array, " n"]
    pitch: Float[Array, " n"] | None = None


class LinearReading(NamedTuple):
    """A reading as a linear function of the latent.

    Attributes:
      slope: (d,), unit of the reading per unit of the latent.
      offset: The value at 0.
    """

    slope: Float[Array, " d"]
    offset: Float[Array, ""]

    def __call__(self, latents: Float[Array, "n d"]) -> Float[Array, " n"]:
        """The reading of latents."""
        return jnp.dot(latents, self.slope, precision=PRECISION) + self.offset

    def with_spread(self, spread: float) -> "LinearReading":
        """The same function times a number: of that standard deviation over normal latents."""
        factor = spread / jnp.maximum(jnp.linalg.norm(self.slope), 1e-12)
        return LinearReading(self.slope * factor, self.offset * factor)

    def apart_from(self, other: "LinearReading") -> "LinearReading":
        r"""The part that another direction of the latents does not change.

        .. math:: s - s_o (s_o \cdot s) / \|s_o\|^2

        Of latents of unit covariance it is uncorrelated with the other reading too. A turn and a
        shift of a head are independent, but a reading of one may have taken up some of the other.
        """
        length = jnp.maximum(jnp.sum(jnp.square(other.slope)), 1e-12)
        share = jnp.sum(self.slope * other.slope) / length
        return LinearReading(self.slope - share * other.slope, self.offset - share * other.offset)


def linear_reading(
    latents: Float[Array, "n d"],
    reading: Float[Array, " n"],
    central: float = 0.5,
    rounds: int = 8,
    ridge: float = 1e-3,
) -> LinearReading:
    r"""A reading as a linear function of the latent, fitted where that function is small.

    .. math:: f = \arg\min_f \sum_{|f(z_i)| \le l} (y_i - f(z_i))^2,
       \quad l = \text{the quantile of } |f(z)| \text{ at the share } c,

    by rounds of ridge regression (`ridge_regression`), the first on all latents. They are chosen by
    :math:`f(z_i)`, not by :math:`y_i`: a choice by the reading would keep those that folded back to
    the front, and bend the fit.

    Args:
      latents: Of unit variance.
      reading: Of the pictures that the latents stand for, in any unit.
      central: c, the share of the faces that the reading is trusted on, those nearest to 0.
      rounds: Of the fit.
      ridge: As for `ridge_regression`.

    Returns:
      f, in the reading's unit.

    Raises:
      FacesemError: If the share holds fewer than 4 latents for each of their coordinates.
    """
    count = int(central * len(latents))
    if count < 4 * latents.shape[1]:
        raise FacesemError(
            f"{count} of {len(latents)} faces are too few to fit latents of {latents.shape[1]} "
            f"coordinates; draw at least {math.ceil(4 * latents.shape[1] / central)}."
        )
    nearest = jnp.arange(len(latents))
    for _ in range(rounds):
        v, intercept = ridge_regression(latents[nearest], reading[nearest, None], ridge)
        fitted = LinearReading(v[0], intercept[0])
        nearest = jnp.argsort(jnp.abs(fitted(latents)))[:count]
    return fitted


def folded_back(
    yaw: Float[Array, " n"], extrapolated: Float[Array, " n"], trusted: float
) -> Float[Array, " n"]:
    r"""How far a yaw falls short of the latent's turn, for faces that are turned far by the latent.

    .. math:: \max(0, |f_i| - \operatorname{sign}(f_i)\, y_i)
       \text{ where } |f_i| > t, \text{ else } 0

    One-sided: a face may be turned further than the extrapolation says. The extrapolation needs a
    spread of its own (`LinearReading.with_spread`). With that of the fit, yaw grows without end:
    what the far faces gain the near ones take up, on which the next fit rests, and depth flattens.

    Args:
      yaw: y, of the network that is trained.
      extrapolated: f(z), see `linear_reading`.
      trusted: t, in the yaw's unit.

    Returns:
      (n,), in the yaw's unit.
    """
    short = jax.nn.relu(jnp.abs(extrapolated) - jnp.sign(extrapolated) * yaw)
    return jnp.where(jnp.abs(extrapolated) > trusted, short, 0)
