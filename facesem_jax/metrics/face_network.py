"""dlib's face-recognition network in JAX: the feature space of the quality measures.

The original takes 8-bit pictures alone, one at a time. A path length over steps of 1e-4 would read
nothing there but rounding, and tens of thousands of faces would take hours. Here pictures stay
float32, and the function can be differentiated. It equals the original up to the rounding of the
enlarged picture (`tests/metrics/test_face_network.py`).
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from facesem_jax.checks import check_images
from facesem_jax.conv import PRECISION, conv2d
from facesem_jax.errors import FacesemError

SIZE = 150
"""Pixels per side that the network reads."""
#: Blocks of residuals: channels of each, whether its first halves the resolution.
_STAGES = ((32, 3, False), (64, 4, True), (128, 3, True), (256, 3, True), (256, 1, True))
_MEANS = (122.782, 117.001, 104.298)


class Layer(NamedTuple):
    """A convolution with its affine layer folded in.

    Attributes:
      kernel: HWIO.
      bias: Per output channel.
    """

    kernel: Float[Array, "a b c o"]
    bias: Float[Array, " o"]


class FaceNetwork(NamedTuple):
    """The weights, in the order of computation.

    Attributes:
      layers: The first convolution, then two per residual block (29 in all).
      head: From the mean of the last maps to the embedding.
    """

    layers: tuple[Layer, ...]
    head: Float[Array, "256 128"]


def layer_shapes() -> list[tuple[int, int, int]]:
    """Kernel side, input and output channels of every convolution."""
    shapes, channels = [(7, 3, 32)], 32
    for width, blocks, _ in _STAGES:
        for _ in range(blocks):
            shapes += [(3, channels, width), (3, width, width)]
            channels = width
    return shapes


def face_network(layers: Sequence[Layer], head: Float[Array, "256 128"]) -> FaceNetwork:
    """Checks weights.

    Raises:
      FacesemError: If a shape is not the network's.
    """
    shapes = layer_shapes()
    found = [layer.kernel.shape for layer in layers]
    if found != [(s, s, i, o) for s, i, o in shapes] or head.shape != (256, 128):
        raise FacesemError("these are not the weights of dlib's face-recognition network.")
    return FaceNetwork(tuple(layers), head)


def embed_faces(network: FaceNetwork, images: Float[Array, "n h w 3"]) -> Float[Array, "n 128"]:
    """Embeddings of faces that fill their frame.

    The picture is enlarged to 150x150 by cubic interpolation, the channels' means are subtracted;
    a 7x7 convolution and max pooling, 14 residual blocks of two 3x3 convolutions, the mean, a
    linear map. Where a block halves the resolution its shortcut is average-pooled; whichever of
    both is smaller (in maps or in pixels) is filled up with zeros.

    Args:
      network: The weights.
      images: RGB in [-1, 1]; values outside are not clipped here.

    Returns:
      Of norm 1.3 or so; faces closer than 0.6 are taken for one person.

    Raises:
      FacesemError: If the images have a wrong shape or dtype.

    Source:
      King, "High quality face recognition with deep metric learning" (dlib, 2017); He et al.,
      arXiv 1512.03385.

    Example:
      >>> shapes = layer_shapes()
      >>> layers = [Layer(jnp.zeros((s, s, i, o)), jnp.zeros(o)) for s, i, o in shapes]
      >>> network = face_network(layers, jnp.zeros((256, 128)))
      >>> jax.eval_shape(embed_faces, network, jnp.zeros((2, 64, 64, 3))).shape
      (2, 128)
    """
    check_images("images", images)
    n = images.shape[0]
    # Keys' cubic with a = -1/2, as Pillow's.
    x = jax.image.resize(images, (n, SIZE, SIZE, 3), "cubic", antialias=False, precision=PRECISION)
    x = (127.5 * (x + 1) - jnp.array(_MEANS, x.dtype)) / 256
    layers = iter(network.layers)
    x = jax.nn.relu(_convolve(x, next(layers), 2))
    x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "VALID")
    for _, blocks, halves in _STAGES:
        for block in range(blocks):
            down = halves and block == 0
            y = jax.nn.relu(_convolve(x, next(layers), 2 if down else 1))
            y = _convolve(y, next(layers), 1)
            x = jax.nn.relu(_add(y, _mean_pool(x) if down else x))
    return jnp.dot(jnp.mean(x, axis=(1, 2)), network.head, precision=PRECISION)


def _convolve(x, layer: Layer, stride: int):
    pad = 0 if stride > 1 else layer.kernel.shape[0] // 2
    return conv2d(x, layer.kernel, stride=stride, padding=[(pad, pad), (pad, pad)]) + layer.bias


def _mean_pool(x):
    total = jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return total / 4


def _add(a, b):
    shape = [max(p, q) for p, q in zip(a.shape, b.shape, strict=True)]

    def filled(v):
        return jnp.pad(v, [(0, s - have) for s, have in zip(shape, v.shape, strict=True)])

    return filled(a) + filled(b)
