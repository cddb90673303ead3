"""A directory of results that appears whole or not at all."""

import pathlib
import shutil
import tempfile
from collections.abc import Sequence

from facesem_jax.errors import FacesemError


class OutputDirectory:
    """Context manager: gives a temporary directory, put in place on success, removed on failure.

    Args:
      path: The final directory. Earlier results there are replaced; a directory that holds
        anything else is refused, so that nothing of the user's is lost.
      files: Names of the files that a run writes.

    Raises:
      FacesemError: On entering, if the directory cannot be written or holds other files.
    """

    def __init__(self, path: pathlib.Path, files: Sequence[str]):
        """Checks the target."""
        # Resolved, so that "." and links are replaced where they lead to.
        self.path = pathlib.Path(path).resolve()
        self.files = tuple(files)
        self._temporary: pathlib.Path | None = None
        self._made: list[pathlib.Path] = []

    def __enter__(self) -> pathlib.Path:
        """Makes the temporary directory beside the final one."""
        self._check_target()
        missing = [p for p in self.path.parents if not p.exists()]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._made = missing
            made = tempfile.mkdtemp(prefix=f".{self.path.name}-", dir=self.path.parent)
        except OSError as error:
            raise FacesemError(
                f"The output directory {self.path} cannot be written ({error.strerror}); "
                "choose another with --output."
            ) from error
        self._temporary = pathlib.Path(made)
        return self._temporary

    def __exit__(self, kind, value, traceback) -> None:
        """Puts the results in place, or removes what there is of them."""
        try:
            if kind is None:
                self._temporary.chmod(0o755)
                if self.path.exists():
                    # File by file: the directory may be somebody's working directory.
                    self._check_target()
                    for name in self.files:
                        (self.path / name).unlink(missing_ok=True)
                    for made in self._temporary.iterdir():
                        made.replace(self.path / made.name)
                else:
                    self._temporary.rename(self.path)
        except OSError as error:
            raise FacesemError(
                f"The results could not be put into {self.path} ({error.strerror})."
            ) from error
        finally:
            shutil.rmtree(self._temporary, ignore_errors=True)
            if kind is not None:
                for parent in self._made:  # The deepest first.
                    parent.rmdir()

    def _check_target(self) -> None:
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise FacesemError(f"The output {self.path} is a file; name a directory.")
        try:
            foreign = sorted(p.name for p in self.path.iterdir() if p.name not in self.files)
        except OSError as error:
            raise FacesemError(
                f"The output directory {self.path} cannot be read ({error.strerror})."
            ) from error
        if foreign:
            raise FacesemError(
                f"The output directory {self.path} holds other files ({foreign[0]}); choose "
                "another with --output, so that nothing of yours is replaced."
            )
