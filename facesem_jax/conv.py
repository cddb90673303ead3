r"""NHWC convolutions whose kernel gradients are fast on CPUs too.

XLA computes the gradient with respect to a kernel as a convolution whose window is the whole
image. Its CPU backend runs that well for kernels of 3x3 and more, but hundreds of times slower than
the forward pass for the 2x2 kernels of an up-sampling convolution (measured on one
core for 8x8 maps, 192 -> 512 channels, batch 32: 2.06 s against 0.008 s forward). There the same
gradient is one matrix product per kernel tap, ``dK[a, b] = x_shifted[a, b]^T dy`` (0.023 s).
`conv2d` states this through its tangent rule, so forward mode, reverse mode and their nesting all
keep working.
"""

import functools
import os
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from facesem_jax.errors import FacesemError

_VARIABLE = "FACESEM_PRECISION"


def named_precision(name: str) -> jax.lax.Precision:
    """The precision of matrix products and convolutions by name.

    Args:
      name: "HIGHEST", "HIGH" or "DEFAULT".

    Raises:
      FacesemError: On another name.
    """
    try:
        return jax.lax.Precision[name]
    except KeyError:
        raise FacesemError(
            f"{_VARIABLE} is {name!r}; choose from HIGHEST, HIGH and DEFAULT."
        ) from None


#: Float32 products everywhere: TPUs and TF32 GPUs would default to fewer bits. A training that can
#: do with those sets the environment variable FACESEM_PRECISION to DEFAULT.
PRECISION = named_precision(os.environ.get(_VARIABLE, "HIGHEST"))
_DIMENSIONS = ("NHWC", "HWIO", "NHWC")
# The largest kernel area for which one product per tap beats XLA's own kernel gradient.
_TAPS_AREA = 4

Padding = str | Sequence[tuple[int, int]]


def _explicit_padding(x, kernel, stride: int, padding: Padding) -> tuple[tuple[int, int], ...]:
    if isinstance(padding, str):
        padding = jax.lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], (stride, stride), padding)
    return tuple((int(a), int(b)) for a, b in padding)


def _dense(x, kernel, stride, pads):
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), pads, dimension_numbers=_DIMENSIONS, precision=PRECISION
    )


def _by_taps(x, kernel, stride, pads):
    """The convolution as one matrix product per tap: slow forward, fast transposed in kernel."""
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    rows, columns = kernel.shape[:2]
    height = (x.shape[1] - rows) // stride + 1
    width = (x.shape[2] - columns) // stride + 1
    total = None
    for a in range(rows):
        for b in range(columns):
            shifted = x[
                :,
                a : a + (height - 1) * stride + 1 : stride,
                b : b + (width - 1) * stride + 1 : stride,
            ]
            term = jnp.einsum("nhwc,co->nhwo", shifted, kernel[a, b], precision=PRECISION)
            total = term if total is None else total + term
    return total


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _conv2d(x, kernel, stride, pads):
    return _dense(x, kernel, stride, pads)


def _conv2d_jvp(stride, pads, primals, tangents):
    x, kernel = primals
    dx, dkernel = tangents
    y = _dense(x, kernel, stride, pads)
    dy = None
    if not isinstance(dx, SymbolicZero):
        dy = _dense(dx, kernel, stride, pads)
    if not isinstance(dkernel, SymbolicZero):
        small = kernel.shape[0] * kernel.shape[1] <= _TAPS_AREA
        dk = (_by_taps if small else _dense)(x, dkernel, stride, pads)
        dy = dk if dy is None else dy + dk
    return y, jnp.zeros_like(y) if dy is None else dy


_conv2d.defjvp(_conv2d_jvp, symbolic_zeros=True)


def conv2d(
    x: Float[Array, "n h w c"],
    kernel: Float[Array, "kh kw c o"],
    stride: int = 1,
    padding: Padding = "SAME",
) -> Float[Array, "n h2 w2 o"]:
    """Convolution (cross-correlation, as in every deep-learning library).

    Args:
      x: Input maps.
      kernel: Weights.
      stride: Step in pixels, the same on both axes.
      padding: "SAME", "VALID" or ((top, bottom), (left, right)) in pixels.

    Returns:
      Output maps, float32 products at full precision.
    """
    return _conv2d(x, kernel, stride, _explicit_padding(x, kernel, stride, padding))


def conv_transpose_4x4(
    x: Float[Array, "n h w c"], kernel: Float[Array, "4 4 c o"]
) -> Float[Array, "n h2 w2 o"]:
    """Transposed 4x4 convolution of stride 2 and padding 1.

    Args:
      x: (n, h, w, c).
      kernel: (4, 4, c, o); ``out[2 i + a - 1] += x[i] kernel[a]`` along each axis.

    Returns:
      (n, 2h, 2w, o).
    """
    # A matrix product and an overlap-add of 2x2 blocks: XLA's CPU back end takes 10 to 40 times
    # as long over the kernel gradient of the equal convolution with a dilated input.
    n, h, w, c = x.shape
    o = kernel.shape[-1]
    patches = jnp.dot(x, kernel.transpose(2, 0, 1, 3).reshape(c, -1), precision=PRECISION)
    # Tap a = 2 q + r lands in block i + q at phase r; the axes are (q, r) along y, then along x.
    patches = patches.reshape(n, h, w, 2, 2, 2, 2, o)
    blocks = sum(
        jnp.pad(
            patches[:, :, :, q, :, s],
            ((0, 0), (q, 1 - q), (s, 1 - s), (0, 0), (0, 0), (0, 0)),
        )
        for q in (0, 1)
        for s in (0, 1)
    )
    out = blocks.transpose(0, 1, 3, 2, 4, 5).reshape(n, 2 * h + 2, 2 * w + 2, o)
    return out[:, 1:-1, 1:-1]
