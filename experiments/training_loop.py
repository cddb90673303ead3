"""The loop around a training step: resume, progress, checkpoints, sample sheets, a log."""

import dataclasses
import json
import math
import pathlib
import time
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from jax.tree_util import Partial
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
      steps_per_call: Steps that one compiled program takes, at most. On an accelerator a small
        network's step is over before the next one is sent; on a CPU loops of convolutions are slow.
    """

    steps: int
    directory: pathlib.Path
    checkpoint_seconds: float = 180.0
    sheet_steps: int = 1000
    log_steps: int = 50
    steps_per_call: int = 1


def steps_per_call(asked: int, backend: str | None = None) -> int:
    """Steps that one compiled program takes: what was asked for, or where that is 0, the default.

    Args:
      asked: By the user.
      backend: JAX's; the default one if ``None``.

    Returns:
      16 on an accelerator and 1 on a CPU, unless another number was asked for.

    Raises:
      FacesemError: On a number below 0.
    """
    if asked < 0:
        raise FacesemError(f"steps_per_call is {asked}; expected 0 for the default, or more.")
    return asked or (1 if (backend or jax.default_backend()) == "cpu" else 16)


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
    batch: Callable[..., Any],
    sheet: Callable[[State], np.ndarray] | None = None,
    prepare: Callable[[int, State, Any], tuple[State, Any]] | None = None,
    kind: Callable[[int], Hashable] | None = None,
) -> State:
    """Trains to ``config.steps``, from the last checkpoint if there is one.

    Args:
      config: How to drive the run.
      state: The start (and the template of the checkpoints).
      step: Pure step function; compiled here, its state donated.
      batch: Step number to batch, so that a resumed run sees what an uninterrupted one sees. For
        several steps per call it is compiled into them, with a number that is traced: then it
        must be pure, and a `jax.tree_util.Partial` whose arguments hold its arrays.
      sheet: State to an RGB picture (h, w, 3) in [0, 255], written now and then.
      prepare: ``(step number, state, batch)`` to the state and the batch that the step takes, for
        what depends on the state: directions measured anew every so many steps, and kept in the
        state so that a resumed run has them; the pictures drawn along them. Such steps go one by
        one.
      kind: Step number to what is compiled separately; ``batch`` is called with both. A program
        takes steps of one kind alone.

    Returns:
      The final state, checkpointed.

    Raises:
      FacesemError: If the loss stops being finite, or a checkpoint does not fit, or several steps
        per call are asked for where they cannot be.
    """
    call = _Calls(config, step, batch, prepare, kind)
    make_directory(config.directory)
    restored = restore_latest(config.directory, state)
    state = state if restored is None else restored
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
        done = start
        while done < config.steps:
            before = done
            state, terms, done = call(state, done)
            last = done == config.steps
            if last or done // config.log_steps > before // config.log_steps:
                values = check(done, terms)
                seconds = round(time.monotonic() - began, 1)
                log.write(json.dumps({"step": done, "seconds": seconds} | values) + "\n")
                log.flush()
                shown = f"loss {values['loss']:.4f}"
                progress.update(task, completed=done, description=shown)
            due = last or done // config.sheet_steps > before // config.sheet_steps
            if sheet is not None and due:
                _write_picture(config.directory / f"sheet_{done:06d}.png", sheet(state))
            if time.monotonic() - saved > config.checkpoint_seconds:
                check(done, terms)  # A state that diverged must not become the one to resume from.
                save(done)
                saved = time.monotonic()
        if config.steps > start:
            save(config.steps)
    return state


class _Calls:
    """Takes a run's next steps: one, or as many as go together."""

    def __init__(self, config: LoopConfig, step, batch, prepare, kind):
        if config.steps_per_call > 1 and (prepare is not None or not isinstance(batch, Partial)):
            raise FacesemError(
                f"steps_per_call is {config.steps_per_call}; this training takes its steps one by "
                "one: use 1."
            )
        self.config, self.batch, self.prepare, self.kind = config, batch, prepare, kind
        self.single = jax.jit(step, donate_argnums=0)

        def several_steps(state, batch, start, count, given):
            def one(state, number):
                return step(state, batch(number, *given))

            state, terms = jax.lax.scan(one, state, start + jnp.arange(count))
            return state, jax.tree.map(lambda x: x[-1], terms)

        self.several = jax.jit(several_steps, static_argnames=("count", "given"), donate_argnums=0)

    def _given(self, number: int) -> tuple:
        return () if self.kind is None else (self.kind(number),)

    def __call__(self, state, number: int):
        """The state, its terms and the number of steps after the steps that follow ``number``."""
        given, end = self._given(number), number + 1
        last = min(number + self.config.steps_per_call, self.config.steps)
        while end < last and self._given(end) == given:
            end += 1
        if end > number + 1:
            state, terms = self.several(state, self.batch, number, count=end - number, given=given)
            return state, terms, end
        data = self.batch(number, *given)
        if self.prepare is not None:
            state, data = self.prepare(number, state, data)
        return *self.single(state, data), number + 1


def _write_picture(path: pathlib.Path, picture: np.ndarray) -> None:
    from PIL import Image

    partial = path.with_name(f".{path.name}")
    Image.fromarray(np.asarray(picture, np.uint8)).save(partial, format="PNG")
    partial.replace(path)
