r"""Up-sampling and filtering as shifted sums: [1, 3, 3, 1] (StyleGAN2), [1, 2, 1] (StyleGAN 1).

``upfirdn`` inserts zeros, pads and filters. Here both steps are folded into polyphase form:
each output phase is a short weighted sum of shifted inputs, so nothing is multiplied by the
inserted zeros, and no depthwise convolution is needed (XLA runs those slowly on CPUs).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from facesem_jax.conv import conv2d


def _interleave(even: Array, odd: Array, axis: int) -> Array:
    stacked = jnp.stack([even, odd], axis=axis + 1)
    shape = list(even.shape)
    shape[axis] *= 2
    return stacked.reshape(shape)


def _pad(x: Array, axis: int, before: int, after: int) -> Array:
    width = [(0, 0)] * x.ndim
    width[axis] = (before, after)
    return jnp.pad(x, width)


def _upsample_axis(x: Array, axis: int) -> Array:
    n = x.shape[axis]
    padded = _pad(x, axis, 1, 1)
    previous = jax.lax.slice_in_dim(padded, 0, n, axis=axis)
    following = jax.lax.slice_in_dim(padded, 2, n + 2, axis=axis)
    return _interleave(0.25 * previous + 0.75 * x, 0.75 * x + 0.25 * following, axis)


def upsample(x: Float[Array, "n h w c"]) -> Float[Array, "n 2*h 2*w c"]:
    """Doubles the resolution with the [1, 3, 3, 1] filter and zeros beyond the border.

    Equals ``upfirdn2d(x, outer(f, f) * 4 / 64, up=2, pad=(2, 1, 2, 1))`` with
    ``f = [1, 3, 3, 1]`` (StyleGAN2, section 4; the toRGB skip connections use it).

    Args:
      x: Maps or image.

    Returns:
      The same at twice the height and width.
    """
    return _upsample_axis(_upsample_axis(x, 1), 2)


def upsample_nearest(x: Float[Array, "n h w c"]) -> Float[Array, "n 2*h 2*w c"]:
    """Doubles the resolution by repeating pixels."""
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


def _blur_axis(x: Array, axis: int) -> Array:
    n = x.shape[axis]
    padded = _pad(x, axis, 1, 1)
    previous = jax.lax.slice_in_dim(padded, 0, n, axis=axis)
    following = jax.lax.slice_in_dim(padded, 2, n + 2, axis=axis)
    return 0.25 * (previous + following) + 0.5 * x


def blur(x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """Filters with [1, 2, 1] / 4 along both axes, zeros beyond the border (StyleGAN, appendix C).

    Args:
      x: Maps.

    Returns:
      Maps of the same shape.
    """
    return _blur_axis(_blur_axis(x, 1), 2)


def _filter_phases(phases: Array, axis: int) -> Array:
    """Applies [1, 3, 3, 1] / 4 to a signal held as (even, odd) phases of length n + 1.

    ``out[m] = sum_t f[t] y[m - 1 + t]`` with ``y[2 j] = even[j]``, ``y[2 j + 1] = odd[j]``.
    """
    even, odd = jnp.split(phases, 2, axis=-1)
    n = even.shape[axis] - 1

    def at(a, start):
        return jax.lax.slice_in_dim(a, start, start + n, axis=axis)

    odd_before = jax.lax.slice_in_dim(_pad(odd, axis, 1, 0), 0, n, axis=axis)
    out_even = 0.25 * (odd_before + at(even, 1)) + 0.75 * (at(even, 0) + at(odd, 0))
    out_odd = 0.25 * (at(even, 0) + at(odd, 1)) + 0.75 * (at(odd, 0) + at(even, 1))
    return _interleave(out_even, out_odd, axis)


def upsample_conv2d(
    x: Float[Array, "n h w c"], kernel: Float[Array, "3 3 c o"]
) -> Float[Array, "n 2*h 2*w o"]:
    """Transposed 3x3 convolution of stride 2, then the [1, 3, 3, 1] filter (gain 4).

    Equals StyleGAN2's up-sampling convolution: ``conv_transpose2d(x, kernel, stride=2)``
    gives 2 h + 1 rows, which the FIR filter with one row of padding brings to 2 h. The
    transposed convolution is computed as one dense 2x2 convolution at the low resolution
    whose output channels hold the four phases (16 products per input pixel and channel
    pair in place of the 36 that a zero-stuffed convolution spends).

    Args:
      x: Input maps.
      kernel: Weights, HWIO, in PyTorch's orientation (tap ``[a, b]`` of pixel ``(i, j)``
        lands on ``(2 i + a, 2 j + b)``).

    Returns:
      Output maps at twice the height and width.
    """
    channels_in, channels_out = kernel.shape[2:]
    zero = jnp.zeros((channels_in, channels_out), kernel.dtype)
    # Position j of the padded grid sees x[j - 1] and x[j]:
    #   even phase  y[2 j]     = k[2] x[j - 1] + k[0] x[j]
    #   odd phase   y[2 j + 1] =                 k[1] x[j]
    taps = {(0, 0): 2, (0, 1): 0, (1, 1): 1}  # (phase, tap of the 2x2 window) -> kernel row
    rows = [
        [
            [
                kernel[taps[pr, tr], taps[pc, tc]]
                if (pr, tr) in taps and (pc, tc) in taps
                else zero
                for pr in (0, 1)
                for pc in (0, 1)
            ]
            for tc in (0, 1)
        ]
        for tr in (0, 1)
    ]
    phase_kernel = jnp.stack([jnp.stack([jnp.concatenate(c, -1) for c in r]) for r in rows])
    phases = conv2d(x, phase_kernel, padding=[(1, 1), (1, 1)])
    # Channels are ordered (row phase, column phase, o): rows first splits the outer half.
    return _filter_phases(_filter_phases(phases, 1), 2)
