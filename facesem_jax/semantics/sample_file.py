"""Derivatives of single samples on disk: one `.npy` file, filled as they come."""

import errno
import json
import os
import pathlib
import shutil
from types import TracebackType

import jax
import numpy as np

from facesem_jax.errors import FacesemError
from facesem_jax.semantics.moments import MomentStep
from facesem_jax.semantics.sharding import of_first_process, wait_for_all


class SampleFile:
    """A `.npy` file of shape (n, ...) that fills step by step and appears when it is complete.

    Memory holds the batch that is written. Read the file with ``np.load(path, mmap_mode="r")``.
    Several processes write their own parts of one file, which all of them must see.

    As a context manager it removes an incomplete file on failure, unless a place for it was given.

    Args:
      path: The final file; must not exist yet.
      shape: (n, ...): samples, then a derivative's shape.
      dtype: The derivatives' type.
      partial: Where it lies until it is complete, best on the same disk; kept on failure. Default:
        a hidden file beside the final one.
      done: Rows that an interrupted run has written to ``partial``.

    Raises:
      FacesemError: If the final file exists, the interrupted run's rows do not, or the file cannot
        be made: among others, if the disk lacks the room for all of it.
    """

    def __init__(
        self,
        path: str | pathlib.Path,
        shape: tuple[int, ...],
        dtype,
        *,
        partial: str | pathlib.Path | None = None,
        done: int = 0,
    ):
        """Makes or finds the incomplete file."""
        self.path = pathlib.Path(path).absolute()
        self.shape, self.dtype = tuple(shape), np.dtype(dtype)
        self._keep = partial is not None
        hidden = self.path.with_name(f".{self.path.name}.partial")
        self.partial = pathlib.Path(partial).absolute() if self._keep else hidden
        found = done > 0 and self._fits(self.partial)
        # A run that was stopped after its last sample may have put the file in place already.
        self._complete = not found and done == shape[0] and self._is_own(self.path)
        if done and not found and not self._complete:
            raise FacesemError(
                f"{self.partial} does not hold the {done} samples that the run had written when it "
                "was stopped; remove the run's checkpoint to begin again, or go on without "
                "writing samples."
            )
        if self.path.exists() and not self._complete:
            raise FacesemError(f"{self.path} exists; remove it or choose another file.")
        if not done:
            self._make()

    def _fits(self, path: pathlib.Path) -> bool:
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError):
            return False
        return array.shape == self.shape and array.dtype == self.dtype

    @property
    def _mark(self) -> pathlib.Path:
        return self.partial.with_name(f"{self.partial.name}.json")

    def _is_own(self, path: pathlib.Path) -> bool:
        """Whether it is what the interrupted run put in place, and not another run's file."""
        try:
            mark = json.loads(self._mark.read_text())
            found = _identity(path)
        except (OSError, ValueError):
            return False
        return mark == found and self._fits(path)

    def _make(self) -> None:
        error = None
        # All processes have looked at the files before the first one changes them.
        wait_for_all("sample file checked")
        if jax.process_index() == 0:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self.partial.parent.mkdir(parents=True, exist_ok=True)
                _reserve(self.partial, self.shape, self.dtype)
            except OSError as caught:
                error = caught
                self.partial.unlink(missing_ok=True)
        if not of_first_process(error is None):  # None goes on before the file is there.
            size = np.prod(self.shape, dtype=float) * self.dtype.itemsize / 2**30
            reason = error.strerror if error is not None else "see the first process"
            raise FacesemError(
                f"{self.path} cannot be written ({reason}). It takes {size:.2f} GiB; choose "
                "another disk, fewer samples, or no samples."
            ) from error

    def write(self, step: MomentStep) -> None:
        """Writes a step's derivatives, those on this process's devices.

        Args:
          step: With one array of samples.

        Raises:
          FacesemError: If the file has been removed, or this process does not see it.
        """
        count = step.done - step.first
        try:
            # Opened anew: pages of an open map would count as this process's memory.
            rows = np.lib.format.open_memmap(self.partial, mode="r+")
        except OSError as error:
            raise FacesemError(
                f"{self.partial} cannot be written ({error.strerror}); it must lie on a disk that "
                "every process sees."
            ) from error
        for shard in step.samples.addressable_shards:
            begin, end, _ = shard.index[0].indices(step.samples.shape[0])
            own = min(end, count) - begin
            if shard.replica_id == 0 and own > 0:
                place = slice(step.first + begin, step.first + begin + own)
                rows[(place, *shard.index[1:])] = np.asarray(shard.data)[:own]

    def flush(self) -> None:
        """Waits until what is written lies on the disk."""
        with open(self.partial, "rb+") as file:
            os.fsync(file.fileno())

    def finish(self) -> None:
        """Puts the complete file in place, once every process has written its part.

        Raises:
          FacesemError: If it cannot be moved; it is kept.
        """
        if self._complete:
            return
        self.flush()
        error = None
        wait_for_all("sample file written")
        if jax.process_index() == 0:
            try:
                if self._keep:  # For a run that is stopped right after the next line.
                    self._mark.write_text(json.dumps(_identity(self.partial)))
                _move(self.partial, self.path)
            except OSError as caught:
                error = caught
        self._complete = True
        if not of_first_process(error is None):
            reason = error.strerror if error is not None else "see the first process"
            raise FacesemError(
                f"{self.partial} is complete and could not be moved to {self.path} ({reason}); "
                "move it."
            ) from error

    def __enter__(self) -> "SampleFile":
        """Nothing more."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Removes an incomplete file that nobody can go on with."""
        if not self._complete and not self._keep and jax.process_index() == 0:
            self.partial.unlink(missing_ok=True)


def _identity(path: pathlib.Path) -> list[int]:
    """What a file keeps when it is moved: its size and time."""
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def _move(source: pathlib.Path, target: pathlib.Path) -> None:
    """Renames, or copies under a hidden name first where the target is on another disk."""
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        hidden = target.with_name(f".{target.name}.partial")
        try:
            shutil.copy2(source, hidden)
            os.replace(hidden, target)
        finally:
            hidden.unlink(missing_ok=True)
        source.unlink()


def _reserve(path: pathlib.Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Makes the file at its full size.

    Raises:
      OSError: If there is no room. Later, a full disk would kill the process by a signal.
    """
    np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    if hasattr(os, "posix_fallocate"):
        with open(path, "rb+") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
