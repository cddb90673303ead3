"""The loop around a training step: resume, progress, checkpoints, sample sheets, a log."""

import dataclasses
import json
import math
import pathlib
import time
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from experiments.output_files import make_directory
from facesem_jax.errors import FacesemError

#: `TrainState` or `GameState`: a pytree with a ``step``.
State = TypeVar("State")


@dataclasses.dataclass(frozen=True)
class LoopConfig:
    """How a training run is driven.

    Attributes:
      steps: Steps in all, counted from the very first run.
      directory: Where checkpoints, sheets and the log go; a run found there is resumed.
      checkpoint_seconds: Seconds between checkpoints.
      sheet_steps: Steps between sample sheets.
      log_steps: Steps between lines of ``log.jsonl``.
    """

    steps: int
    directory: pathlib.Path
    checkpoint_seconds: float = 180.0
    sheet_steps: int = 1000
    log_steps: int = 50


def cosine_tail(learning_rate: float, steps: int, tail: float = 0.4) -> optax.Schedule:
    """Constant, then a cosine to a tenth over the last ``tail`` of the steps."""
    flat = int(steps * (1 - tail))
    return optax.join_schedules(
        [
            optax.constant_schedule(learning_rate),
            optax.cosine_decay_schedule(learning_rate, max(steps - flat, 1), alpha=0.1),
        ],
        [flat],
    )


def _manager(directory: pathlib.Path) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(max_to_keep=2, create=True)
    return ocp.CheckpointManager(directory.absolute() / "checkpoints", options=options)


def restore_latest(
    directory: pathlib.Path, template: State, *, extra: bool = False
) -> State | None:
    """The last checkpoint of a run, or ``None`` where there is none.

    Args:
      directory: The run's directory.
      template: A state of the same structure and shapes.
      extra: Whether the run's state may hold arrays after those of the template
        (`facesem_jax.training.state.TrainState.extra`); they are left out.

    Raises:
      FacesemError: If the checkpoint has another structure (another configuration).
    """
    if not (directory / "checkpoints").is_dir():
        return None
    with _manager(directory) as manager:
        step = manager.latest_step()
        if step is None:
            return None
        leaves, structure = jax.tree.flatten(template)
        wanted = _by_number(leaves)
        try:
            if extra:
                restored = manager.restore(step, args=ocp.args.StandardRestore())
                restored = {k: _of_shape(restored[k], leaf) for k, leaf in wanted.items()}
            else:
                restored = manager.restore(step, args=ocp.args.StandardRestore(wanted))
        except (ValueError, KeyError, TypeError) as error:
            raise FacesemError(
                f"{directory} holds a run of another configuration; "
                "choose another directory or remove it."
            ) from error
        return jax.tree.unflatten(structure, [restored[k] for k in sorted(restored)])


def _by_number(leaves: list) -> dict[str, Any]:
    """Leaves under sortable names: independent of how a library version nests its modules."""
    return {f"{i:05d}": leaf for i, leaf in enumerate(leaves)}


def _of_shape(array, leaf):
    if jnp.shape(array) != jnp.shape(leaf):
        raise ValueError(f"{jnp.shape(array)} in the place of {jnp.shape(leaf)}")
    return array


def run_training(
    config: LoopConfig,
    state: State,
    step: Callable[[State, Any], tuple[State, dict]],
    batch: Callable[[int], Any],
    sheet: Callable[[State], np.ndarray] | None = None,
    prepare: Callable[[int, State, Any], tuple[State, Any]] | None = None,
) -> State:
    """Trains to ``config.steps``, from the last checkpoint if there is one.

    Args:
      config: How to drive the run.
      state: The start (and the template of the checkpoints).
      step: Pure step function; compiled here, its state donated.
      batch: Step number to batch, so that a resumed run sees what an uninterrupted one sees.
      sheet: State to an RGB picture (h, w, 3) in [0, 255], written now and then.
      prepare: ``(step number, state, batch)`` to the state and the batch that the step takes, for
        what depends on the state: directions measured anew every so many steps, and kept in the
        state so that a resumed run has them; the pictures drawn along them.

    Returns:
      The final state, checkpointed.

    Raises:
      FacesemError: If the loss stops being finite, or a checkpoint does not fit.
    """
    make_directory(config.directory)
    restored = restore_latest(config.directory, state)
    state = state if restored is None else restored
    compiled = jax.jit(step, donate_argnums=0)
    start = int(state.step)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with (
        _manager(config.directory) as manager,
        open(config.directory / "log.jsonl", "a") as log,
        Progress(*columns) as progress,
    ):
        task = progress.add_task("training", total=config.steps, completed=start)

        def check(done, terms):
            values = {k: round(float(v), 6) for k, v in terms.items()}
            if not all(math.isfinite(v) for v in values.values()):
                raise FacesemError(
                    f"step {done}: {values}; training diverged. Lower the learning rate and "
                    f"resume from the last checkpoint in {config.directory}."
                )
            return values

        def save(number):
            manager.save(number, args=ocp.args.StandardSave(_by_number(jax.tree.leaves(state))))
            manager.wait_until_finished()

        saved, began = time.monotonic(), time.monotonic()
        for number in range(start, config.steps):
            given = batch(number)
            if prepare is not None:
                state, given = prepare(number, state, given)
            state, terms = compiled(state, given)
            done = number + 1
            if done % config.log_steps == 0 or done == config.steps:
                values = check(done, terms)
                seconds = round(time.monotonic() - began, 1)
                log.write(json.dumps({"step": done, "seconds": seconds} | values) + "\n")
                log.flush()
                shown = f"loss {values['loss']:.4f}"
                progress.update(task, completed=done, description=shown)
            if sheet is not None and (done % config.sheet_steps == 0 or done == config.steps):
                _write_picture(config.directory / f"sheet_{done:06d}.png", sheet(state))
            if time.monotonic() - saved > config.checkpoint_seconds:
                check(done, terms)  # A state that diverged must not become the one to resume from.
                save(done)
                saved = time.monotonic()
        if config.steps > start:
            save(config.steps)
    return state


def _write_picture(path: pathlib.Path, picture: np.ndarray) -> None:
    from PIL import Image

    partial = path.with_name(f".{path.name}")
    Image.fromarray(np.asarray(picture, np.uint8)).save(partial, format="PNG")
    partial.replace(path)
