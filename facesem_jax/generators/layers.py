"""Layers that every StyleGAN shares: equalised linear maps, pixel norm, the activation."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from facesem_jax.checks import check_floating
from facesem_jax.conv import PRECISION
from facesem_jax.errors import FacesemError


class Buffer(nnx.Variable):
    """A stored array that no optimiser touches (noise maps, running averages)."""


def pixel_norm(x: Float[Array, "... c"], epsilon: float = 1e-8) -> Float[Array, "... c"]:
    """Scales each vector to unit root-mean-square: ``x / sqrt(mean(x^2) + epsilon)``.

    Args:
      x: Vectors along the last axis.
      epsilon: Guard against a zero vector.

    Returns:
      Vectors of the same shape (ProGAN, arXiv 1710.10196, section 4.2).
    """
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + epsilon)


def leaky_relu(x: Array, gain: float = math.sqrt(2.0)) -> Array:
    """Leaky ReLU of slope 0.2, times ``gain`` (sqrt 2 keeps the variance of the input).

    Args:
      x: Any array.
      gain: Factor on the result.

    Returns:
      An array of the same shape.
    """
    # A product with the slope is one select and one multiplication, also in the tangent.
    return x * jnp.where(x >= 0, gain, 0.2 * gain).astype(x.dtype)


def broadcast_w(w: Array, num_layers: int, w_dim: int) -> Float[Array, "n l d"]:
    """Brings w (n, d) or w_plus (n, num_layers, d) to the per-layer shape.

    Args:
      w: Latents.
      num_layers: Rows of a w_plus.
      w_dim: Size of w.

    Returns:
      Latents of shape (n, num_layers, d).

    Raises:
      FacesemError: On any other shape, or a dtype that is not floating point.
    """
    check_floating("w", w)
    if w.ndim == 2 and w.shape[1] == w_dim:
        return jnp.broadcast_to(w[:, None, :], (w.shape[0], num_layers, w_dim))
    if w.ndim == 3 and w.shape[1:] == (num_layers, w_dim):
        return w
    raise FacesemError(
        f"w has shape {w.shape}; expected (n, {w_dim}), or (n, {num_layers}, {w_dim}) for w_plus."
    )


class EqualizedLinear(nnx.Module):
    """Fully connected layer with the equalised learning rate (ProGAN, section 4.1).

    ``y = x (kernel * lr_multiplier / sqrt(c_in)) + bias * lr_multiplier``: the kernel is
    stored with unit variance (divided by the multiplier) and scaled at run time.
    """

    def __init__(
        self,
        features_in: int,
        features_out: int,
        *,
        lr_multiplier: float = 1.0,
        bias_init: float = 0.0,
        rngs: nnx.Rngs,
    ):
        """Draws the kernel.

        Args:
          features_in: Size of the input vectors.
          features_out: Size of the output vectors.
          lr_multiplier: Learning-rate multiplier.
          bias_init: Initial value of the (unscaled) bias.
          rngs: Source of the initial kernel (stream ``params``).
        """
        self.kernel = nnx.Param(
            jax.random.normal(rngs.params(), (features_in, features_out)) / lr_multiplier
        )
        self.bias = nnx.Param(jnp.full((features_out,), bias_init / lr_multiplier))
        self.kernel_scale = lr_multiplier / math.sqrt(features_in)
        self.lr_multiplier = lr_multiplier

    def __call__(self, x: Float[Array, "... i"]) -> Float[Array, "... o"]:
        """Applies the layer to vectors along the last axis."""
        kernel = self.kernel[...] * self.kernel_scale
        return jnp.dot(x, kernel, precision=PRECISION) + self.bias[...] * self.lr_multiplier
