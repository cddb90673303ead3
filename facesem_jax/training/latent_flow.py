r"""A mapping whose w has the encoder's distribution, by a rectified flow on the encodings.

A network v(x, t) learns to carry the mapping's normalised z to encodings,

.. math:: \min_v \; E \, \| v((1 - t) x_0 + t x_1, t) - (x_1 - x_0) \|^2 ,

and the ordinary differential equation ``dx/dt = v(x, t)`` from x_0 at t = 0 ends at w. It is a
regression, not a game: it neither drops modes nor needs a critic. The mapping network then learns
that deterministic way in one pass. No images are involved; W is whitened (`whitening`), where every
direction counts alike.

Source: Liu, Gong, Liu, "Flow straight and fast" (2022, arXiv 2209.03003), equation 1.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from facesem_jax.checks import check_shape
from facesem_jax.conv import PRECISION
from facesem_jax.errors import FacesemError
from facesem_jax.generators.layers import pixel_norm
from facesem_jax.generators.mapping import Mapping
from facesem_jax.training.latent_metric import MetricScale
from facesem_jax.training.sliced_wasserstein import sliced_wasserstein

_TIMES = 32
_EPSILON = 1e-5
# Of the sliced Wasserstein distance at every step: sorting is most of what it costs.
_PROJECTIONS = 64


def time_features(t: Float[Array, " n"]) -> Float[Array, "n f"]:
    """Sines and cosines of t at 32 frequencies from 1 to 200."""
    angles = t[:, None] * jnp.exp(jnp.linspace(0, math.log(200), _TIMES, dtype=t.dtype))
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def _normalised(x: Array) -> Array:
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(variance + _EPSILON)


class VelocityNetwork(nnx.Module):
    """Residual perceptron: x and t to a velocity; it begins at zero velocity."""

    def __init__(self, w_dim: int, width: int = 384, blocks: int = 4, *, rngs: nnx.Rngs):
        """Draws the weights.

        Args:
          w_dim: Size of w.
          width: Hidden units.
          blocks: Residual blocks of two layers.
          rngs: Source of the weights (stream ``params``).
        """

        def linear(inputs, outputs, scale=1.0):
            init = nnx.initializers.variance_scaling(scale, "fan_in", "normal")
            return nnx.Linear(inputs, outputs, precision=PRECISION, kernel_init=init, rngs=rngs)

        self.begin = linear(w_dim + 2 * _TIMES, width)
        self.first = nnx.List(linear(width + 2 * _TIMES, width) for _ in range(blocks))
        self.second = nnx.List(linear(width, width, 0.01) for _ in range(blocks))
        self.end = linear(width, w_dim, 1e-12)

    def __call__(self, x: Float[Array, "n d"], t: Float[Array, " n"]) -> Float[Array, "n d"]:
        """The velocity at x and time t, in units of w per unit of t."""
        time = time_features(t)
        h = self.begin(jnp.concatenate([x, time], axis=-1))
        for first, second in zip(self.first, self.second, strict=True):
            inner = first(jnp.concatenate([_normalised(h), time], axis=-1))
            h = h + second(jax.nn.silu(inner))
        return self.end(_normalised(h))


def flow_loss(
    velocity: VelocityNetwork, w: Float[Array, "n d"], key: PRNGKeyArray
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """The regression's loss on a batch of encodings, per dimension.

    Args:
      velocity: The network.
      w: Encodings, of zero mean and unit covariance.
      key: Draws z and t.

    Returns:
      The loss, and no terms besides. It does not fall to zero: ways from many z cross.
    """
    check_shape("w", w, (None, None))
    key_z, key_t = jax.random.split(key)
    start = pixel_norm(jax.random.normal(key_z, w.shape, w.dtype))
    t = jax.random.uniform(key_t, (w.shape[0],), w.dtype)
    at = start + t[:, None] * (w - start)
    return jnp.mean(jnp.square(velocity(at, t) - (w - start))), {}


def carried(
    velocity: VelocityNetwork, z: Float[Array, "n d"], steps: int = 24
) -> Float[Array, "n d"]:
    """Where the flow carries z, by Heun's method with equal steps.

    Args:
      velocity: The trained network.
      z: Standard normal; brought to unit root-mean-square first, as the mapping network does.
      steps: Two evaluations each.

    Returns:
      w, of the encodings' distribution.

    Raises:
      FacesemError: On a wrong shape, or no steps.
    """
    check_shape("z", z, (None, None))
    if steps < 1:
        raise FacesemError(f"steps is {steps}; expected at least 1.")
    h = 1 / steps

    def step(x, k):
        t = jnp.full(x.shape[:1], k * h, x.dtype)
        slope = velocity(x, t)
        ahead = velocity(x + h * slope, t + h)
        return x + h / 2 * (slope + ahead), None

    return jax.lax.scan(step, pixel_norm(z), jnp.arange(steps))[0]


def distillation_loss(
    mapping: Mapping,
    z: Float[Array, "n z"],
    y: Float[Array, "n d"],
    scale: MetricScale,
    key: PRNGKeyArray,
    spread: float = 4.0,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Squared error per dimension of the mapping against where the flow carries the same z.

    What a perceptron of this size cannot learn of the flow's way would be lost to the mean: its
    samples would vary less than the encodings. Sliced Wasserstein distances keep that variance, in
    the flow's coordinates and in w itself, where the directions that move the picture little count
    too: the picture's detail is theirs.

    Args:
      mapping: The mapping network.
      z: Latents.
      y: ``carried(velocity, z)``, in the flow's coordinates.
      scale: Those coordinates.
      key: Draws the distances' directions.
      spread: Weight of the distances between the batch's two samples.

    Returns:
      The loss, and its parts by name.
    """
    w = mapping(z)
    found = jnp.dot(w, scale.forward, precision=PRECISION)
    wanted = jnp.dot(y, scale.inverse, precision=PRECISION)
    error = jnp.mean(jnp.square(found - y))
    keys = jax.random.split(key)
    distance = sliced_wasserstein(found, y, keys[0], _PROJECTIONS)
    detail = sliced_wasserstein(w, wanted, keys[1], _PROJECTIONS)
    terms = {"error": error, "spread": distance, "detail": detail}
    return error + spread * (distance + detail), terms
