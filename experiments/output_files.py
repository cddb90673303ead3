"""Single files of results that appear whole or not at all."""

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Mapping, Sequence

from facesem_jax.errors import FacesemError


def check_outputs(
    outputs: Mapping[str, pathlib.Path | None], inputs: Sequence[pathlib.Path] = ()
) -> None:
    """Refuses, before the work, what could not be written after it.

    Args:
      outputs: Ending that the file's name must have (".png") to its path; ``None`` is no file.
      inputs: Files that are read, which no output may replace.

    Raises:
      FacesemError: On another ending, a directory in the way, a directory that is missing or
        cannot be written, two equal outputs, or an output that is an input.
    """
    seen = {pathlib.Path(path).resolve() for path in inputs}
    for ending, path in outputs.items():
        if path is None:
            continue
        if path.suffix.lower() != ending:
            raise FacesemError(f"The output {path} must end in {ending}.")
        if path.is_dir():
            raise FacesemError(f"The output {path} is a directory; name a file.")
        parent = path.resolve().parent
        if not parent.is_dir():
            raise FacesemError(f"The output {path} cannot be written: there is no {parent}.")
        if not os.access(parent, os.W_OK):
            raise FacesemError(f"The output {path} cannot be written: {parent} is read-only.")
        if path.resolve() in seen:
            raise FacesemError(f"The output {path} would replace a file that is read, or another.")
        seen.add(path.resolve())


def write_files(contents: Mapping[pathlib.Path, bytes]) -> None:
    """Writes files; only when all are on disk do they get their names.

    Args:
      contents: Bytes by path; files of these names are replaced.

    Raises:
      FacesemError: If a file cannot be written; then no file of these has changed, unless the
        renaming itself failed half-way.
    """
    partial: dict[pathlib.Path, pathlib.Path] = {}
    path = None
    try:
        for path, content in contents.items():
            target = path.resolve()  # Links are replaced where they lead to.
            handle, name = tempfile.mkstemp(prefix=f".{target.name[:64]}-", dir=target.parent)
            partial[target] = pathlib.Path(name)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            partial[target].chmod(0o644)
        for path, temporary in partial.items():
            os.replace(temporary, path)
    except OSError as error:
        raise FacesemError(f"{path} cannot be written ({error.strerror}).") from error
    finally:
        for temporary in partial.values():
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def make_directory(path: pathlib.Path) -> None:
    """Makes a directory, and those above it, where there is none.

    Raises:
      FacesemError: If it cannot be made, as where a file has its name.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FacesemError(
            f"{path} cannot be made a directory ({error.strerror}); choose another."
        ) from error
