r"""Time and memory of converting a full-size StyleGAN2: config f at 1024x1024, random weights.

    python -m benchmarks.conversion

Writes a checkpoint in rosinality's layout into a temporary directory and converts it in a process
of its own, as the command line does. Needs PyTorch.
"""

import contextlib
import pathlib
import sys
import tempfile
import time

from benchmarks import memory
from benchmarks.tables import gib, number, paragraphs

# Config f: channels from 4x4 to 1024x1024.
CHANNELS = (512, 512, 512, 512, 512, 256, 128, 64, 32)
W_DIM, MAPPING = 512, 8


def checkpoint() -> dict:
    """``g_ema`` with random weights, about 30 M parameters."""
    import torch

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


def convert(source: str, target: str) -> dict:
    """What the command line does; run in a process of its own."""
    from convert import torch_to_flax

    options = torch_to_flax.Options(pathlib.Path(source), pathlib.Path(target))
    begin = time.perf_counter()
    # Not to the standard output, on which the measured process answers.
    with contextlib.redirect_stdout(sys.stderr):
        torch_to_flax.main(options)
    return {"seconds": time.perf_counter() - begin}


def run(quick: bool = False) -> dict:
    """Seconds and the peak resident size; ``quick`` changes nothing."""
    del quick
    try:
        import torch
    except ImportError:
        return {"skipped": "PyTorch is not installed: it writes the file that is converted."}
    with tempfile.TemporaryDirectory() as directory:
        source = pathlib.Path(directory) / "stylegan2-config-f.pt"
        torch.save(checkpoint(), source)
        done = memory.in_child("benchmarks.conversion:convert", str(source), f"{directory}/out")
        return done | {"file_bytes": source.stat().st_size}


def markdown(data: dict) -> str:
    """The section."""
    if "skipped" in data:
        return paragraphs("## Conversion", data["skipped"])
    return paragraphs(
        "## Conversion",
        f"A StyleGAN2 of config f at 1024x1024 with random weights, {gib(data['file_bytes'])} GiB "
        f"in rosinality's layout, is converted in {number(data['seconds'])} s (start of the "
        f"process not counted) and holds at most {gib(data['peak_bytes'])} GiB.",
    )


if __name__ == "__main__":
    print(markdown(run()))
