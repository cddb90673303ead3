"""The generator's forward pass: ours, PyTorch with the same weights, flaxmodels' StyleGAN2."""

import sys
import traceback

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import facesem_jax
from benchmarks import machine
from benchmarks.large_jacobian import CHANNELS as LARGE_CHANNELS
from benchmarks.tables import goal, number, paragraphs, table, with_spread
from benchmarks.timing import interleaved, paired_ratio, spread
from facesem_jax.generators.config import StyleGAN2Config
from facesem_jax.generators.stylegan2 import StyleGAN2

ROUNDS = 9
AGREEMENT = 1e-4
# What flaxmodels can express: halving from 4 times the last width but one, capped at 256.
SHARED_CHANNELS = (256, 256, 128, 64, 32)


@jax.jit
def _draw(generator, w):
    return generator.synthesis(w)


def _random(channels, w_dim) -> StyleGAN2:
    resolution = 4 << (len(channels) - 1)
    config = StyleGAN2Config(resolution=resolution, channels=channels, w_dim=w_dim)
    return StyleGAN2(config, rngs=nnx.Rngs(0, noise=0))


def _latents(generator, count: int) -> jax.Array:
    return jax.random.normal(jax.random.key(0), (count, generator.config.w_dim))


def _torch_calls(generator, w) -> tuple[dict, dict]:
    """PyTorch's readings as calls, and how far their images are from ours."""
    import torch

    from benchmarks import torch_pair

    torch.set_num_threads(machine.cores())
    torch_pair.full_precision()
    theirs = torch.from_numpy(np.array(w)).to(torch_pair.device())
    ours = np.asarray(_draw(generator, w))
    calls, agreement = {}, {}
    for modulation in torch_pair.MODULATIONS:
        images = torch_pair.synthesis(generator, modulation)

        def call(images=images):
            with torch.no_grad():
                return images(theirs)

        name = f"PyTorch, {modulation} modulated"
        found = call().cpu().numpy().transpose(0, 2, 3, 1)
        agreement[name] = float(np.abs(found - ours).max() / max(1, np.abs(ours).max()))
        if agreement[name] > AGREEMENT:
            raise RuntimeError(f"{name}: the images differ from ours by {agreement[name]:.1e}.")
        calls[name] = call
    return calls, agreement


def _flaxmodels_call(w):
    """flaxmodels' synthesis network with `SHARED_CHANNELS` and weights of its own."""
    import flaxmodels

    resolution = 4 << (len(SHARED_CHANNELS) - 1)
    # Widths are base / 2^(level + 1), at most max.
    network = flaxmodels.stylegan2.SynthesisNetwork(
        resolution=resolution,
        w_dim=w.shape[1],
        fmap_base=SHARED_CHANNELS[-1] << len(SHARED_CHANNELS),
        fmap_max=SHARED_CHANNELS[0],
        fmap_const=SHARED_CHANNELS[0],
    )
    ws = jnp.broadcast_to(w[:, None], (w.shape[0], 2 * len(SHARED_CHANNELS), w.shape[1]))
    variables = network.init(jax.random.key(0), ws, noise_mode="const")
    apply = jax.jit(lambda v, ws: network.apply(v, ws, noise_mode="const"))
    images = apply(variables, ws)
    if images.shape != (w.shape[0], resolution, resolution, 3):
        raise RuntimeError(f"flaxmodels drew images of shape {images.shape}.")
    return lambda: apply(variables, ws)


def _compare(label: str, generator, batch: int, rounds: int, *, flaxmodels: bool = False) -> dict:
    print(f"  {label}, batch {batch}", file=sys.stderr, flush=True)
    w = _latents(generator, batch)
    calls, agreement, notes = {"ours": lambda: _draw(generator, w)}, {}, []
    try:
        own, agreement = _torch_calls(generator, w)
        calls |= own
    except ImportError:
        notes.append("PyTorch is not installed: its readings are left out.")
    if flaxmodels:
        try:
            calls["flaxmodels, own weights"] = _flaxmodels_call(w)
        except Exception as error:  # Whatever a release of JAX that it was not written for does.
            notes.append(_why(error))
    seconds = interleaved(calls, rounds)
    return {
        "label": label,
        "batch": batch,
        "rates": {name: spread([batch / s for s in taken]) for name, taken in seconds.items()},
        "ratios": {name: paired_ratio(taken, seconds["ours"]) for name, taken in seconds.items()},
        "agreement": agreement,
        "notes": notes,
    }


def _why(error: Exception) -> str:
    message = (str(error).strip().splitlines() or [""])[0]
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "flaxmodels" in f.filename]
    at = ""
    if frames:
        path = frames[-1].filename.replace("\\", "/")
        name = "flaxmodels" + path.rpartition("/flaxmodels")[2]
        at = f", at {name}:{frames[-1].lineno}: `{frames[-1].line}`"
    version = machine.version("flaxmodels")
    if version is None:
        return "flaxmodels is not installed: it is left out."
    return (
        f"flaxmodels {version} does not run with jax {machine.version('jax')} and flax "
        f"{machine.version('flax')}, unchanged: `{type(error).__name__}: {message}`{at}."
    )


def run(quick: bool = False) -> dict:
    """Images per second of every reading, by size and batch."""
    rounds = 3 if quick else ROUNDS
    bundled = facesem_jax.load_generator("digiface64")
    rows = [
        _compare("bundled, 64x64", bundled, batch, rounds)
        for batch in ((16,) if quick else (1, 16))
    ]
    shared = _random(SHARED_CHANNELS, 128)
    rows.append(_compare("flaxmodels' widths, 64x64", shared, 16, rounds, flaxmodels=True))
    if not quick:
        large = _random(LARGE_CHANNELS, 512)
        rows.append(_compare("config f, 256x256", large, 4, min(rounds, 5)))
    return {"threads": machine.cores(), "rows": rows}


def markdown(data: dict) -> str:
    """The section."""
    rows = [
        [
            f"{row['label']}, batch {row['batch']}",
            name,
            with_spread(row["rates"][name]),
            with_spread(row["ratios"][name]),
            number(row["agreement"].get(name), 1),
        ]
        for row in data["rows"]
        for name in row["rates"]
    ]
    notes = list(dict.fromkeys(note for row in data["rows"] for note in row["notes"]))
    others = [
        (ratio["median"], name, row)
        for row in data["rows"]
        for name, ratio in row["ratios"].items()
        if name != "ours"
    ]
    goals = []
    if others:
        ratio, name, row = min(others, key=lambda item: item[0])
        goals.append(
            goal(
                "no slower than any other reading",
                ratio >= 1,
                f"the fastest other takes {number(ratio)} times our time ({name}; {row['label']}, "
                f"batch {row['batch']})",
                "PyTorch's convolutions (oneDNN) are the faster ones where the maps are large or "
                "the batch is small; XLA's CPU backend has no blocked layout.",
            )
        )
    return paragraphs(
        "## Generator",
        f"w to images, {data['threads']} threads, float32. PyTorch has the same weights, "
        "converted, in the codebases' reading (modulated weights) and in ours (modulated "
        "activations); *difference* is the largest of its images from ours, as a share of the "
        "largest value (at least 1). flaxmodels' networks have widths that halve, so it meets a "
        "generator of ours with its widths and random weights.",
        table(["generator", "", "images per second", "times our time", "difference"], rows),
        "\n".join(goals),
        "\n".join(f"- {note}" for note in notes),
    )
