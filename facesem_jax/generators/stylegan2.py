"""StyleGAN2 (Karras et al. 2020, arXiv 1912.04958; the ADA variant, arXiv 2006.06676)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from facesem_jax.conv import PRECISION, conv2d
from facesem_jax.errors import FacesemError
from facesem_jax.generators.config import StyleGAN2Config
from facesem_jax.generators.generator import Generator
from facesem_jax.generators.layers import Buffer, EqualizedLinear, broadcast_w, leaky_relu
from facesem_jax.generators.mapping import Mapping
from facesem_jax.generators.resample import upsample, upsample_conv2d
from facesem_jax.one_program import one_program
from facesem_jax.stages import Stages


def modulated_conv2d(
    x: Float[Array, "n h w c"],
    kernel: Float[Array, "k k c o"],
    style: Float[Array, "n c"],
    *,
    demodulate: bool = True,
    up: bool = False,
    epsilon: float = 1e-8,
) -> Float[Array, "n h2 w2 o"]:
    r"""Convolution whose weights are scaled per sample (StyleGAN2, equations 1 to 3).

    The paper scales weights, ``w'_{kio} = s_i w_{kio} / sqrt(sum_{ki} (s_i w_{kio})^2 + eps)``.
    A convolution is linear in its input, so scaling the input channels by ``s_i`` and the
    output channels by the normaliser gives the same result with one kernel for the whole
    batch. Weights scaled per sample would make XLA run a grouped convolution, many times
    slower, and under `jax.vmap` over tangents all the more.

    Args:
      x: Input maps.
      kernel: Weights, HWIO.
      style: Per-sample scale of each input channel.
      demodulate: Whether to normalise each output channel.
      up: Whether to double the resolution (see `upsample_conv2d`).
      epsilon: Guard of the normaliser.

    Returns:
      Output maps.
    """
    x = x * style[:, None, None, :]
    y = upsample_conv2d(x, kernel) if up else conv2d(x, kernel)
    if demodulate:
        energy = jnp.sum(jnp.square(kernel), axis=(0, 1))
        norm = jax.lax.rsqrt(jnp.dot(jnp.square(style), energy, precision=PRECISION) + epsilon)
        y = y * norm[:, None, None, :]
    return y


def _clamp(x: Array, limit: float | None) -> Array:
    return x if limit is None else jnp.clip(x, -limit, limit)


class StyledConv(nnx.Module):
    """Modulated 3x3 convolution, stored noise, bias, leaky ReLU."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        w_dim: int,
        resolution: int,
        *,
        up: bool = False,
        conv_clamp: float | None = None,
        rngs: nnx.Rngs,
    ):
        """Draws the weights and the noise map.

        Args:
          channels_in: Input channels.
          channels_out: Output channels.
          w_dim: Size of w.
          resolution: Height and width of the output.
          up: Whether this layer doubles the resolution.
          conv_clamp: Limit of the activations, or ``None``.
          rngs: Source of weights (``params``) and noise (``noise``).
        """
        self.affine = EqualizedLinear(w_dim, channels_in, bias_init=1.0, rngs=rngs)
        self.kernel = nnx.Param(jax.random.normal(rngs.params(), (3, 3, channels_in, channels_out)))
        self.bias = nnx.Param(jnp.zeros(channels_out))
        self.noise_strength = nnx.Param(jnp.zeros(()))
        self.noise = Buffer(jax.random.normal(rngs.noise(), (resolution, resolution)))
        self.up = up
        self.conv_clamp = conv_clamp

    def __call__(
        self, x: Float[Array, "n h w c"], w: Float[Array, "n d"]
    ) -> Float[Array, "n h2 w2 o"]:
        """Applies the layer under the latent w."""
        y = modulated_conv2d(x, self.kernel[...], self.affine(w), up=self.up)
        y = y + (self.noise[...] * self.noise_strength[...])[:, :, None] + self.bias[...]
        # After the activation's gain, as in the reference's bias_act.
        return _clamp(leaky_relu(y), self.conv_clamp)


