"""The mapping network that all StyleGANs share, from PyTorch's arrays to the paths here."""

import math
from collections.abc import Callable

import numpy as np

from convert.tensors import Tensors
from facesem_jax.errors import FacesemError

_LATENTS = 10_000


def mapping_arrays(
    tensors: Tensors, name: Callable[[int], str], layers: int, *, weight_gain: float = 1.0
) -> dict[str, np.ndarray]:
    """Arrays of `facesem_jax.generators.mapping.Mapping` by path, ``mapping/w_avg`` zero.

    Args:
      tensors: The checkpoint.
      name: Name of a layer, by its number from 0.
      layers: Number of layers.
      weight_gain: Gain of the weights in the codebase. Ours stands behind the bias (sqrt 2 in the
        activation), so a gain of sqrt 2 before it divides the biases by as much.

    Raises:
      FacesemError: On a missing or misshapen tensor.
    """
    if layers < 1:
        raise FacesemError(f"tensor {name(0)}.weight is missing.")
    arrays, before, w_dim = {}, None, None
    for layer in range(layers):
        weight = tensors.take(f"{name(layer)}.weight", (w_dim, before))
        before = w_dim = weight.shape[0]
        arrays[f"mapping/layers/{layer}/kernel"] = weight.T
        bias = tensors.take(f"{name(layer)}.bias", (w_dim,))
        arrays[f"mapping/layers/{layer}/bias"] = bias / np.float32(weight_gain)
    arrays["mapping/w_avg"] = np.zeros(w_dim, np.float32)
    return arrays


def take_w_avg(
    tensors: Tensors, name: str, arrays: dict[str, np.ndarray], lr_multiplier: float
) -> list[str]:
    """Fills in ``mapping/w_avg``: from the file, or estimated.

    Args:
      tensors: The checkpoint.
      name: Name of the average w.
      arrays: From `mapping_arrays`; changed.
      lr_multiplier: Of the mapping network.

    Returns:
      A note for the user where it was estimated.

    Raises:
      FacesemError: On a misshapen tensor.
    """
    if name in tensors:
        arrays["mapping/w_avg"] = tensors.take(name, arrays["mapping/w_avg"].shape)
        return []
    arrays["mapping/w_avg"] = _estimated_w_avg(arrays, lr_multiplier)
    return [
        f"the average w, which truncation needs, is not in the file: estimated from {_LATENTS} "
        "latents, seed 0."
    ]


def _estimated_w_avg(arrays: dict[str, np.ndarray], lr_multiplier: float) -> np.ndarray:
    """The mean of w over 10,000 standard normal latents of seed 0.

    Args:
      arrays: From `mapping_arrays`.
      lr_multiplier: Of the mapping network.
    """
    first = arrays["mapping/layers/0/kernel"]
    x = np.random.default_rng(0).standard_normal((_LATENTS, first.shape[0]), np.float32)
    x /= np.sqrt(np.mean(np.square(x), axis=1, keepdims=True) + 1e-8)
    for layer in range(sum(k.endswith("/kernel") for k in arrays if k.startswith("mapping/"))):
        kernel = arrays[f"mapping/layers/{layer}/kernel"]
        x = x @ kernel * np.float32(lr_multiplier / math.sqrt(kernel.shape[0]))
        x += arrays[f"mapping/layers/{layer}/bias"] * np.float32(lr_multiplier)
        x *= np.where(x >= 0, np.float32(math.sqrt(2)), np.float32(0.2 * math.sqrt(2)))
    return x.mean(axis=0)
