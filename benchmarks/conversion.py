r"""Time and memory of converting a full-size StyleGAN2: config f at 1024x1024, random weights.

    python -m benchmarks.conversion

Writes a checkpoint in rosinality's layout into a temporary directory and converts it in a process
of its own, as the command line does. Needs PyTorch.
"""

import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import torch

# Config f: channels from 4x4 to 1024x1024.
CHANNELS = (512, 512, 512, 512, 512, 256, 128, 64, 32)
W_DIM, MAPPING = 512, 8


def checkpoint() -> dict:
    """``g_ema`` with random weights, about 30 M parameters."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = torch.outer(taps, taps) / 16
    state = {"input.input": torch.randn(1, CHANNELS[0], 4, 4)}
    for layer in range(1, MAPPING + 1):
        state[f"style.{layer}.weight"] = torch.randn(W_DIM, W_DIM) * 100
        state[f"style.{layer}.bias"] = torch.randn(W_DIM)

    def modulated(name, inputs, outputs, size):
        state[f"{name}.conv.weight"] = torch.randn(1, outputs, inputs, size, size)
        state[f"{name}.conv.modulation.weight"] = torch.randn(inputs, W_DIM)
        state[f"{name}.conv.modulation.bias"] = torch.ones(inputs)

    def styled(name, inputs, outputs):
        modulated(name, inputs, outputs, 3)
        state[f"{name}.noise.weight"] = torch.randn(1)
        state[f"{name}.activate.bias"] = torch.randn(outputs)

    for level, width in enumerate(CHANNELS):
        rgb = f"to_rgbs.{level - 1}" if level else "to_rgb1"
        modulated(rgb, width, 3, 1)
        state[f"{rgb}.bias"] = torch.randn(1, 3, 1, 1)
        if level:
            styled(f"convs.{2 * level - 2}", CHANNELS[level - 1], width)
            styled(f"convs.{2 * level - 1}", width, width)
            state[f"convs.{2 * level - 2}.conv.blur.kernel"] = kernel
            state[f"{rgb}.upsample.kernel"] = kernel
        else:
            styled("conv1", width, width)
    for layer in range(2 * len(CHANNELS) - 1):
        size = 4 << (layer + 1) // 2
        state[f"noises.noise_{layer}"] = torch.randn(1, 1, size, size)
    return {"g_ema": state, "latent_avg": torch.zeros(W_DIM)}


def main() -> None:
    """Prints seconds and the peak resident size."""
    with tempfile.TemporaryDirectory() as directory:
        source = pathlib.Path(directory) / "stylegan2-config-f.pt"
        torch.save(checkpoint(), source)
        print(f"{source.stat().st_size / 2**20:.0f} MiB in rosinality's layout")
        began = time.monotonic()
        command = [sys.executable, "-m", "convert.torch_to_flax", source, f"{directory}/out"]
        subprocess.run(command, check=True)
        seconds = time.monotonic() - began
        # Kilobytes on Linux, of the largest child.
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        print(f"converted in {seconds:.1f} s, at most {peak:.2f} GiB resident")


if __name__ == "__main__":
    main()
