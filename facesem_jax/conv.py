r"""NHWC convolution whose kernel gradient is fast on CPUs too.

XLA computes the gradient with respect to a kernel as a convolution whose window is the whole
image, which its CPU backend runs up to 30 times slower than the forward pass (measured for
32x32 maps, 64 -> 128 channels: 2.1 s against 0.07 s). The same gradient is one matrix product
per kernel tap, ``dK[a, b] = x_shifted[a, b]^T dy`` (0.2 s). `conv2d` states this through its
tangent rule, so forward mode, reverse mode and their nesting all keep working.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

#: Float32 products everywhere: TPUs and TF32 GPUs would default to fewer bits.
PRECISION = jax.lax.Precision.HIGHEST
_DIMENSIONS = ("NHWC", "HWIO", "NHWC")

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
        dk = _by_taps(x, dkernel, stride, pads)
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
