"""DCGAN's generator (Radford, Metz, Chintala 2016, arXiv 1511.06434): z to a 64x64 image."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from facesem_jax.checks import check_floating, check_shape
from facesem_jax.conv import PRECISION, conv_transpose_4x4
from facesem_jax.generators.layers import Buffer

# As in PyTorch's BatchNorm2d, with which the weights were trained.
_EPSILON = 1e-5


@dataclasses.dataclass(frozen=True)
class DCGANConfig:
    """Sizes of a DCGAN generator.

    Attributes:
      z_dim: Size of the latent z.
      features: Feature maps at 32x32; doubled at every halving, down to 4x4.
      image_channels: Channels of the image.
    """

    z_dim: int = 100
    features: int = 64
    image_channels: int = 3

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels from the latent to the image, one entry more than there are layers."""
        hidden = [self.features << k for k in (3, 2, 1, 0)]
        return (self.z_dim, *hidden, self.image_channels)


class FrozenBatchNorm(nnx.Module):
    """Batch normalisation by running statistics: ``(x - mean) / sqrt(var + 1e-5) scale + bias``."""

    def __init__(self, channels: int):
        """Starts as the identity (up to epsilon)."""
        self.scale = nnx.Param(jnp.ones(channels))
        self.bias = nnx.Param(jnp.zeros(channels))
        self.mean = Buffer(jnp.zeros(channels))
        self.var = Buffer(jnp.ones(channels))

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """Applies the normalisation."""
        gain = self.scale[...] * jax.lax.rsqrt(self.var[...] + _EPSILON)
        return (x - self.mean[...]) * gain + self.bias[...]


class DCGAN(nnx.Module):
    """Five transposed 4x4 convolutions: from one pixel to 4x4, then doubling up to 64x64.

    Attributes:
      config: Sizes.
      kernels: (4, 4, in, out) each, in PyTorch's orientation (not flipped).
      norms: After every layer but the last, before a ReLU.
    """

    def __init__(self, config: DCGANConfig, *, rngs: nnx.Rngs):
        """Draws the weights with the paper's standard deviation of 0.02.

        Args:
          config: Sizes.
          rngs: Source of the initial weights (stream ``params``).
        """
        self.config = config
        self.kernels = nnx.List(
            nnx.Param(0.02 * jax.random.normal(rngs.params(), (4, 4, i, o)))
            for i, o in itertools.pairwise(config.channels)
        )
        self.norms = nnx.List(FrozenBatchNorm(c) for c in config.channels[1:-1])

    def __call__(self, z: Float[Array, "n z"]) -> Float[Array, "n 64 64 3"]:
        """Draws images.

        Args:
          z: Latents, standard normal, (n, z_dim).

        Returns:
          Images (n, 64, 64, 3) in [-1, 1].

        Raises:
          FacesemError: On a wrong shape or dtype.
        """
        check_shape("z", z, (None, self.config.z_dim))
        check_floating("z", z)
        x = jnp.einsum("nc,hwco->nhwo", z, self.kernels[0][...], precision=PRECISION)
        for norm, kernel in zip(self.norms, self.kernels[1:], strict=True):
            x = conv_transpose_4x4(jax.nn.relu(norm(x)), kernel[...])
        return jnp.tanh(x)
