"""StyleGAN 1 (Karras, Laine, Aila 2019, arXiv 1812.04948): AdaIN after every layer."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from facesem_jax.conv import conv2d, conv_transpose_4x4
from facesem_jax.generators.config import StyleGAN1Config
from facesem_jax.generators.generator import Generator
from facesem_jax.generators.layers import Buffer, EqualizedLinear, broadcast_w, leaky_relu
from facesem_jax.generators.mapping import Mapping
from facesem_jax.generators.resample import blur, upsample_nearest
from facesem_jax.normalization import group_normalise
from facesem_jax.one_program import one_program
from facesem_jax.stages import Stages, last_stage


def instance_norm(x: Float[Array, "n h w c"], epsilon: float = 1e-8) -> Float[Array, "n h w c"]:
    """Zero mean and unit variance of every map: ``(x - mean) / sqrt(var + epsilon)``.

    Args:
      x: Maps.
      epsilon: Guard against a constant map.

    Returns:
      Maps of the same shape (StyleGAN, equation 1).
    """
    return group_normalise(x, x.shape[-1], epsilon)


def upsample_conv2d_fused(
    x: Float[Array, "n h w c"], kernel: Float[Array, "3 3 c o"]
) -> Float[Array, "n 2*h 2*w o"]:
    """Up-sampling and convolution in one: a transposed 4x4 convolution of stride 2.

    The 4x4 kernel is the sum of the 3x3 kernel at its four offsets, so that away from the border
    the result is that of nearest up-sampling followed by the mirrored 3x3 kernel (StyleGAN's
    official code, ``fused_scale``).

    Args:
      x: Input maps.
      kernel: Weights, HWIO, in PyTorch's orientation.

    Returns:
      Output maps at twice the height and width.
    """
    padded = jnp.pad(kernel, ((1, 1), (1, 1), (0, 0), (0, 0)))
    return conv_transpose_4x4(
        x, padded[1:, 1:] + padded[:-1, 1:] + padded[1:, :-1] + padded[:-1, :-1]
    )


class AdaptiveLayer(nnx.Module):
    """Convolution (or a constant), noise, bias, leaky ReLU, then AdaIN (StyleGAN, figure 1b)."""

    def __init__(
        self,
        channels_in: int | None,
        channels_out: int,
        w_dim: int,
        resolution: int,
        *,
        up: bool = False,
        fused: bool = False,
        rngs: nnx.Rngs,
    ):
        """Draws the weights and the noise map.

        Args:
          channels_in: Input channels; ``None`` starts from a learned constant.
          channels_out: Output channels.
          w_dim: Size of w.
          resolution: Height and width of the output.
          up: Whether this layer doubles the resolution (and blurs).
          fused: Whether it doubles it by a transposed convolution.
          rngs: Source of weights (``params``) and noise (``noise``).
        """
        if channels_in is None:
            self.const = nnx.Param(jnp.ones((resolution, resolution, channels_out)))
        else:
            shape = (3, 3, channels_in, channels_out)
            self.kernel = nnx.Param(jax.random.normal(rngs.params(), shape))
            # Equalised learning rate with He's gain.
            self.kernel_scale = (2 / (9 * channels_in)) ** 0.5
        self.bias = nnx.Param(jnp.zeros(channels_out))
        self.noise_strength = nnx.Param(jnp.zeros(channels_out))
        self.noise = Buffer(jax.random.normal(rngs.noise(), (resolution, resolution)))
        self.affine = EqualizedLinear(w_dim, 2 * channels_out, rngs=rngs)
        self.up = up
        self.fused = fused

    def __call__(
        self, x: Float[Array, "n h w c"] | None, w: Float[Array, "n d"]
    ) -> Float[Array, "n h2 w2 o"]:
        """Applies the layer under the latent w; x is ``None`` where the layer starts the chain."""
        if x is None:
            x = jnp.broadcast_to(self.const[...], (w.shape[0], *self.const[...].shape))
        else:
            kernel = self.kernel[...] * self.kernel_scale
            if self.up and self.fused:
                x = upsample_conv2d_fused(x, kernel)
            else:
                x = conv2d(upsample_nearest(x) if self.up else x, kernel)
            x = blur(x) if self.up else x
        x = x + self.noise[...][:, :, None] * self.noise_strength[...] + self.bias[...]
        x = instance_norm(leaky_relu(x, gain=1.0))
        scale, shift = jnp.split(self.affine(w)[:, None, None, :], 2, axis=-1)
        return x * (scale + 1) + shift


class StyleGAN1Synthesis(nnx.Module):
    """The synthesis network: w or w_plus -> image, read off the last maps alone."""

    def __init__(self, config: StyleGAN1Config, *, rngs: nnx.Rngs):
        """Draws the weights.

        Args:
          config: Sizes.
          rngs: Source of weights (``params``) and noise (``noise``).
        """
        c = config
        layers = []
        for index, channels in enumerate(c.channels):
            size = 4 * 2**index
            before = c.channels[index - 1] if index else None
            shared = {"w_dim": c.w_dim, "resolution": size, "rngs": rngs}
            up = {"up": index > 0, "fused": size >= c.fused_resolution}
            layers.append(AdaptiveLayer(before, channels, **up, **shared))
            layers.append(AdaptiveLayer(channels, channels, **shared))
        self.layers = nnx.List(layers)
        last = c.channels[-1]
        self.to_rgb = nnx.Param(jax.random.normal(rngs.params(), (1, 1, last, c.image_channels)))
        self.to_rgb_bias = nnx.Param(jnp.zeros(c.image_channels))
        self.to_rgb_scale = last**-0.5
        self.w_dim = c.w_dim
        self.num_layers = c.num_layers

    def stages(self, w: Float[Array, "n d"] | Float[Array, "n l d"]) -> Stages:
        """Every layer's output with its name, in order; the last is the image."""
        ws = broadcast_w(w, self.num_layers, self.w_dim)
        x = None
        for index, layer in enumerate(self.layers):
            x = layer(x, ws[:, index])
            yield f"layers.{index}", x
        yield "to_rgb", conv2d(x, self.to_rgb[...] * self.to_rgb_scale) + self.to_rgb_bias[...]

    def __call__(self, w: Float[Array, "n d"] | Float[Array, "n l d"]) -> Float[Array, "n h w 3"]:
        """Draws images.

        Args:
          w: Intermediate latents, (n, w_dim), or one per layer, (n, num_layers, w_dim).

        Returns:
          Images (n, resolution, resolution, 3), nominally in [-1, 1] (not clipped).

        Raises:
          FacesemError: On a wrong shape or dtype.
        """
        return self._drawn(broadcast_w(w, self.num_layers, self.w_dim))

    @one_program
    def _drawn(self, ws):
        return last_stage(self.stages(ws))


class StyleGAN1(Generator):
    """A StyleGAN 1 generator: ``synthesis(mapping(z))``.

    Its mapping network is `Mapping` with biases divided by sqrt 2: StyleGAN 1 has the gain of
    sqrt 2 in the weights, before the bias, StyleGAN2 in the activation, after it.
    """

    def __init__(self, config: StyleGAN1Config, *, rngs: nnx.Rngs):
        """Draws the weights.

        Args:
          config: Sizes.
          rngs: Source of weights (``params``) and noise (``noise``).
        """
        self.config = config
        self.mapping = Mapping.of(config, rngs=rngs)
        self.synthesis = StyleGAN1Synthesis(config, rngs=rngs)
