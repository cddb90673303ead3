"""Moments that survive a killed run: the state as an Orbax checkpoint, per-sample files beside."""

import hashlib
import json
import pathlib
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import jax
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import Array, Float, PyTree

from facesem_jax.checkpoint import damaged_file, file_digests
from facesem_jax.errors import FacesemError, first_line
from facesem_jax.semantics.moments import MomentStep, init, stream_moments
from facesem_jax.semantics.sample_file import SampleFile
from facesem_jax.semantics.sharding import Mesh, all_agree, of_first_process, on_host

FORMAT = "facesem-jax moments"
VERSION = 1
FILES = "files.json"
PARTIAL_SAMPLES = "samples.npy.partial"


def stream_resumable(
    derivative: Callable[[Float[Array, "d"]], PyTree],
    ws: Float[Array, "n d"],
    *,
    directory: str | pathlib.Path | None = None,
    seconds: float = 60.0,
    samples_path: str | pathlib.Path | None = None,
    batch_size: int = 4,
    name: str = "derivative",
    mesh: Mesh | None = None,
) -> Iterator[MomentStep]:
    """As `stream_moments`, from the last checkpoint on, and with the derivatives on disk if asked.

    A resumed stream takes the same batches, so that its result equals an uninterrupted one's to the
    last bit (to rounding, if it goes on with another mesh or other devices). The last state is
    kept too: the finished run, started again, gives its result at once.

    Args:
      derivative: As for `stream_moments`. The weights in its leaves are compared with those of the
        interrupted run; a plain function's code is not.
      ws: As for `stream_moments`.
      directory: Of the checkpoints, made if need be and for this alone; ``None`` for none. Several
        processes must all see it.
      seconds: At least so many between two checkpoints; the last step always writes one.
      samples_path: A `.npy` file, (n, ...), that takes every sample's derivative and appears when
        complete (see `SampleFile`); it is filled in ``directory`` and then moved, or beside itself.
      batch_size: As for `stream_moments`.
      name: As for `stream_moments`.
      mesh: As for `stream_moments`.

    Yields:
      A `MomentStep` per batch; first the one of the checkpoint, if there is one.

    Raises:
      FacesemError: As `stream_moments` and `SampleFile`; if the directory holds another run's
        checkpoint or a damaged one; if the derivative is not a single array and ``samples_path``
        is given.
    """
    if not seconds >= 0:
        raise FacesemError(f"seconds is {seconds}; expected 0 or more between two checkpoints.")
    shape = jax.eval_shape(derivative, jax.ShapeDtypeStruct(ws.shape[1:], ws.dtype))
    start = store = file = None
    with ExitStack() as stack:
        if directory is not None:
            key = fingerprint((derivative, ws), name, batch_size)
            store = stack.enter_context(MomentStore(directory, key))
            start = store.latest(shape, ws.shape[0])
        if samples_path is not None:
            if not hasattr(shape, "shape"):
                raise FacesemError(f"The {name} is not a single array; its samples have no file.")
            partial = None if store is None else store.directory / PARTIAL_SAMPLES
            done = 0 if start is None else start.done
            rows = (ws.shape[0], *shape.shape)
            file = SampleFile(samples_path, rows, shape.dtype, partial=partial, done=done)
            stack.enter_context(file)
        elif store is not None and (start is None or start.done < start.total):
            # What comes now is not in it: a later run with samples must not take it for whole.
            if jax.process_index() == 0:
                (store.directory / PARTIAL_SAMPLES).unlink(missing_ok=True)
        if start is not None:
            if file is not None and start.done == start.total:
                file.finish()
            yield start
        saved = time.monotonic()
        for step in stream_moments(
            derivative,
            ws,
            batch_size=batch_size,
            name=name,
            mesh=mesh,
            start=start,
            keep_samples=file is not None,
        ):
            last = step.done == step.total
            if file is not None:
                file.write(step)
            if store is not None and of_first_process(time.monotonic() - saved >= seconds or last):
                if file is not None:
                    file.flush()  # The rows that a state counts are on the disk before it.
                store.save(step)
                saved = time.monotonic()
            if file is not None and last:
                file.finish()
            yield step


