"""Reading PyTorch files without running anything that is in them.

Trainers save more than tensors: their options, meters, paths. PyTorch's own restricted unpickler
reads the file, and inert objects stand in for whatever it does not know.
"""

import collections
import pathlib
import re
import sys
import zipfile
from typing import Any

import numpy as np

from facesem_jax.errors import FacesemError, first_line

# Far above any checkpoint's; a hostile file may nest or share containers without end.
_MOST_NAMES, _DEEPEST = 100_000, 16
_MOST_CLASSES = 64
_UNKNOWN = re.compile(r"GLOBAL (\S+) was not an allowed global")
_FILLED = re.compile(r"Can only SETITEMS? .*but got <class '(\S+)'>")
# Of the standard library a checkpoint may hold objects of these modules; other names in it (a call
# of the system, a look-up of attributes) belong to no checkpoint.
_PLAIN = ("argparse", "collections", "datetime", "decimal", "enum", "pathlib", "types", "uuid")
_BUILTINS = ("bool", "bytes", "complex", "dict", "float", "int", "list", "object", "set", "str")


class _StandIn:
    """An object of a class that was not looked up; only what it was filled with is known."""

    state: Any = None

    def __new__(cls, *args, **kwargs):
        return super().__new__(cls)

    def __init__(self, *args, **kwargs):
        pass

    def __setstate__(self, state):
        self.state = state


class _MappingStandIn(_StandIn):
    """The same for a kind of dictionary: the restricted unpickler fills this type alone."""

    def __new__(cls, *args, **kwargs):
        return collections.OrderedDict()


def read_torch_file(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """Reads a file that ``torch.save`` wrote: its tensors, in plain containers and modules.

    Args:
      path: The file.

    Returns:
      Its tensors by dotted path (``g_ema.style.1.weight``), as NumPy arrays (the stored dtype;
      bfloat16 as float32). Other objects are left out; their classes are not looked up.

    Raises:
      FacesemError: Without PyTorch, or where the file is damaged or names something that has no
        place in a checkpoint.
    """
    try:
        import torch
    except ImportError as error:
        raise FacesemError(
            "reading PyTorch files needs PyTorch: python -m pip install 'facesem-jax[convert]'."
        ) from error
    _check_zip(path)
    try:
        content = _load(path, torch)
        arrays = {}
        _flatten(content, "", arrays, torch)
    except FacesemError:
        raise
    except Exception as error:  # Damaged files raise many types, IndexError and struct.error too.
        raise FacesemError(
            f"the file cannot be read as plain tensors ({first_line(error)}); it is damaged, no "
            "PyTorch checkpoint, or holds objects whose code would have to run. Nothing of it was "
            "run."
        ) from error
    return arrays


def _load(path, torch):
    """What the file holds, with a `_StandIn` for every class that PyTorch does not know."""
    known = {}
    while True:
        try:
            with torch.serialization.safe_globals(list(known.values())):
                return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            # Legacy files cannot be asked for their names; the error tells one at a time.
            unknown, filled = _UNKNOWN.search(str(error)), _FILLED.search(str(error))
            if unknown and unknown[1] not in known and len(known) < _MOST_CLASSES:
                known[unknown[1]] = _stand_in(unknown[1], _StandIn)
            elif filled and filled[1] in known and known[filled[1]].__base__ is _StandIn:
                known[filled[1]] = _stand_in(filled[1], _MappingStandIn)
            else:
                raise


def _stand_in(name: str, kind: type[_StandIn]) -> type[_StandIn]:
    module, _, own = name.rpartition(".")
    root = module.partition(".")[0]
    system = root in sys.stdlib_module_names and root not in _PLAIN
    # PyTorch leaves "builtins" out of its message.
    if system or root == "__builtin__" or not (root or own in _BUILTINS):
        raise FacesemError(
            f"the file names {name}, which has no place in a checkpoint; nothing of it was run."
        )
    return type(own, (kind,), {"__module__": module or "builtins", "__qualname__": own})


def _check_zip(path) -> None:
    """Refuses archives that declare more than they hold; PyTorch stores uncompressed."""
    with open(path, "rb") as file:
        if file.read(2) != b"PK":
            return
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
        size = pathlib.Path(path).stat().st_size
    except Exception as error:  # zipfile raises many types on damaged directories.
        raise FacesemError("the file is a damaged or truncated zip archive.") from error
    declared = sum(entry.file_size for entry in entries)
    if declared > size or any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise FacesemError(
            f"the zip archive declares {declared} bytes in {size}; PyTorch writes uncompressed "
            "archives, so this is no checkpoint."
        )


def _flatten(content, prefix: str, arrays: dict, torch, depth: int = 0, met: int = 0) -> int:
    """Collects tensors; ``met`` counts everything that was met so far, and is returned."""
    met += 1
    if depth > _DEEPEST or met > _MOST_NAMES:
        raise FacesemError("the file nests or shares containers without end; no checkpoint does.")
    if isinstance(content, torch.Tensor):
        arrays[prefix] = _to_numpy(content, prefix, torch)
        return met
    if isinstance(content, _StandIn):
        # A module that was saved whole.
        state = content.state if isinstance(content.state, dict) else {}
        held = (state.get(kind) for kind in ("_parameters", "_buffers", "_modules"))
        items = [item for part in held if isinstance(part, dict) for item in part.items()]
    elif isinstance(content, dict):
        items = content.items()
    else:
        items = enumerate(content) if isinstance(content, list | tuple) else ()
    for key, value in items:
        name = f"{prefix}.{key}" if prefix else str(key)
        met = _flatten(value, name, arrays, torch, depth + 1, met)
    return met


def _to_numpy(tensor, name: str, torch) -> np.ndarray:
    tensor = tensor.detach()
    if tensor.layout != torch.strided or tensor.is_quantized:
        raise FacesemError(f"tensor {name} is sparse or quantised; expected a plain one.")
    # A view that repeats its storage would grow without bound when copied.
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise FacesemError(f"tensor {name} is larger than its storage.")
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
