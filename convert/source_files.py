"""One checkpoint file of any container: PyTorch (zip or legacy), network pickle, safetensors."""

import dataclasses
import hashlib
import pathlib
from typing import Any

import numpy as np

from convert.network_pickles import read_network_pickle
from convert.torch_files import read_torch_file
from facesem_jax.errors import FacesemError, first_line

# How torch.save begins in its older, non-zip form: a pickled magic number.
_LEGACY = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_CHUNK = 1 << 20


@dataclasses.dataclass(frozen=True)
class SourceFile:
    """What a checkpoint holds.

    Attributes:
      path: The file.
      container: How it is written, in words.
      sha256: Of the file's bytes.
      arrays: All tensors by dotted path.
      attributes: Plain attributes by dotted path (network pickles alone have them).
    """

    path: pathlib.Path
    container: str
    sha256: str
    arrays: dict[str, np.ndarray]
    attributes: dict[str, Any] = dataclasses.field(default_factory=dict)


def read_source(path: str | pathlib.Path) -> SourceFile:
    """Reads a checkpoint; nothing in it is run.

    Args:
      path: The file.

    Returns:
      Its tensors.

    Raises:
      FacesemError: If it is missing, empty, damaged, of no known container, or hostile.
    """
    path = pathlib.Path(path)
    try:
        is_file = path.is_file()
    except (OSError, ValueError):  # A name too long, or with a null byte.
        is_file = False
    if not is_file:
        raise FacesemError(f"{path} is no file; give a checkpoint to convert.")
    try:
        with open(path, "rb") as file:
            head = file.read(64)
            digest = hashlib.sha256(head)
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise FacesemError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        container, arrays, attributes = _read(path, head)
    except FacesemError as error:
        raise FacesemError(f"{path}: {error}") from error
    if not arrays:
        raise FacesemError(f"{path} holds no tensors ({container}).")
    return SourceFile(path, container, digest.hexdigest(), arrays, attributes)


def _read(path: pathlib.Path, head: bytes):
    if not head:
        raise FacesemError("the file is empty.")
    if head.startswith(b"PK"):
        return "PyTorch zip archive", read_torch_file(path), {}
    if _LEGACY in head:
        return "PyTorch legacy file", read_torch_file(path), {}
    # A safetensors file starts with the length of its JSON header.
    if path.suffix == ".safetensors" or head[8:9] == b"{":
        return "safetensors", _read_safetensors(path), {}
    if head.startswith(b"\x80"):
        try:
            import torch  # noqa: F401
        except ImportError as error:
            raise FacesemError(
                "reading network pickles needs PyTorch: "
                "python -m pip install 'facesem-jax[convert]'."
            ) from error
        return "network pickle", *read_network_pickle(path.read_bytes())
    raise FacesemError(
        "the file is neither a PyTorch checkpoint (.pt, .pth, .tar), nor a network pickle (.pkl), "
        "nor a .safetensors file."
    )


def _read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        from safetensors import safe_open
    except ImportError as error:
        raise FacesemError(
            "reading .safetensors needs safetensors: python -m pip install 'facesem-jax[convert]'."
        ) from error
    try:
        # Through JAX arrays: NumPy has no bfloat16.
        with safe_open(path, framework="flax") as file:
            names = file.keys()
            return {name: _plain(file.get_tensor(name)) for name in names}
    except Exception as error:  # SafetensorError, and others on damaged headers.
        raise FacesemError(
            f"the file is no safetensors file, or damaged ({first_line(error)})."
        ) from error


def _plain(array) -> np.ndarray:
    array = np.asarray(array)
    return array if array.dtype.kind in "fiub" else array.astype(np.float32)
