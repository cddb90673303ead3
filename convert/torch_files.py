"""Reading PyTorch files without running anything that is in them."""

import pathlib
import zipfile

import numpy as np

from facesem_jax.errors import FacesemError

# Far above any checkpoint's; a hostile file may nest or share containers without end.
_MOST_NAMES, _DEEPEST = 100_000, 16


def read_torch_file(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """Reads a file that ``torch.save`` wrote, tensors and plain containers only.

    Args:
      path: The file.

    Returns:
      Its tensors by dotted path (``g_ema.style.1.weight``), as NumPy arrays (the stored dtype;
      bfloat16 as float32).

    Raises:
      FacesemError: Without PyTorch, or where the file is damaged or would need code of its own to
        be read.
    """
    try:
        import torch
    except ImportError as error:
        raise FacesemError(
            "reading PyTorch files needs PyTorch: python -m pip install 'facesem-jax[convert]'."
        ) from error
    _check_zip(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        arrays = {}
        _flatten(content, "", arrays, 0, torch)
    except FacesemError:
        raise
    except Exception as error:  # Damaged files raise many types, IndexError and struct.error too.
        reason = str(error).strip().splitlines()
        reason = reason[0][:200] if reason else type(error).__name__
        raise FacesemError(
            f"the file cannot be read as plain tensors ({reason}); it is damaged, no PyTorch "
            "checkpoint, or holds objects whose code would have to run. Nothing of it was run."
        ) from error
    return arrays


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


def _flatten(content, prefix: str, arrays: dict, depth: int, torch) -> None:
    if depth > _DEEPEST or len(arrays) > _MOST_NAMES:
        raise FacesemError("the file nests containers without end; no checkpoint does.")
    if isinstance(content, torch.Tensor):
        arrays[prefix] = _to_numpy(content, prefix, torch)
    elif isinstance(content, dict):
        for key, value in content.items():
            name = f"{prefix}.{key}" if prefix else str(key)
            _flatten(value, name, arrays, depth + 1, torch)
    elif isinstance(content, list | tuple):
        for key, value in enumerate(content):
            _flatten(value, f"{prefix}.{key}", arrays, depth + 1, torch)


def _to_numpy(tensor, name: str, torch) -> np.ndarray:
    tensor = tensor.detach()
    if tensor.layout != torch.strided or tensor.is_quantized:
        raise FacesemError(f"tensor {name} is sparse or quantised; expected a plain one.")
    # A view that repeats its storage would grow without bound when copied.
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise FacesemError(f"tensor {name} is larger than its storage.")
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
