"""StyleGAN2's synthesis as a plain port writes it in JAX: a kernel of its own for every sample.

The weights are ours, the arithmetic that of the paper's equations 1 to 3 and of the codebases:
kernels scaled by the style and normalised, one grouped convolution for the samples, zeros inserted
and filtered where maps are doubled.

The CPU compiler of jaxlib 0.10.2 gets a jitted batch of tangents of this wrong from 192 channels
on, where the style comes from a product and scales the kernel of a convolution: the Jacobian of
the bundled pair is off by 0.43, relative, and right to 7e-7 without jit. Forward passes are right.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax import lax

from facesem_jax.conv import PRECISION
from facesem_jax.generators.layers import broadcast_w, leaky_relu
from facesem_jax.generators.stylegan2 import StyleGAN2

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def _conv(x, kernel, padding, *, up: int = 1, groups: int = 1):
    return lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        padding,
        lhs_dilation=(up, up),
        dimension_numbers=_DIMENSIONS,
        feature_group_count=groups,
        precision=PRECISION,
    )


def _filtered(x, pad: tuple[int, int], up: int = 1):
    """``upfirdn`` with [1, 3, 3, 1] and gain 4, as a depthwise convolution."""
    taps = jnp.array([1.0, 3.0, 3.0, 1.0], x.dtype)
    kernel = jnp.outer(taps, taps) / 16
    channels = x.shape[-1]
    kernel = jnp.broadcast_to(kernel[:, :, None, None], (4, 4, 1, channels))
    # Dilation inserts zeros between the pixels alone; upfirdn has them after the last one too.
    after = pad[1] + up - 1
    return _conv(x, kernel, [(pad[0], after)] * 2, up=up, groups=channels)


def _modulated(x, kernel, style, *, up=False, demodulate=True):
    size = kernel.shape[0]
    n, h, w, c = x.shape
    own = kernel[:, :, None] * style[:, :, None]  # (k, k, n, c, o)
    if demodulate:
        own = own * lax.rsqrt(jnp.sum(jnp.square(own), axis=(0, 1, 3), keepdims=True) + 1e-8)
    # One grouped convolution, samples as groups.
    x = x.transpose(1, 2, 0, 3).reshape(1, h, w, n * c)
    own = own.transpose(0, 1, 3, 2, 4).reshape(size, size, c, -1)
    if up:  # A transposed convolution, kernel turned by 180 degrees.
        y = _conv(x, own[::-1, ::-1], [(2, 2)] * 2, up=2, groups=n)
    else:
        y = _conv(x, own, [(size // 2, size // 2)] * 2, groups=n)
    y = y.reshape(*y.shape[1:3], n, -1).transpose(2, 0, 1, 3)
    return _filtered(y, (1, 1)) if up else y


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class WeightModulated:
    """A `StyleGAN2` whose ``synthesis`` modulates weights.

    Attributes:
      generator: Gives weights and sizes.
    """

    generator: StyleGAN2

    @property
    def config(self):
        """The generator's sizes."""
        return self.generator.config

    def synthesis(self, w):
        """Images of w (n, d) or (n, layers, d), without the clamp of StyleGAN2-ADA."""
        net = self.generator.synthesis
        ws = broadcast_w(w, net.num_layers, net.w_dim)
        x = jnp.broadcast_to(net.const[...], (ws.shape[0], *net.const[...].shape))
        image = None
        for block, rgb in enumerate(net.to_rgbs):
            for layer in range(max(2 * block - 1, 0), 2 * block + 1):
                conv = net.convs[layer]
                kernel = conv.kernel[...]
                # Scaled as the equalised learning rate does, which demodulation undoes.
                kernel = kernel * (kernel[..., 0].size ** -0.5)
                y = _modulated(x, kernel, conv.affine(ws[:, layer]), up=conv.up)
                noise = (conv.noise[...] * conv.noise_strength[...])[:, :, None]
                x = leaky_relu(y + noise + conv.bias[...])
            style = rgb.affine(ws[:, 2 * block + 1]) * rgb.style_scale
            own = _modulated(x, rgb.kernel[...], style, demodulate=False) + rgb.bias[...]
            image = own if image is None else _filtered(image, (2, 1), up=2) + own
        return image
