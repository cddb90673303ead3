"""Sets of synthetic heads in files: pictures with depth, view and light."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8

from experiments.localized_stages import Track
from experiments.output_files import make_directory
from facesem_jax.array_files import read_arrays
from facesem_jax.errors import FacesemError
from facesem_jax.heads import (
    HeadModel,
    HeadParameters,
    HeadSampling,
    HeadScene,
    draw_heads,
    load_heads,
    sample_heads,
)

#: Heads per call of the renderer.
_CHUNK = 50
#: Depth is kept as 16 bits over this range, scene units: steps of 5e-6, a tenth of a degree of a
#: normal, where 16-bit floats near 1 would make ten.
_NEAR, _FAR = 0.8, 1.2


@dataclasses.dataclass(frozen=True)
class HeadSet:
    """Pictures of heads and their truth.

    Attributes:
      pictures: 8-bit pictures.
      coded_depth: Depth in the view, 0 to 65535 for 0.8 to 1.2 scene units.
      mask: Where the head is.
      view: (pitch, yaw, roll) in radians, then scene units.
      light: (ambient, diffuse, d_x, d_y).
    """

    pictures: UInt8[np.ndarray, "n h w 3"]
    coded_depth: np.ndarray
    mask: Bool[np.ndarray, "n h w"]
    view: Float[np.ndarray, "n 6"]
    light: Float[np.ndarray, "n 4"]

    def __len__(self) -> int:
        """Number of heads."""
        return len(self.pictures)

    def images(self, rows=slice(None)) -> Float[np.ndarray, "m h w 3"]:
        """Pictures in [-1, 1]."""
        return self.pictures[rows].astype(np.float32) / 127.5 - 1

    def depth(self, rows=slice(None)) -> Float[np.ndarray, "m h w"]:
        """Depth in scene units."""
        return (self.coded_depth[rows] / 65535 * (_FAR - _NEAR) + _NEAR).astype(np.float32)


def draw_set(
    seed: int,
    count: int,
    track: Track,
    model: HeadModel | None = None,
    sampling: HeadSampling | None = None,
) -> HeadSet:
    """Draws a set.

    Args:
      seed: Of everything random.
      count: Heads.
      track: Progress over calls of the renderer.
      model: Of the heads; the bundled one if ``None``.
      sampling: Spread of view, light and expression; the default if ``None``.

    Raises:
      FacesemError: On fewer than 1 head.
    """
    if count < 1:
        raise FacesemError(f"A set of {count} heads was asked for; use at least 1.")
    model = load_heads() if model is None else model
    pieces = []
    for heads in _sampled(model, seed, count, track, sampling):
        drawn = jax.tree.map(np.asarray, draw_heads(model, heads))
        coded = np.clip((drawn.depth - _NEAR) / (_FAR - _NEAR), 0, 1) * 65535
        pieces.append(
            (
                np.round((drawn.image + 1) * 127.5).astype(np.uint8),
                np.round(coded).astype(np.uint16),
                drawn.mask,
                np.asarray(heads.view),
                np.asarray(heads.light),
            )
        )
    return HeadSet(*(np.concatenate(piece)[:count] for piece in zip(*pieces, strict=True)))


def frontal_depth(
    seed: int, count: int, track: Track, model: HeadModel | None = None
) -> tuple[Float[np.ndarray, "n h w"], Bool[np.ndarray, "n h w"]]:
    """True canonical depth of the heads of `draw_set`: that of the same heads, seen from the front.

    Args:
      seed: As there.
      count: As there.
      track: As there.
      model: As there.

    Returns:
      Depth in scene units, and where there is a head.
    """
    model = load_heads() if model is None else model
    scene, pieces = HeadScene(samples=1), []
    for heads in _sampled(model, seed, count, track):
        drawn = draw_heads(model, heads._replace(view=0 * heads.view), scene)
        pieces.append((np.asarray(drawn.depth), np.asarray(drawn.mask)))
    depth, mask = (np.concatenate(piece)[:count] for piece in zip(*pieces, strict=True))
    return depth, mask


def _sampled(
    model: HeadModel, seed: int, count: int, track: Track, sampling: HeadSampling | None = None
) -> Iterator[HeadParameters]:
    """A set's parameters, call by call of the renderer."""
    size, chunks = min(_CHUNK, count), -(-count // _CHUNK)
    sample = jax.jit(lambda key: sample_heads(model, key, size, sampling))
    for chunk in track(range(chunks), "drawing heads", chunks):
        yield sample(jax.random.fold_in(jax.random.key(seed), chunk))


def stored_set(path: pathlib.Path, seed: int, count: int, track: Track) -> HeadSet:
    """Reads a set, or draws and writes it.

    Args:
      path: The ``.npz`` file.
      seed: Of everything random.
      count: Heads.
      track: As for `draw_set`.

    Raises:
      FacesemError: If the file is damaged or holds another set.
    """
    fields = [f.name for f in dataclasses.fields(HeadSet)]
    if path.exists():
        arrays = read_arrays(path)
        described = arrays.pop("seed_and_count", None)
        if described is None or set(arrays) != set(fields):
            raise FacesemError(f"{path} is no set of synthetic heads; remove it.")
        if described.tolist() != [seed, count]:
            raise FacesemError(
                f"{path} holds {described[1]} heads of seed {described[0]}, but {count} of seed "
                f"{seed} are wanted; remove it or choose another directory."
            )
        return HeadSet(**arrays)
    make_directory(path.parent)
    heads = draw_set(seed, count, track)
    partial = path.with_name(f".{path.name}")
    with partial.open("wb") as stream:
        arrays = {name: getattr(heads, name) for name in fields}
        np.savez(stream, seed_and_count=np.array([seed, count]), **arrays)
    partial.replace(path)
    return heads


def shuffled_batches(count: int, batch_size: int, seed: int) -> Callable[[int], Array]:
    """Step number to rows of a set: every row once per pass, each pass in an order of its own.

    Args:
      count: Rows.
      batch_size: Rows per step.
      seed: Of the orders.

    Raises:
      FacesemError: On a batch larger than the set.
    """
    if not 0 < batch_size <= count:
        raise FacesemError(f"batch_size is {batch_size}; use 1 to {count}, the heads of the set.")
    per_pass = count // batch_size

    def rows(step: int):
        number, start = divmod(step, per_pass)
        order = np.random.default_rng((seed, number)).permutation(count)
        return order[start * batch_size : (start + 1) * batch_size]

    return rows
