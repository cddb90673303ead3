"""Held-out faces that `experiments.decomposer_ablation` measures its decomposers on."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from experiments.face_sources import LatentSource, face_set, stream_source
from experiments.landmarks import installed, landmark_measurements
from facesem_jax import load_decomposer
from facesem_jax.array_files import read_arrays
from facesem_jax.training.coupled_pairs import pair_directions, pair_readings

#: Far from the seeds of any training.
_SEED = 1000
_FULL_SIZE = 64
_PIECE = 128
_DIRECTION_PIECES = 32
#: Where the coordinate along an edit's direction is put, to either side; its spread is 1.
AMOUNT = 1.5
#: The edits, in the order of `pair_directions`.
EDITS = ("pose", "light")


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Faces and what is known about them.

    Attributes:
      images: In [-1, 1], at the size that the decomposers are trained at.
      latents: The stream's z of each.
      landmarks: Pitch, yaw and roll in degrees by MediaPipe, NaN where it found no face; empty
        where MediaPipe is not installed.
      edited: Pairs of pictures of one z each, moved to either side along the direction of pose,
        and of light: (edit, face, side, h, w, 3).
    """

    images: Float[np.ndarray, "n h w 3"]
    latents: Float[np.ndarray, "n d"]
    landmarks: dict[str, Float[np.ndarray, " n"]]
    edited: Float[np.ndarray, "2 m 2 h w 3"]


def edit_directions(decomposer: str, source: LatentSource) -> Float[np.ndarray, "2 d"]:
    """The stream's directions of pose and light, as a finished decomposer finds them.

    Args:
      decomposer: Bundled name or directory.
      source: The stream, at that decomposer's size.
    """
    module, read = load_decomposer(decomposer), jax.jit(pair_readings)
    latents = [source.latents(k, _PIECE) for k in range(_DIRECTION_PIECES)]
    readings = jnp.concatenate([read(module, source.draw(z)) for z in latents])
    return np.asarray(pair_directions(jnp.concatenate(latents), readings))


def edited_pairs(
    source: LatentSource, directions: Float[np.ndarray, "2 d"], count: int
) -> Float[np.ndarray, "2 m 2 h w 3"]:
    """The same faces with their coordinate along a direction put to plus and to minus `AMOUNT`.

    Args:
      source: The stream.
      directions: From `edit_directions`.
      count: Faces.
    """
    z = source.latents(0, count)
    pairs = []
    for v in jnp.asarray(directions):
        rest = z - jnp.outer(z @ v, v)
        sides = [np.asarray(source.draw(rest + amount * v)) for amount in (AMOUNT, -AMOUNT)]
        pairs.append(np.stack(sides, axis=1))
    return np.clip(np.stack(pairs), -1, 1)


def held_out(path: pathlib.Path, size: int, faces: int, edited: int, decomposer: str) -> HeldOut:
    """The faces, from a file if an earlier run has left it there.

    Args:
      path: The file.
      size: Height and width of the images in pixels.
      faces: How many.
      edited: How many are edited.
      decomposer: Bundled name or directory, for `edit_directions`.

    Raises:
      FacesemError: If the file cannot be read, or the stream's package is not installed.
    """
    if not path.is_file():
        source = stream_source(_SEED, size)
        drawn = face_set(source, faces)
        full = stream_source(_SEED, _FULL_SIZE)
        arrays = {
            "images": drawn.images,
            "latents": drawn.latents,
            "edited": edited_pairs(
                stream_source(_SEED + 1, size),
                edit_directions(decomposer, stream_source(_SEED + 2, _FULL_SIZE)),
                edited,
            ),
        }
        if installed():
            found = landmark_measurements(face_set(full, faces).images)
            arrays |= {f"landmarks/{k}": found[k] for k in ("pitch", "yaw", "roll")}
        partial = path.with_name(f".{path.name}")
        with open(partial, "wb") as file:
            np.savez_compressed(file, **arrays)
        partial.replace(path)
    arrays = read_arrays(path)
    landmarks = {k.removeprefix("landmarks/"): v for k, v in arrays.items() if "/" in k}
    return HeldOut(arrays["images"], arrays["latents"], landmarks, arrays["edited"])
