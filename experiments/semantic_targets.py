"""The targets of the generator's training: a decomposer's semantics, fitted once per run."""

import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from rich.progress import track

from experiments.face_sources import stream_source
from experiments.output_files import make_directory, write_files
from experiments.pretrain_decomposer import load_any
from facesem_jax.array_files import npz_bytes, read_arrays
from facesem_jax.training.autoencode import Faces
from facesem_jax.training.semantic_anchor import (
    Projection,
    SemanticAnchor,
    fit_projection,
    semantic_features,
)

_FACES, _BATCH = 4096, 64


def _path(directory: pathlib.Path) -> pathlib.Path:
    return directory / "autoencode" / "anchor.npz"


def readout_size(directory: pathlib.Path, z_dim: int) -> int:
    """Targets of a run: as its anchor says, or the source's z where it has none."""
    path = _path(directory)
    return read_arrays(path)["matrix"].shape[1] if path.is_file() else z_dim


def semantic_anchor(directory: pathlib.Path, decomposer: str, seed: int) -> SemanticAnchor:
    """The run's anchor, fitted on stream faces where the run has none yet.

    Args:
      directory: Of the run.
      decomposer: A bundled name, a directory, or a run of `experiments.pretrain_decomposer`.
      seed: Of the faces.
    """
    module, path = load_any(decomposer), _path(directory)
    if not path.is_file():
        make_directory(path.parent)
        source = stream_source(seed)
        see = jax.jit(semantic_features)
        parts = [
            np.asarray(see(module, source.draw(source.latents(i, _BATCH))))
            for i in track(range(_FACES // _BATCH), "semantics of the stream")
        ]
        found = fit_projection(np.concatenate(parts), module.config.image_size)
        write_files({path: npz_bytes(found._asdict())})
    return SemanticAnchor(module, Projection(**jax.tree.map(jnp.asarray, read_arrays(path))))


def anchored_batches(
    faces: Callable[[int], Faces], anchor: SemanticAnchor
) -> tuple[Callable[[int], Faces], int]:
    """Batches whose targets are what an anchor sees in the faces.

    Args:
      faces: Step number to batch; the targets in it are not used.
      anchor: Images to targets.

    Returns:
      A function of the step's number, whose arrays are arguments where those of ``faces`` are, and
      the number of targets.
    """
    see = jax.jit(lambda anchor, x: anchor(x))

    def batch(faces, anchor, step: int) -> Faces:
        images = faces(step).images
        return Faces(images, see(anchor, images))

    return Partial(batch, faces, anchor), anchor.projection.matrix.shape[1]
