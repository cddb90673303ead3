"""NVlabs network pickles (StyleGAN2-ADA), read without importing or running anything they name.

Such a file is a plain pickle of objects that carry their own source text. A pickle is a program;
this reader knows ten names, every one of them replaced by a harmless stand-in here, and refuses
all others before they are looked up. The source text is skipped.
"""

import collections
import io
import math
import pickle
import pickletools
import warnings
from typing import Any

import numpy as np

from facesem_jax.errors import FacesemError, first_line

# Far above any network, far below what would exhaust memory.
_MOST_NAMES, _DEEPEST = 20_000, 32
_NUMPY_SCALARS = frozenset("?bBhHiIlLqQefd")


class _Refused(Exception):
    """Something in the pickle that no network pickle holds."""


class _Dtype:
    """A NumPy scalar type, by its one-letter code; its state (byte order) is little endian."""

    def __init__(self, code, *_):
        code = str(code).lstrip("<|=")
        self.dtype = np.dtype(code) if code[:1] in "fiub" and code[1:].isdigit() else None
        if self.dtype is None or self.dtype.char not in _NUMPY_SCALARS:
            raise _Refused(f"the NumPy type {code[:20]!r}")

    def __setstate__(self, state):
        if not (isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", "|", "=")):
            raise _Refused("a NumPy type in another byte order")


def _scalar(dtype, data):
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes):
        raise _Refused("a NumPy scalar of an unknown form")
    return np.frombuffer(data, dtype.dtype, count=1)[0].item()


def _storage(data):
    import torch

    if not isinstance(data, bytes):
        raise _Refused("a tensor's storage that is not bytes")
    storage = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    if not isinstance(storage, torch.storage.TypedStorage):
        raise _Refused("a tensor's storage of an unknown type")
    return storage


def _tensor(storage, offset, size, stride, requires_grad=False, hooks=None, *_):
    import torch

    if not isinstance(storage, torch.storage.TypedStorage):
        raise _Refused("a tensor without a storage")
    numbers = (offset, *size, *stride)
    whole = all(isinstance(x, int) and not isinstance(x, bool) and x >= 0 for x in numbers)
    if not whole or len(size) != len(stride) or len(size) > 8:
        raise _Refused("a tensor of an impossible shape")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    with warnings.catch_warnings():  # That typed storages will go; these files hold them.
        warnings.simplefilter("ignore", UserWarning)
        empty, bare = torch.empty(0, dtype=storage.dtype), storage.untyped()
    length = bare.nbytes() // empty.element_size()
    if math.prod(size) > length or (math.prod(size) and last >= length):
        raise _Refused("a tensor larger than its storage")
    tensor = empty.set_(bare, offset, tuple(size), tuple(stride))
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy().copy()


def _parameter(data, requires_grad=True, hooks=None, *_):
    if not isinstance(data, np.ndarray):
        raise _Refused("a parameter without a tensor")
    return data


def _table() -> dict[tuple[str, str], Any]:
    """What each allowed name stands for, made anew for every file: a pickle may set attributes."""

    class Dictionary(dict):
        """dnnlib's EasyDict."""

    class Network:
        """A persistent object: its class's name and its state."""

        def __init__(self, meta):
            if not isinstance(meta, dict) or not isinstance(meta.get("state"), dict):
                raise _Refused("a persistent object without a state")
            self.class_name = str(meta.get("class_name", ""))
            self.state = meta["state"]

    return {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("dnnlib.util", "EasyDict"): Dictionary,
        ("torch_utils.persistence", "_reconstruct_persistent_obj"): Network,
        ("torch._utils", "_rebuild_tensor_v2"): _tensor,
        ("torch._utils", "_rebuild_parameter"): _parameter,
        ("torch.storage", "_load_from_bytes"): _storage,
        ("numpy", "dtype"): _Dtype,
        ("numpy.core.multiarray", "scalar"): _scalar,
        ("numpy._core.multiarray", "scalar"): _scalar,
        ("builtins", "set"): set,
        ("__builtin__", "set"): set,
    }


class _Unpickler(pickle.Unpickler):
    def __init__(self, file):
        super().__init__(file)
        self.table = _table()

    def find_class(self, module, name):
        try:
            return self.table[module, name]
        except (KeyError, TypeError):
            pass
        if module.startswith("dnnlib.tflib"):
            raise FacesemError(
                "this is a TensorFlow network pickle; bring it to PyTorch first, with legacy.py of "
                "NVlabs/stylegan2-ada-pytorch. Nothing of it was run."
            )
        raise _Refused(f"the name {module}.{name}")

    def persistent_load(self, pid):
        raise _Refused("a persistent identifier")


def _check_opcodes(data: bytes) -> None:
    """Refuses what the C unpickler would allocate on the word of the file."""
    for opcode, argument, _ in pickletools.genops(data):
        # The memo is an array as long as its highest index.
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument > len(data):
            raise _Refused("a memo index beyond the file's size")
        if opcode.name.startswith("EXT"):
            raise _Refused("an extension code")


def read_network_pickle(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Reads every network of the file.

    Args:
      data: The file's bytes.

    Returns:
      Parameters and buffers by dotted path (``G_ema.mapping.fc0.weight``), and plain attributes of
      the objects (numbers, strings, ``None``) by dotted path (``G_ema.c_dim``).

    Raises:
      FacesemError: If the file names anything else than a network pickle does, or is damaged.
    """
    try:
        _check_opcodes(data)
        content = _Unpickler(io.BytesIO(data)).load()
        if not isinstance(content, dict):
            raise _Refused("something that is not a dictionary of networks")
        arrays, attributes = {}, {}
        for key, value in content.items():
            if hasattr(value, "state"):
                _collect(value, f"{key}.", arrays, attributes, 0)
    except FacesemError:
        raise
    except _Refused as error:
        raise FacesemError(
            f"the pickle holds {error}, which no network pickle does; nothing of it was run."
        ) from error
    except Exception as error:  # Damaged pickles raise nearly every type.
        raise FacesemError(
            f"the file is no network pickle, or damaged ({first_line(error, 160)})."
        ) from error
    if not arrays:
        raise FacesemError("the pickle holds no network.")
    return arrays, attributes


def _collect(network, prefix: str, arrays: dict, attributes: dict, depth: int) -> None:
    if depth > _DEEPEST or len(arrays) + len(attributes) > _MOST_NAMES:
        raise _Refused("networks nested without end")
    state = network.state
    for kind in ("_parameters", "_buffers"):
        for name, value in dict(state.get(kind) or {}).items():
            if isinstance(value, np.ndarray):
                arrays[f"{prefix}{name}"] = value
    for name, value in state.items():
        if isinstance(value, int | float | str | bool | None) and not name.startswith("_"):
            attributes[f"{prefix}{name}"] = value
    for name, value in dict(state.get("_modules") or {}).items():
        if hasattr(value, "state"):
            _collect(value, f"{prefix}{name}.", arrays, attributes, depth + 1)