class ToRGB(nnx.Module):
    """Modulated 1x1 convolution to the image's channels, without demodulation."""

    def __init__(
        self,
        channels_in: int,
        image_channels: int,
        w_dim: int,
        *,
        conv_clamp: float | None = None,
        rngs: nnx.Rngs,
    ):
        """Draws the weights.

        Args:
          channels_in: Input channels.
          image_channels: Channels of the image.
          w_dim: Size of w.
          conv_clamp: Limit of the output, or ``None``.
          rngs: Source of the initial weights.
        """
        self.affine = EqualizedLinear(w_dim, channels_in, bias_init=1.0, rngs=rngs)
        self.kernel = nnx.Param(
            jax.random.normal(rngs.params(), (1, 1, channels_in, image_channels))
        )
        self.bias = nnx.Param(jnp.zeros(image_channels))
        self.style_scale = channels_in**-0.5
        self.conv_clamp = conv_clamp

    def __call__(
        self, x: Float[Array, "n h w c"], w: Float[Array, "n d"]
    ) -> Float[Array, "n h w i"]:
        """Reads an image off the maps under the latent w."""
        style = self.affine(w) * self.style_scale
        y = modulated_conv2d(x, self.kernel[...], style, demodulate=False) + self.bias[...]
        return _clamp(y, self.conv_clamp)


class Synthesis(nnx.Module):
    """The synthesis network with toRGB skip connections: w or w_plus -> image."""

    def __init__(self, config: StyleGAN2Config, *, rngs: nnx.Rngs):
        """Draws the weights.

        Args:
          config: Sizes.
          rngs: Source of weights (``params``) and noise (``noise``).
        """
        c = config
        self.const = nnx.Param(jax.random.normal(rngs.params(), (4, 4, c.channels[0])))
        convs, to_rgbs = [], []
        for index, channels in enumerate(c.channels):
            size = 4 * 2**index
            before = c.channels[max(index - 1, 0)]
            shared = {"w_dim": c.w_dim, "conv_clamp": c.conv_clamp, "rngs": rngs}
            if index:
                convs.append(StyledConv(before, channels, resolution=size, up=True, **shared))
            convs.append(StyledConv(channels, channels, resolution=size, **shared))
            to_rgbs.append(ToRGB(channels, c.image_channels, **shared))
        self.convs = nnx.List(convs)
        self.to_rgbs = nnx.List(to_rgbs)
        self.w_dim = c.w_dim
        self.num_layers = c.num_layers

    def stages(self, w: Float[Array, "n d"] | Float[Array, "n l d"]) -> Stages:
        """Every layer's output with its name, in order; those of toRGB are the image so far."""
        ws = broadcast_w(w, self.num_layers, self.w_dim)
        x = jnp.broadcast_to(self.const[...], (ws.shape[0], *self.const[...].shape))
        image = None
        for block, to_rgb in enumerate(self.to_rgbs):
            # Layers 2b-1 and 2b are the block's convolutions (the first block has one alone); its
            # toRGB shares the row of the next block's first convolution.
            for layer in range(max(2 * block - 1, 0), 2 * block + 1):
                x = self.convs[layer](x, ws[:, layer])
                yield f"convs.{layer}", x
            rgb = to_rgb(x, ws[:, 2 * block + 1])
            image = rgb if image is None else upsample(image) + rgb
            yield f"to_rgbs.{block}", image

    def __call__(
        self, w: Float[Array, "n d"] | Float[Array, "n l d"], resolution: int | None = None
    ) -> Float[Array, "n h w 3"]:
        """Draws images.

        Args:
          w: Intermediate latents, (n, w_dim), or one per layer, (n, num_layers, w_dim).
          resolution: Stop at this resolution: the sum of toRGB outputs so far, to which the layers
            that are left out would add detail. ``None`` for the whole image.

        Returns:
          Images (n, resolution, resolution, 3), nominally in [-1, 1] (not clipped).

        Raises:
          FacesemError: On a wrong shape or dtype, or a resolution that no layer has.
        """
        resolutions = [4 << block for block in range(len(self.to_rgbs))]
        if resolution is None:
            resolution = resolutions[-1]
        if resolution not in resolutions:
            raise FacesemError(
                f"synthesis resolution is {resolution}; the layers have {resolutions}."
            )
        ws = broadcast_w(w, self.num_layers, self.w_dim)
        return self._drawn(ws, f"to_rgbs.{resolutions.index(resolution)}")

    @one_program(static=("last",))
    def _drawn(self, ws, last):
        return next(image for name, image in self.stages(ws) if name == last)


class StyleGAN2(Generator):
    """A StyleGAN2 generator: ``synthesis(mapping(z))``."""

    def __init__(self, config: StyleGAN2Config, *, rngs: nnx.Rngs):
        """Draws the weights.

        Args:
          config: Sizes.
          rngs: Source of weights (``params``) and noise (``noise``).
        """
        self.config = config
        self.mapping = Mapping.of(config, rngs=rngs)
        self.synthesis = Synthesis(config, rngs=rngs)
