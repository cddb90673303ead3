"""Faces to train or to evaluate on: from the face stream or from a generator."""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Float

from convert.face_stream import load_dcgan
from facesem_jax import load_crop, load_generator
from facesem_jax.decomposer.crop import crop_and_resize
from facesem_jax.training.autoencode import Faces
from facesem_jax.training.face_stream import stream_faces, stream_latents

_BATCH = 50


@dataclasses.dataclass(frozen=True)
class FaceSet:
    """Faces as the decomposer sees them, and what they were drawn from.

    Attributes:
      images: In [-1, 1].
      latents: w of the generator, or z of the face stream.
      latent_name: "w" or "z".
    """

    images: Float[np.ndarray, "n h w 3"]
    latents: Float[np.ndarray, "n d"]
    latent_name: str


def stream_batches(seed: int, batch_size: int) -> tuple[Callable[[int], Faces], int]:
    """Batches of the stream for a training.

    Args:
      seed: Of the stream.
      batch_size: Faces per step.

    Returns:
      A function of the step's number, and the size of the source's z.

    Raises:
      FacesemError: If the stream's package is not installed.
    """
    dcgan = load_dcgan()
    draw = jax.jit(stream_faces)

    def batch(step: int) -> Faces:
        z = stream_latents(seed, step, batch_size, dcgan.config.z_dim)
        return Faces(draw(dcgan, z), z)

    return batch, dcgan.config.z_dim


def stream_set(count: int, seed: int, size: int) -> FaceSet:
    """Draws faces from the stream.

    Args:
      count: How many.
      seed: Of the stream, as for a training.
      size: Height and width in pixels.

    Raises:
      FacesemError: If the stream's package is not installed.
    """
    dcgan = load_dcgan()
    draw = jax.jit(lambda z: (stream_faces(dcgan, z, size), z))
    return _draw(draw, dcgan.config.z_dim, count, seed, "z")


def generator_set(name: str, count: int, seed: int, size: int) -> FaceSet:
    """Draws faces from a generator, without truncation.

    Args:
      name: Bundled name or directory.
      count: How many.
      seed: Of the latents.
      size: Height and width in pixels, after the generator's own crop.

    Raises:
      FacesemError: If there is no such generator.
    """
    generator = load_generator(name)
    crop = load_crop(name) or "identity"

    @jax.jit
    def draw(z):
        w = generator.mapping(z)
        return crop_and_resize(generator.synthesis(w), crop, size), w

    return _draw(draw, generator.config.z_dim, count, seed, "w")


def _draw(draw: Callable, z_dim: int, count: int, seed: int, latent_name: str) -> FaceSet:
    pieces = []
    for index in range(-(-count // _BATCH)):
        images, latents = draw(stream_latents(seed, index, _BATCH, z_dim))
        pieces.append((np.clip(np.asarray(images), -1, 1), np.asarray(latents)))
    images, latents = (np.concatenate(p)[:count] for p in zip(*pieces, strict=True))
    return FaceSet(images, latents, latent_name)
