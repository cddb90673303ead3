"""A change of coordinates in W: unit covariance, zero mean, the same pictures."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from facesem_jax.checks import check_shape
from facesem_jax.conv import PRECISION
from facesem_jax.generators.encoder import Encoder
from facesem_jax.generators.stylegan2 import Synthesis


def _dot(a: Array, b: Array) -> Array:
    return jnp.dot(a, b, precision=PRECISION)


def whitening(
    samples: Float[Array, "n d"], floor: float = 1e-3
) -> tuple[Float[Array, " d"], Float[Array, "d d"], Float[Array, "d d"]]:
    """Mean m and symmetric matrix M such that ``(x - m) M`` has unit covariance (ZCA).

    Args:
      samples: More of them than dimensions.
      floor: Least variance, relative to the largest, that is brought to 1.

    Returns:
      m, M and the inverse of M.
    """
    check_shape("samples", samples, (None, None))
    mean = jnp.mean(samples, axis=0)
    centred = samples - mean
    covariance = _dot(centred.T, centred) / samples.shape[0]
    values, vectors = jnp.linalg.eigh(covariance)
    deviation = jnp.sqrt(jnp.maximum(values, floor * values[-1]))
    return mean, _dot(vectors / deviation, vectors.T), _dot(vectors * deviation, vectors.T)


def whiten_latents(
    encoder: Encoder, synthesis: Synthesis, encodings: Float[Array, "n d"]
) -> tuple[Encoder, Synthesis]:
    """Rewrites both networks for ``w' = (w - m) M``; their composition stays what it was.

    The encoder's last layer becomes ``(. - m) M`` of itself, every affine layer of the synthesis
    network ``w -> w A + b`` becomes ``w' -> w' M^-1 A + (b + m A)``. In the new coordinates a
    distance means the same in every direction, in units of the faces' own standard deviation.

    Args:
      encoder: Image to w.
      synthesis: w to image.
      encodings: The encoder's outputs on many faces.

    Returns:
      New networks; the given ones are left as they are.
    """
    mean, matrix, inverse = whitening(encodings)
    encoder, synthesis = nnx.clone((encoder, synthesis))
    encoder.head[...] = _dot(encoder.head[...], matrix)
    encoder.bias[...] = _dot(encoder.bias[...] - mean, matrix)
    for layer in (*synthesis.convs, *synthesis.to_rgbs):
        affine = layer.affine
        kernel = affine.kernel[...]
        affine.bias[...] = affine.bias[...] + _dot(mean, kernel) * (
            affine.kernel_scale / affine.lr_multiplier
        )
        affine.kernel[...] = _dot(inverse, kernel)
    return encoder, synthesis
