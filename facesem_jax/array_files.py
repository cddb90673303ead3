"""Arrays in `.npy` and `.npz` files: nothing in a file is run, and one clear error on a bad one."""

import io
import math
import pathlib
import zipfile
from collections.abc import Mapping

import numpy as np

from facesem_jax.errors import FacesemError, first_line

_MOST_BYTES = 2**31
"""Of the arrays of one file: a small file must not be able to claim all the memory."""


def read_array(path: str | pathlib.Path) -> np.ndarray:
    """Reads a `.npy` file of numbers.

    Args:
      path: The file.

    Returns:
      The array, in memory.

    Raises:
      FacesemError: If the file is missing, is no such file, is truncated, too large, or holds
        Python objects or text.
    """
    path = pathlib.Path(path)
    _check_file(path)
    try:
        if zipfile.is_zipfile(path):
            raise FacesemError(f"{path} is an archive of arrays (.npz); a .npy file is wanted.")
        size = path.stat().st_size
        _check_size(path, size)
        with path.open("rb") as stream:
            _check_header(path, stream, size)
        array = np.load(path, allow_pickle=False)
    except FacesemError:
        raise
    except Exception as error:  # NumPy raises many types on damaged files.
        raise _damaged(path, error) from error
    if array.dtype.kind not in "fiu":
        raise FacesemError(f"{path} holds {array.dtype}; real numbers are wanted.")
    return array


def read_arrays(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """Reads every array of a `.npz` file.

    Args:
      path: The file.

    Returns:
      The arrays by name.

    Raises:
      FacesemError: As `read_array`; text is allowed, Python objects are not.
    """
    path = pathlib.Path(path)
    _check_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            _check_size(path, sum(entry.file_size for entry in archive.infolist()))
            for entry in archive.infolist():
                with archive.open(entry) as stream:
                    _check_header(path, stream, entry.file_size)
        with np.load(path, allow_pickle=False) as data:
            return {name: data[name] for name in data.files}
    except FacesemError:
        raise
    except Exception as error:  # NumPy and zipfile raise many types on damaged files.
        raise _damaged(path, error) from error


def npz_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """A compressed `.npz` file; the same arrays give the same bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def npy_bytes(array: np.ndarray) -> bytes:
    """A `.npy` file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _check_file(path: pathlib.Path) -> None:
    try:
        found = path.is_file()
    except OSError:  # A name too long for the file system.
        found = False
    if not found:
        raise FacesemError(f"There is no file {path}.")


def _check_size(path: pathlib.Path, size: int) -> None:
    if size > _MOST_BYTES:
        raise FacesemError(
            f"{path} unpacks to {size / 2**30:.1f} GiB; at most {_MOST_BYTES / 2**30:.0f} are read."
        )


def _check_header(path: pathlib.Path, stream, size: int) -> None:
    """Refuses a header that claims more than its entry holds, before anything is allocated."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
    else:
        raise FacesemError(f"{path} holds an array of format {version}; expected (1, 0).")
    if dtype.hasobject:
        raise FacesemError(f"{path} holds Python objects, which are not read.")
    if math.prod(shape) * dtype.itemsize > size:
        raise FacesemError(f"{path} is damaged: an array claims more bytes than are there.")


def _damaged(path: pathlib.Path, error: Exception) -> FacesemError:
    return FacesemError(
        f"{path} is no readable file of arrays, or it is damaged ({first_line(error, 120)})."
    )
