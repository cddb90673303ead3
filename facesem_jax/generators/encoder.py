"""The encoder that trains with a generator: an image to its w, in one pass."""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from facesem_jax.checks import check_images
from facesem_jax.conv import PRECISION, conv2d
from facesem_jax.errors import FacesemError
from facesem_jax.generators.layers import leaky_relu
from facesem_jax.normalization import GroupNorm
from facesem_jax.one_program import one_program


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """Sizes of an encoder.

    Attributes:
      resolution: Height and width of the images in pixels, ``4 * 2^(len(channels) - 1)``.
      channels: Feature maps from ``resolution`` down to 4x4.
      w_dim: Size of w.
      groups: Groups of the group normalisations.
    """

    resolution: int = 64
    channels: tuple[int, ...] = (32, 64, 128, 256, 256)
    w_dim: int = 128
    groups: int = 8

    def __post_init__(self):
        """Refuses sizes that do not fit together."""
        if self.resolution != 4 * 2 ** (len(self.channels) - 1):
            raise FacesemError(
                f"channels has {len(self.channels)} entries, which is for "
                f"{4 * 2 ** (len(self.channels) - 1)} pixels; resolution is {self.resolution}."
            )
        if any(c % self.groups for c in self.channels):
            raise FacesemError(f"channels {self.channels} must be multiples of {self.groups}.")


def _kernel(rngs: nnx.Rngs, size: int, inputs: int, outputs: int) -> nnx.Param:
    scale = 1 / math.sqrt(size * size * inputs)
    return nnx.Param(scale * jax.random.normal(rngs.params(), (size, size, inputs, outputs)))


class _Down(nnx.Module):
    """Halves the resolution: 4x4 convolution of stride 2, then 3x3, each normalised."""

    def __init__(self, inputs: int, outputs: int, groups: int, rngs: nnx.Rngs):
        self.reduce = _kernel(rngs, 4, inputs, outputs)
        self.refine = _kernel(rngs, 3, outputs, outputs)
        self.norms = nnx.List(GroupNorm(outputs, groups, epsilon=1e-6) for _ in range(2))

    def __call__(self, x):
        x = conv2d(x, self.reduce[...], stride=2, padding=[(1, 1), (1, 1)])
        x = leaky_relu(self.norms[0](x))
        return leaky_relu(self.norms[1](conv2d(x, self.refine[...])))


class Encoder(nnx.Module):
    """Convolutions with group normalisation down to 4x4, then one linear map to w."""

    def __init__(self, config: EncoderConfig, *, rngs: nnx.Rngs):
        """Draws the weights.

        Args:
          config: Sizes.
          rngs: Source of the initial weights (stream ``params``).
        """
        self.config = config
        c = config.channels
        self.stem = _kernel(rngs, 3, 3, c[0])
        self.downs = nnx.List(_Down(i, o, config.groups, rngs) for i, o in itertools.pairwise(c))
        features = 16 * c[-1]
        self.head = nnx.Param(
            jax.random.normal(rngs.params(), (features, config.w_dim)) / math.sqrt(features)
        )
        self.bias = nnx.Param(jnp.zeros(config.w_dim))

    def __call__(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n d"]:
        """Encodes images.

        Args:
          images: (n, resolution, resolution, 3) in [-1, 1].

        Returns:
          w of shape (n, w_dim).

        Raises:
          FacesemError: On a wrong shape or dtype.
        """
        check_images("images", images, self.config.resolution)
        return self._encoded(images)

    @one_program
    def _encoded(self, images):
        *_, x = self.stages(images)
        x = x.reshape(x.shape[0], -1)
        return jnp.dot(x, self.head[...], precision=PRECISION) + self.bias[...]

    def stages(
        self, images: Float[Array, "n h w 3"], count: int | None = None
    ) -> list[Float[Array, "n hs ws cs"]]:
        """What every stage of convolutions gives, from full resolution down to 4x4.

        Arguments and errors as for a call, and:

        Args:
          images: With a ``count``, of any size that its stages can halve.
          count: How many stages, from the first; ``None`` for all.
        """
        check_images("images", images, self.config.resolution if count is None else None)
        found = [leaky_relu(conv2d(images, self.stem[...]))]
        for down in self.downs[: None if count is None else count - 1]:
            found.append(down(found[-1]))
        return found
