"""The face stream: endless unlabelled faces drawn by a pretrained DCGAN.

Everything is a function of (seed, index), so that a resumed run sees what an uninterrupted one
would have seen.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from facesem_jax.decomposer.crop import CropBox, crop_and_resize
from facesem_jax.generators.dcgan import DCGAN

#: The part of the DCGAN's 64x64 image that the face fills: rows 6 to 58, columns 8 to 56.
FACE_BOX = CropBox(top=6 / 64, left=8 / 64, height=52 / 64, width=48 / 64)


def stream_latents(seed: int, index: int | Array, count: int, z_dim: int) -> Float[Array, "n z"]:
    """Latents of one piece of the stream.

    Args:
      seed: Names the stream.
      index: Which piece, from 0.
      count: Latents in a piece, n.
      z_dim: Size of a latent.

    Returns:
      Standard normal latents (n, z_dim).
    """
    key = jax.random.fold_in(jax.random.key(seed), index)
    return jax.random.normal(key, (count, z_dim))


def stream_faces(dcgan: DCGAN, z: Float[Array, "n z"], size: int = 64) -> Float[Array, "n h w 3"]:
    """Faces of the stream: DCGAN images, cropped to the face and resized with antialiasing.

    Args:
      dcgan: The pretrained network.
      z: Latents.
      size: Height and width of the result in pixels.

    Returns:
      Images (n, size, size, 3) in [-1, 1].
    """
    return crop_and_resize(dcgan(z), FACE_BOX, size)


def to_uint8(images: Float[Array, "*b"]) -> UInt8[Array, "*b"]:
    """[-1, 1] to 0 .. 255, rounded; values outside are clipped."""
    return jnp.round(jnp.clip(images * 127.5 + 127.5, 0, 255)).astype(jnp.uint8)


def from_uint8(images: UInt8[Array, "*b"]) -> Float[Array, "*b"]:
    """0 .. 255 to [-1, 1], float32."""
    return jnp.asarray(images, jnp.float32) / 127.5 - 1
