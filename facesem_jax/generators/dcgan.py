"""DCGAN's generator (Radford, Metz, Chintala 2016, arXiv 1511.06434): z to a 64x64 image."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from facesem_jax.checks import check_floating, check_shape
from facesem_jax.conv import PRECISION, conv_transpose_4x4
from facesem_jax.errors import FacesemError
from facesem_jax.generators.generator import Generator
from facesem_jax.generators.layers import Buffer
from facesem_jax.one_program import one_program
from facesem_jax.stages import Stages, last_stage

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
    def w_dim(self) -> int:
        """Size of what stands for w: z itself."""
        return self.z_dim

    @property
    def resolution(self) -> int:
        """Height and width of the image in pixels."""
        return 64

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


class IdentityMapping(nnx.Module):
    """Stands for a mapping network: z is w, and its average is 0."""

    def __init__(self, z_dim: int):
        """Notes the size of z."""
        self.z_dim = z_dim

    def __call__(
        self,
        z: Float[Array, "n z"],
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Float[Array, "n z"]:
        """The latent itself, times ``truncation_psi``.

        Args:
          z: Latents, standard normal.
          truncation_psi: Share of z that is kept.
          truncation_cutoff: ``None`` or 1: there is one layer of latents.

        Raises:
          FacesemError: On a wrong shape or dtype, or another cutoff.
        """
        check_shape("z", z, (None, self.z_dim))
        check_floating("z", z)
        if truncation_cutoff not in (None, 1):
            raise FacesemError(
                f"truncation_cutoff is {truncation_cutoff}; a DCGAN has one layer of latents, "
                "use None or 1."
            )
        return z * truncation_psi


class DCGANSynthesis(nnx.Module):
    """Five transposed 4x4 convolutions: from one pixel to 4x4, then doubling up to 64x64.

    Attributes:
      kernels: (4, 4, in, out) each, in PyTorch's orientation (not flipped).
      norms: After every layer but the last, before a ReLU.
    """

    def __init__(self, config: DCGANConfig, *, rngs: nnx.Rngs):
        """Draws the weights with the paper's standard deviation of 0.02.

        Args:
          config: Sizes.
          rngs: Source of the initial weights (stream ``params``).
        """
        self.kernels = nnx.List(
            nnx.Param(0.02 * jax.random.normal(rngs.params(), (4, 4, i, o)))
            for i, o in itertools.pairwise(config.channels)
        )
        self.norms = nnx.List(FrozenBatchNorm(c) for c in config.channels[1:-1])
        self.w_dim = config.w_dim

    def stages(self, w: Float[Array, "n z"]) -> Stages:
        """Every layer's output with its name, in order; the last is the image."""
        x = jnp.einsum("nc,hwco->nhwo", w, self.kernels[0][...], precision=PRECISION)
        for index, norm in enumerate(self.norms):
            x = jax.nn.relu(norm(x))
            yield f"layers.{index}", x
            x = conv_transpose_4x4(x, self.kernels[index + 1][...])
        yield f"layers.{len(self.norms)}", jnp.tanh(x)

    def __call__(self, w: Float[Array, "n z"]) -> Float[Array, "n 64 64 3"]:
        """Draws images.

        Args:
          w: Latents, standard normal, (n, z_dim).

        Returns:
          Images (n, 64, 64, 3) in [-1, 1].

        Raises:
          FacesemError: On a wrong shape or dtype.
        """
        check_shape("z", w, (None, self.w_dim))
        check_floating("z", w)
        return self._drawn(w)

    @one_program
    def _drawn(self, w):
        return last_stage(self.stages(w))


class DCGAN(Generator):
    """A DCGAN's generator with the interface of a StyleGAN: ``synthesis(mapping(z))``."""

    def __init__(self, config: DCGANConfig, *, rngs: nnx.Rngs):
        """Draws the weights; arguments as for `DCGANSynthesis`."""
        self.config = config
        self.mapping = IdentityMapping(config.z_dim)
        self.synthesis = DCGANSynthesis(config, rngs=rngs)
