"""Reading PyTorch files without running anything that is in them."""

import pathlib

import numpy as np

from facesem_jax.errors import FacesemError


def read_torch_file(path: str | pathlib.Path) -> dict:
    """Reads a file that ``torch.save`` wrote, tensors and plain containers only.

    Args:
      path: The file.

    Returns:
      Its contents, with every tensor as a NumPy array (CPU, the stored dtype; bfloat16 as
      float32).

    Raises:
      FacesemError: Without PyTorch, on a missing file, or where the file is damaged or would need
        code of its own to be read.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FacesemError(f"{path} is no file; give a PyTorch checkpoint.")
    try:
        import torch
    except ImportError as error:
        raise FacesemError(
            "Reading PyTorch files needs PyTorch: python -m pip install 'facesem-jax[convert]'."
        ) from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # Damaged files raise many types, IndexError and struct.error too.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise FacesemError(f"{path} cannot be read as plain tensors: {reason}") from error
    return _to_numpy(content, torch)


def _to_numpy(content, torch):
    if isinstance(content, torch.Tensor):
        content = content.detach()
        # NumPy has no bfloat16.
        return (content.float() if content.dtype == torch.bfloat16 else content).numpy()
    if isinstance(content, dict):
        return {key: _to_numpy(value, torch) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return type(content)(_to_numpy(value, torch) for value in content)
    return content


def take(state: dict, name: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """One tensor of a state dict, checked and in float32.

    Args:
      state: Arrays by name.
      name: The tensor.
      shape: Its expected shape; ``None`` accepts any size on that axis.

    Returns:
      The array.

    Raises:
      FacesemError: If it is missing, has another shape, or holds NaN or infinity.
    """
    if name not in state:
        raise FacesemError(f"tensor {name} is missing.")
    array = np.asarray(state[name])
    fits = array.ndim == len(shape) and all(
        e is None or f == e for f, e in zip(array.shape, shape, strict=True)
    )
    if not fits:
        expected = tuple("any" if e is None else e for e in shape)
        raise FacesemError(f"tensor {name} has shape {array.shape}; expected {expected}.")
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise FacesemError(f"tensor {name} holds NaN or infinite values.")
    return array
