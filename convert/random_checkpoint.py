"""A StyleGAN2 checkpoint with random weights, for trials without a download."""

import json
import pathlib
from collections.abc import Sequence

import numpy as np

from facesem_jax.errors import FacesemError


def random_state(
    channels: Sequence[int], w_dim: int, mapping_layers: int, *, seed: int = 0
) -> dict[str, np.ndarray]:
    """A generator's state dict in the layout of rosinality/stylegan2-pytorch.

    Weights are standard normal, as that codebase initialises them (its layers scale them when
    they run), so that every layer's activations are of order 1.

    Args:
      channels: Of every resolution from 4x4 up, at least two.
      w_dim: Size of z and w.
      mapping_layers: Layers of the mapping network.
      seed: Seeds the weights.

    Returns:
      Arrays in float32 by dotted name.

    Raises:
      FacesemError: On fewer than two resolutions.
    """
    if len(channels) < 2:
        raise FacesemError(f"channels is {tuple(channels)}; expected two resolutions or more.")
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return rng.standard_normal(shape, np.float32)

    taps = np.array([1.0, 3.0, 3.0, 1.0], np.float32)
    kernel = np.outer(taps, taps) / 16
    state = {"input.input": normal(1, channels[0], 4, 4)}
    for layer in range(1, mapping_layers + 1):
        # Stored divided by the learning rate's factor, 0.01.
        state[f"style.{layer}.weight"] = normal(w_dim, w_dim) * 100
        state[f"style.{layer}.bias"] = normal(w_dim)

    def modulated(name, inputs, outputs, size):
        state[f"{name}.conv.weight"] = normal(1, outputs, inputs, size, size)
        state[f"{name}.conv.modulation.weight"] = normal(inputs, w_dim)
        state[f"{name}.conv.modulation.bias"] = np.ones(inputs, np.float32)

    def styled(name, inputs, outputs):
        modulated(name, inputs, outputs, 3)
        state[f"{name}.noise.weight"] = normal(1)
        state[f"{name}.activate.bias"] = normal(outputs)

    for level, width in enumerate(channels):
        rgb = f"to_rgbs.{level - 1}" if level else "to_rgb1"
        modulated(rgb, width, 3, 1)
        state[f"{rgb}.bias"] = normal(1, 3, 1, 1)
        if level:
            styled(f"convs.{2 * level - 2}", channels[level - 1], width)
            styled(f"convs.{2 * level - 1}", width, width)
            state[f"convs.{2 * level - 2}.conv.blur.kernel"] = kernel
            state[f"{rgb}.upsample.kernel"] = kernel
        else:
            styled("conv1", width, width)
    for layer in range(2 * len(channels) - 1):
        size = 4 << (layer + 1) // 2
        state[f"noises.noise_{layer}"] = normal(1, 1, size, size)
    return state


def write_random_checkpoint(
    directory: str | pathlib.Path,
    channels: Sequence[int] = (32, 32, 32, 16),
    w_dim: int = 32,
    mapping_layers: int = 2,
    *,
    seed: int = 0,
) -> pathlib.Path:
    """Writes `random_state` as a file that the converter reads.

    Args:
      directory: Where to; made if need be.
      channels: As `random_state`.
      w_dim: As `random_state`.
      mapping_layers: As `random_state`.
      seed: As `random_state`.

    Returns:
      ``random.pt`` as PyTorch writes it; ``random.safetensors`` where PyTorch is not installed.

    Raises:
      FacesemError: As `random_state`.
    """
    state = random_state(channels, w_dim, mapping_layers, seed=seed)
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    try:
        import torch
    except ImportError:
        path = directory / "random.safetensors"
        path.write_bytes(_safetensors(state))
        return path
    path = directory / "random.pt"
    torch.save({"g_ema": {name: torch.from_numpy(a) for name, a in state.items()}}, path)
    return path


def _safetensors(arrays: dict[str, np.ndarray]) -> bytes:
    """Float32 arrays as a .safetensors file: a header in JSON, then the numbers."""
    header, parts, end = {}, [], 0
    for name, array in arrays.items():
        parts.append(np.ascontiguousarray(array, "<f4").tobytes())
        begin, end = end, end + len(parts[-1])
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"".join(parts)