def fingerprint(tree: PyTree, *settings) -> str:
    """SHA-256 over arrays, their names, shapes and types, and settings.

    Args:
      tree: Arrays, and static fields whose `repr` tells them apart.
      *settings: Further values, by their `repr`.

    Returns:
      64 hexadecimal digits, the same in every process.
    """
    # Functions among the static fields carry their address.
    structure = re.sub(r" at 0x[0-9a-f]+", "", str(jax.tree.structure(tree)))
    sha = hashlib.sha256(f"{structure} {settings!r}".encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.ascontiguousarray(on_host(leaf))
        sha.update(f"{jax.tree_util.keystr(path)} {array.shape} {array.dtype}".encode())
        sha.update(array.reshape(-1).view(np.uint8))
    return sha.hexdigest()


class MomentStore:
    """The last state of a stream, as an Orbax checkpoint; a context manager.

    States are stored whole, as NumPy arrays: a run may go on with other devices.

    Args:
      directory: Where; made if need be.
      key: What the stream computes, from `fingerprint`.

    Raises:
      FacesemError: If the directory cannot be written.
    """

    def __init__(self, directory: str | pathlib.Path, key: str):
        """Opens the directory."""
        self.directory, self.key = pathlib.Path(directory).absolute(), key
        self._checkpoints = self.directory / "moments"  # Not a training's "checkpoints".
        options = ocp.CheckpointManagerOptions(
            max_to_keep=1,
            cleanup_tmp_directories=True,  # What a run left that was killed while it wrote.
            enable_async_checkpointing=False,
        )
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(self._checkpoints, options=options)
        except OSError as error:
            raise FacesemError(
                f"The checkpoint directory {self.directory} cannot be written "
                f"({error.strerror or error}); choose another."
            ) from error

    def __enter__(self) -> "MomentStore":
        """Nothing more."""
        return self

    def __exit__(self, *_) -> None:
        """Closes the directory."""
        self._manager.close()

    def save(self, step: MomentStep) -> None:
        """Writes a state, whole or not at all, in place of the earlier one.

        Args:
          step: The state; all processes save the same step.

        Raises:
          FacesemError: If it cannot be written.
        """
        arrays = _by_number(on_host(step.moments))
        about = {
            "format": FORMAT,
            "version": VERSION,
            "fingerprint": self.key,
            "total": step.total,
        }
        args = ocp.args.Composite(
            moments=ocp.args.StandardSave(arrays), about=ocp.args.JsonSave(about)
        )
        try:
            self._manager.save(step.done, args=args)
            if jax.process_index() == 0:
                files = file_digests(self._checkpoints / str(step.done))
                content = json.dumps({"done": step.done, "files": files})
                temporary = self.directory / f".{FILES}"
                temporary.write_text(content)
                temporary.replace(self.directory / FILES)
        except OSError as error:
            raise FacesemError(
                f"The checkpoint in {self.directory} cannot be written ({error.strerror or error})."
            ) from error

    def latest(self, template: PyTree, total: int) -> MomentStep | None:
        """The last state that was written whole.

        Args:
          template: A sample, or its shapes, as for `init`.
          total: Samples in all.

        Returns:
          The state in NumPy, or ``None`` where there is none.

        Raises:
          FacesemError: If it is another stream's, damaged, or not the same in every process.
        """
        done = self._manager.latest_step()
        if not all_agree(f"{self.key} {done}"):  # Before Orbax, whose processes would wait.
            raise FacesemError(
                "The processes have different samples, weights or settings, or see different "
                f"checkpoints in {self.directory}: it must lie on a disk that all of them see."
            )
        if done is None:
            return None
        damage = damaged_file(self._checkpoints / str(done), self._files(done))
        if damage is not None:
            raise FacesemError(f"{damage}; remove {self.directory} to begin again.")
        about = self._restore(done, "about", ocp.args.JsonRestore())
        if not isinstance(about, dict) or about.get("format") != FORMAT:
            raise self._damaged("it is no checkpoint of moments")
        found = (about.get("version"), about.get("fingerprint"), about.get("total"))
        if found != (VERSION, self.key, total):
            raise FacesemError(
                f"{self.directory} holds the checkpoint of another run (other samples, weights or "
                "settings); remove it to begin again, or choose another directory."
            )
        empty = jax.eval_shape(lambda: init(template))
        target = _by_number(jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), empty))
        arrays = self._restore(done, "moments", ocp.args.StandardRestore(target))
        moments = jax.tree.unflatten(jax.tree.structure(empty), [arrays[k] for k in sorted(arrays)])
        return MomentStep(done, total, moments, first=done)

    def _files(self, done: int) -> dict[str, str]:
        """Digests of a checkpoint's files; none if the run was killed before it wrote them."""
        try:
            content = json.loads((self.directory / FILES).read_text())
        except (OSError, ValueError):
            return {}
        fields = content if isinstance(content, dict) else {}
        if not isinstance(fields.get("files"), dict) or "done" not in fields:
            raise self._damaged(f"{FILES} is no list of files")
        return fields["files"] if fields["done"] == done else {}

    def _restore(self, done: int, item: str, args):
        try:
            return self._manager.restore(done, args=ocp.args.Composite(**{item: args}))[item]
        except Exception as error:  # Orbax and TensorStore raise many types on damaged files.
            raise self._damaged(first_line(error)) from error

    def _damaged(self, reason: str) -> FacesemError:
        return FacesemError(
            f"The checkpoint in {self.directory} is damaged ({reason}); remove it to begin again."
        )


def _by_number(tree: PyTree) -> dict[str, np.ndarray]:
    return {f"{i:05d}": leaf for i, leaf in enumerate(jax.tree.leaves(tree))}
