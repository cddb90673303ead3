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
        self.path = pathlib.Path(path)
        self.files = tuple(files)
        self._temporary: pathlib.Path | None = None

    def __enter__(self) -> pathlib.Path:
        """Makes the temporary directory beside the final one."""
        self._check_target()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
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
                    self._check_target()
                    shutil.rmtree(self.path)
                self._temporary.rename(self.path)
        except OSError as error:
            raise FacesemError(
                f"The results could not be put into {self.path} ({error.strerror})."
            ) from error
        finally:
            shutil.rmtree(self._temporary, ignore_errors=True)

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
