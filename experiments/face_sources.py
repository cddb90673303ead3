"""Faces to train or to evaluate on: from the face stream or from a generator."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
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


@dataclasses.dataclass(frozen=True)
class LatentSource:
    """Endless latents and the faces that they stand for.

    Attributes:
      latents: ``(index, count)`` to latents (count, d): a function of the index, so that a resumed
        run sees what an uninterrupted one would have seen.
      draw: Latents to images in [-1, 1] as the decomposer sees them.
      latent_name: "w" or "z".
      z_dim: Size of the source's z.
    """

    latents: Callable[[int, int], jax.Array]
    draw: Callable[[jax.Array], jax.Array]
    latent_name: str
    z_dim: int


def stream_source(seed: int, size: int = 64) -> LatentSource:
    """The face stream.

    Args:
      seed: Of the latents.
      size: Height and width in pixels.

    Raises:
      FacesemError: If the stream's package is not installed.
    """
    dcgan = load_dcgan()
    z_dim = dcgan.config.z_dim
    draw = jax.jit(lambda dcgan, z: stream_faces(dcgan, z, size))
    return LatentSource(
        lambda index, count: stream_latents(seed, index, count, z_dim),
        Partial(draw, dcgan),
        "z",
        z_dim,
    )


def generator_source(name: str, seed: int, size: int = 64) -> LatentSource:
    """A generator's faces, without truncation.

    Args:
      name: Bundled name or directory.
      seed: Of the latents.
      size: Height and width in pixels, after the generator's own crop.

    Raises:
      FacesemError: If there is no such generator.
    """
    generator = load_generator(name)
    crop = load_crop(name) or "identity"
    z_dim = generator.config.z_dim
    mapping = jax.jit(lambda generator, z: generator.mapping(z))

    @jax.jit
    def draw(generator, w):
        return jnp.clip(crop_and_resize(generator.synthesis(w), crop, size), -1, 1)

    return LatentSource(
        lambda index, count: mapping(generator, stream_latents(seed, index, count, z_dim)),
        lambda w: draw(generator, w),
        "w",
        z_dim,
    )


def stream_batches(seed: int, batch_size: int) -> tuple[Callable[[int], Faces], int]:
    """Batches of the stream for a training.

    Args:
      seed: Of the stream.
      batch_size: Faces per step.

    Returns:
      A function of the step's number, whose arrays are arguments, and the size of the source's z.

    Raises:
      FacesemError: If the stream's package is not installed.
    """
    source = stream_source(seed)

    def batch(draw, step: int) -> Faces:
        z = source.latents(step, batch_size)
        return Faces(draw(z), z)

    return Partial(batch, source.draw), source.z_dim


def face_set(source: LatentSource, count: int, first: int = 0) -> FaceSet:
    """The first faces of a source, or those from another index on.

    Args:
      source: Where they come from.
      count: How many.
      first: Index of their first fifty, see `LatentSource.latents`.
    """
    pieces = []
    for index in range(-(-count // _BATCH)):
        latents = source.latents(first + index, _BATCH)
        pieces.append((np.asarray(source.draw(latents)), np.asarray(latents)))
    images, latents = (np.concatenate(p)[:count] for p in zip(*pieces, strict=True))
    return FaceSet(np.clip(images, -1, 1), latents, source.latent_name)
