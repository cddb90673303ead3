"""The decomposer of a training run that may still be going on, read without touching the run."""

import pathlib
import shutil
import tempfile

from experiments.pretrain_decomposer import trained_decomposer
from facesem_jax.decomposer import Decomposer, DecomposerConfig
from facesem_jax.errors import FacesemError


def snapshot_decomposer(
    directory: pathlib.Path, config: DecomposerConfig | None = None
) -> tuple[Decomposer, int]:
    """The averaged decomposer of the last checkpoint of `experiments.pretrain_decomposer`.

    The checkpoint is copied first: the run's own checkpoint manager may be writing beside it.

    Args:
      directory: The run's directory.
      config: As for `trained_decomposer`.

    Returns:
      The decomposer, and the number of steps it has been trained for.

    Raises:
      FacesemError: If there is no checkpoint, or one of another configuration.
    """
    with tempfile.TemporaryDirectory() as copy:
        _copy_latest(directory, pathlib.Path(copy))
        return trained_decomposer(pathlib.Path(copy), config)


def _copy_latest(directory: pathlib.Path, target: pathlib.Path) -> None:
    checkpoints = directory / "checkpoints"
    # An unfinished checkpoint has a longer name than its number.
    steps = [int(p.name) for p in checkpoints.glob("*") if p.name.isdigit()]
    if not steps:
        raise FacesemError(f"{directory} holds no checkpoint of a training.")
    latest = str(max(steps))
    shutil.copytree(checkpoints / latest, target / "checkpoints" / latest)
