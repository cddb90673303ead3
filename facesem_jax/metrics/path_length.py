"""Perceptual path length: how far the features move along a path through the latents."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facesem_jax.checks import check_shape
from facesem_jax.errors import FacesemError
from facesem_jax.metrics.bootstrap import Interval, mean_interval

TRIM = 0.01
"""Share of the paths left out at either end, as StyleGAN's code does."""


class PathLength(NamedTuple):
    """The length of paths.

    Attributes:
      length: Mean over the paths, without the shortest and the longest 1 %; 95 % interval.
      lengths: Of every path.
    """

    length: Interval
    lengths: Float[np.ndarray, " n"]


def lerp(
    a: Float[Array, "n d"], b: Float[Array, "n d"], t: Float[Array, " n"]
) -> Float[Array, "n d"]:
    """Points on straight lines, ``a + t (b - a)``: the paths through w.

    Example:
      >>> lerp(jnp.zeros((1, 2)), jnp.ones((1, 2)), jnp.array([0.25])).tolist()
      [[0.25, 0.25]]
    """
    return a + t[:, None] * (b - a)


def slerp(
    a: Float[Array, "n d"], b: Float[Array, "n d"], t: Float[Array, " n"]
) -> Float[Array, "n d"]:
    r"""Points on great circles, of length 1: the paths through z.

    .. math::
      \hat a \cos(t \omega) + u \sin(t \omega), \quad \omega = \angle(a, b), \quad
      u = \frac{\hat b - (\hat a \cdot \hat b) \hat a}{\|\ldots\|}

    For a generator that normalises z, as StyleGAN's does, the length does not matter.

    Args:
      a: Starts, not 0.
      b: Ends, not 0 and not opposite to the starts.
      t: Shares of the angle.

    Source:
      StyleGAN's code, ``metrics/perceptual_path_length.py``.

    Example:
      >>> a, b = jnp.array([[2.0, 0.0]]), jnp.array([[0.0, 3.0]])
      >>> bool(jnp.allclose(slerp(a, b, jnp.array([0.5])), 2**-0.5))
      True
    """
    a = a / jnp.linalg.norm(a, axis=-1, keepdims=True)
    b = b / jnp.linalg.norm(b, axis=-1, keepdims=True)
    cosine = jnp.sum(a * b, axis=-1, keepdims=True)
    across = b - cosine * a
    length = jnp.linalg.norm(across, axis=-1, keepdims=True)
    angle = t[:, None] * jnp.arctan2(length, cosine)
    return a * jnp.cos(angle) + across / jnp.where(length > 0, length, 1) * jnp.sin(angle)


def path_length(
    near: Float[np.ndarray, "n f"],
    far: Float[np.ndarray, "n f"],
    epsilon: float,
    *,
    trim: float = TRIM,
) -> PathLength:
    r"""Perceptual path length from the features at t and at t + epsilon.

    .. math:: E \left[ \|\phi(G(p(t + \epsilon))) - \phi(G(p(t)))\|^2 / \epsilon^2 \right]

    with p the path between two latents and t uniform in 0 .. 1. For a linear map phi(G(w)) = A w
    and straight paths it is ``E |A (w_1 - w_0)|^2`` whatever epsilon is. Rounding of the features
    adds its variance over epsilon squared: too small an epsilon measures nothing else.

    Args:
      near: Features at t.
      far: Features at t + epsilon, row by row.
      epsilon: The step, above 0.
      trim: Share left out at either end.

    Returns:
      The mean, in squared units of the features per unit of t squared, and each path's.

    Raises:
      FacesemError: If shapes differ, or epsilon or trim is out of range.

    Source:
      Karras et al., arXiv 1812.04948, section 4.1 (with LPIPS, which is a squared distance).

    Example:
      >>> near = np.zeros((10, 2))
      >>> round(path_length(near, near + [0.3e-4, 0.4e-4], 1e-4).length.mean, 6)
      0.25
    """
    near, far = np.asarray(near, np.float64), np.asarray(far, np.float64)
    check_shape("near", near, (None, None))
    check_shape("far", far, near.shape)
    if not (epsilon > 0 and 0 <= trim < 0.5 and len(near)):
        raise FacesemError(
            f"epsilon is {epsilon} and trim {trim}, with {len(near)} paths; expected an epsilon "
            "above 0, a trim from 0 to below 0.5 and at least 1 path."
        )
    lengths = np.sum((far - near) ** 2, axis=1) / epsilon**2
    # As StyleGAN's code does: the nearest lengths outwards, so that few paths keep their ends.
    low = np.quantile(lengths, trim, method="lower")
    high = np.quantile(lengths, 1 - trim, method="higher")
    kept = lengths[(low <= lengths) & (lengths <= high)]
    return PathLength(mean_interval(kept), lengths)
