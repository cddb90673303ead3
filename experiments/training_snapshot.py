"""The decomposer of a training run that may still be going on, read without touching the run."""

import pathlib
import shutil
import tempfile

import optax
from flax import nnx

from experiments.pretrain_decomposer import Options
from experiments.training_loop import cosine_tail, restore_latest
from facesem_jax.decomposer import Decomposer, DecomposerConfig
from facesem_jax.errors import FacesemError
from facesem_jax.training.state import init_state, modules_of


def snapshot_decomposer(directory: pathlib.Path) -> tuple[Decomposer, int]:
    """The averaged decomposer of the last checkpoint of `experiments.pretrain_decomposer`.

    The checkpoint is copied first: the run's own checkpoint manager may be writing beside it.

    Args:
      directory: The run's directory.

    Returns:
      The decomposer, and the number of steps it has been trained for.

    Raises:
      FacesemError: If there is no checkpoint, or one of another configuration.
    """
    options = Options()
    # Only the structure of the optimiser's state matters here, not its settings.
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adam(cosine_tail(options.learning_rate, options.steps)),
    )
    decomposer = Decomposer(DecomposerConfig.compact(), rngs=nnx.Rngs(0))
    graph, template = init_state(decomposer, optimizer)
    with tempfile.TemporaryDirectory() as copy:
        _copy_latest(directory, pathlib.Path(copy))
        state = restore_latest(pathlib.Path(copy), template)
    return modules_of(graph, state, averaged=True), int(state.step)


def _copy_latest(directory: pathlib.Path, target: pathlib.Path) -> None:
    checkpoints = directory / "checkpoints"
    # An unfinished checkpoint has a longer name than its number.
    steps = [int(p.name) for p in checkpoints.glob("*") if p.name.isdigit()]
    if not steps:
        raise FacesemError(f"{directory} holds no checkpoint of a training.")
    latest = str(max(steps))
    shutil.copytree(checkpoints / latest, target / "checkpoints" / latest)
