"""A small image discriminator; its features also serve as a perceptual metric."""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from facesem_jax.checks import check_images
from facesem_jax.conv import conv2d
from facesem_jax.generators.layers import EqualizedLinear, leaky_relu


@dataclasses.dataclass(frozen=True)
class DiscriminatorConfig:
    """Sizes of a discriminator.

    Attributes:
      resolution: Height and width of the images in pixels, ``4 * 2^len(channels)``.
      channels: Feature maps from half the resolution down to 4x4.
    """

    resolution: int = 64
    channels: tuple[int, ...] = (128, 256, 512, 512)


class EqualizedConv(nnx.Module):
    """Convolution with the equalised learning rate, bias and leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int, *, rngs: nnx.Rngs):
        """Draws the kernel."""
        self.kernel = nnx.Param(jax.random.normal(rngs.params(), (size, size, inputs, outputs)))
        self.bias = nnx.Param(jnp.zeros(outputs))
        self.scale = 1 / math.sqrt(size * size * inputs)
        self.stride = stride
        pad = (size - stride) // 2
        self.padding = ((pad, pad), (pad, pad))

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 o"]:
        """Applies the layer."""
        y = conv2d(x, self.kernel[...] * self.scale, self.stride, self.padding)
        return leaky_relu(y + self.bias[...])


class Discriminator(nnx.Module):
    """4x4 convolutions of stride 2 down to 4x4, batch standard deviation, two linear layers."""

    def __init__(self, config: DiscriminatorConfig, *, rngs: nnx.Rngs):
        """Draws the weights.

        Args:
          config: Sizes.
          rngs: Source of the initial weights (stream ``params``).
        """
        self.config = config
        sizes = itertools.pairwise((3, *config.channels))
        self.convs = nnx.List(EqualizedConv(i, o, 4, 2, rngs=rngs) for i, o in sizes)
        last = config.channels[-1]
        self.hidden = EqualizedLinear(16 * last + 1, last, rngs=rngs)
        self.out = EqualizedLinear(last, 1, rngs=rngs)

    def features(self, images: Float[Array, "n h w 3"]) -> list[Float[Array, "n h2 w2 c"]]:
        """Feature maps, finest first."""
        check_images("images", images, self.config.resolution)
        maps, x = [], images
        for conv in self.convs:
            x = conv(x)
            maps.append(x)
        return maps

    def __call__(self, images: Float[Array, "n h w 3"], group: int = 4) -> Float[Array, " n"]:
        """Judges images.

        Args:
          images: In [-1, 1].
          group: Images that share a batch standard deviation (ProGAN, section 3); a batch that it
            does not divide forms one group.

        Returns:
          One logit per image.
        """
        x = self.features(images)[-1]
        n = x.shape[0]
        group = group if n % group == 0 else n
        grouped = x.reshape(group, n // group, *x.shape[1:])
        spread = jnp.sqrt(jnp.var(grouped, axis=0) + 1e-8)
        statistic = jnp.tile(jnp.mean(spread, axis=(1, 2, 3)), group)[:, None]
        flat = jnp.concatenate([x.reshape(n, -1), statistic], axis=-1)
        return self.out(leaky_relu(self.hidden(flat)))[:, 0]
