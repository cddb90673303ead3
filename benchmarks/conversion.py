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
from convert.random_checkpoint import random_state

# Config f: channels from 4x4 to 1024x1024.
CHANNELS = (512, 512, 512, 512, 512, 256, 128, 64, 32)
W_DIM, MAPPING = 512, 8


def checkpoint() -> dict:
    """``g_ema`` with random weights, about 30 M parameters."""
    import torch

    state = random_state(CHANNELS, W_DIM, MAPPING)
    tensors = {name: torch.from_numpy(array) for name, array in state.items()}
    return {"g_ema": tensors, "latent_avg": torch.zeros(W_DIM)}


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
