r"""The metric that pictures give W: how far the picture moves when w does.

.. math:: M = E_w \, J^T J / (h w c), \quad J = \partial g(w) / \partial w

In a whitened W every direction has unit variance, but a few move the whole picture and most hardly
a pixel (of the bundled generator the largest eigenvalue of M is 57 times their mean, the smallest a
thousandth of it). A mapping network that is fitted with every direction counting alike spends
itself on the ones that nobody sees. Counted by M itself, brightness and background would be nearly
all; `metric_scale` goes half of the way.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from facesem_jax.checks import check_shape
from facesem_jax.errors import FacesemError


def metric_probes(
    synthesis: Callable[[Float[Array, "n d"]], Float[Array, "n h w c"]],
    w: Float[Array, "n d"],
    key: PRNGKeyArray,
) -> Float[Array, "n d"]:
    """``J^T y / sqrt(h w c)`` at every w for a random picture y of independent standard normals.

    The mean of their outer products is the metric: ``E[J^T y y^T J] = J^T J``.

    Args:
      synthesis: w to images, each on its own.
      w: Where.
      key: Draws y.
    """
    images, pull = jax.vjp(synthesis, w)
    (gradient,) = pull(jax.random.normal(key, images.shape, images.dtype))
    return gradient / jnp.sqrt(images[0].size)


class MetricScale(NamedTuple):
    """Linear coordinates of W and the way back.

    Attributes:
      forward: ``y = w @ forward``.
      inverse: ``w = y @ inverse``.
    """

    forward: Float[Array, "d d"]
    inverse: Float[Array, "d d"]


def metric_scale(
    probes: Float[np.ndarray, "n d"], power: float = 0.25, floor: float = 1e-4
) -> MetricScale:
    r"""Coordinates :math:`y = w (M / m)^p`, with m such that a white w has unit mean variance.

    Args:
      probes: From `metric_probes`, more of them than dimensions.
      power: p: 0 leaves W as it is, 1/2 makes a unit step move the picture equally far everywhere.
      floor: Smallest eigenvalue of M that is told from 0, as a share of their mean.

    Returns:
      The coordinates.

    Raises:
      FacesemError: On a wrong shape, too few probes, or probes that are all zero.
    """
    check_shape("probes", probes, (None, None))
    probes = np.asarray(probes, np.float64)
    if len(probes) < probes.shape[1]:
        raise FacesemError(
            f"{len(probes)} probes of {probes.shape[1]} dimensions; give at least as many."
        )
    values, vectors = np.linalg.eigh(probes.T @ probes / len(probes))
    if not values[-1] > 0:
        raise FacesemError("the pictures do not depend on w.")
    scale = np.maximum(values, floor * values.mean()) ** power
    scale = scale / np.sqrt(np.mean(scale**2))
    return MetricScale(
        jnp.asarray((vectors * scale) @ vectors.T, jnp.float32),
        jnp.asarray((vectors / scale) @ vectors.T, jnp.float32),
    )
