"""The Jacobian of a full-size pair: StyleGAN2 config f at 256x256, the whole Unsup3D.

Random weights: a checkpoint cannot be had here, and time and memory do not depend on them.
"""

import functools
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks import machine, memory
from benchmarks.tables import gib, goal, number, paragraphs, table, with_spread
from benchmarks.timing import best_of, interleaved, paired_ratio, spread, wait
from facesem_jax.decomposer import Decomposer, DecomposerConfig
from facesem_jax.generators.config import StyleGAN2Config
from facesem_jax.generators.stylegan2 import StyleGAN2
from facesem_jax.semantics.sample_jacobian import SampleJacobian
from facesem_jax.semantics.semantic_function import local_semantics

CHANNELS = (512, 512, 512, 512, 512, 256, 128)
W_DIM = 512
LIMIT_GIB = 6.0
#: Tangents of the two bases between which the time of one more is measured.
FEW, MORE = 8, 32
BATCHES = (1, 2, 4, 8)


@functools.cache
def semantics(seed: int = 0):
    """The pair's semantics, cropped as for FFHQ."""
    config = StyleGAN2Config(resolution=256, channels=CHANNELS, w_dim=W_DIM)
    generator = StyleGAN2(config, rngs=nnx.Rngs(seed, noise=seed))
    decomposer = Decomposer(DecomposerConfig(), rngs=nnx.Rngs(seed))
    return local_semantics(generator, decomposer, "ffhq")


def latent(count: int = 1) -> jax.Array:
    """w of the scale that mapping gives."""
    return jax.random.normal(jax.random.key(1), (count, W_DIM)) * 0.5


@functools.partial(jax.jit, static_argnames="chunk")
def along(f, w, basis, chunk: int):
    """The Jacobian along a basis."""
    return SampleJacobian(f, chunk, basis)(w)


@jax.jit
def forward(f, w):
    """A batch of forward passes."""
    return f(w)


def held(tangents: int, chunk: int, batch: int) -> dict:
    """Run in a process of its own: memory, and seconds between forward passes before and after."""
    f, w = semantics(), latent(batch)
    basis = jnp.eye(W_DIM)[:, :tangents]
    before = memory.resident_bytes()
    compiled = along.lower(f, w[0], basis, chunk=chunk).compile()
    analysis = compiled.memory_analysis()
    buffers = None
    if analysis is not None:
        buffers = analysis.temp_size_in_bytes + analysis.output_size_in_bytes
    calls = {"pass": lambda: forward(f, w)}
    passes = interleaved(calls, 3)["pass"]
    begin = time.perf_counter()
    wait(compiled(f, w[0], basis))
    seconds = time.perf_counter() - begin
    passes += interleaved(calls, 3)["pass"]
    return {
        "tangents": tangents,
        "before_bytes": before,
        "buffer_bytes": buffers,
        "seconds": seconds,
        "forward": float(np.median(passes)) / batch,
    }


def run(quick: bool = False) -> dict:
    """Seconds per sample, from a few tangents and as a whole; forward passes; memory."""
    f, w = semantics(), latent(max(BATCHES))
    chunks = (2,) if quick else (2, 4)
    if machine.on_accelerator():
        chunks = (32,) if quick else (32, 64)
    bases = {k: jnp.eye(W_DIM)[:, :k] for k in (FEW, MORE)}
    batches = BATCHES[:2] if quick else BATCHES

    def say(text):
        print(f"  {text}", file=sys.stderr, flush=True)

    say("settings")
    trial = {
        b: [s / b for s in interleaved({"f": lambda b=b: forward(f, w[:b])}, 2)["f"]]
        for b in batches
    }
    batch = best_of(trial)
    trials = {
        c: interleaved({"J": lambda c=c: along(f, w[0], bases[FEW], c)}, 1)["J"] for c in chunks
    }
    chunk = best_of(trials)
    say("paired rounds")
    calls = {
        "pass": lambda: forward(f, w[:batch]),
        "few": lambda: along(f, w[0], bases[FEW], chunk),
        "more": lambda: along(f, w[0], bases[MORE], chunk),
    }
    seconds = interleaved(calls, 2 if quick else 3)
    passes = [s / batch for s in seconds["pass"]]
    per_tangent = [
        (b - a) / (MORE - FEW) for a, b in zip(seconds["few"], seconds["more"], strict=True)
    ]
    scaled = [b + (W_DIM - MORE) * t for b, t in zip(seconds["more"], per_tangent, strict=True)]

    # In a child, for its memory. Once: it takes minutes, and the forward passes around it say how
    # the machine fared.
    count = 2 * chunk if quick else W_DIM
    say(f"{count} tangents")
    child = memory.in_child("benchmarks.large_jacobian:held", count, chunk, batch)
    return {
        "chunk": chunk,
        "batch": batch,
        "w_dim": W_DIM,
        "tangents": [FEW, MORE],
        "forward": spread(passes),
        "per_tangent": spread(per_tangent),
        "scaled": spread(scaled),
        "scaled_ratio": paired_ratio(scaled, [W_DIM * s for s in passes]),
        "outputs": int(np.prod(jax.eval_shape(f, w[:1]).shape)),
        "child": child,
    }


def markdown(data: dict) -> str:
    """The section."""
    few, more = data["tangents"]
    child = data["child"]
    whole = child["tangents"] == data["w_dim"]
    child_ratio = child["seconds"] / (child["tangents"] * child["forward"])
    rows = [
        ["a forward pass per image", with_spread(data["forward"]), ""],
        [
            f"one more tangent ({few} against {more} of them)",
            with_spread(data["per_tangent"]),
            "",
        ],
        [
            f"a face, scaled up from {more} tangents (at most this)",
            with_spread(data["scaled"]),
            with_spread(data["scaled_ratio"]),
        ],
    ]
    if whole:
        label = f"a face, all {data['w_dim']} tangents, once"
        rows.append([label, number(child["seconds"]), number(child_ratio)])
    ratio = child_ratio if whole else data["scaled_ratio"]["median"]
    peak = child["peak_bytes"] / 2**30
    return paragraphs(
        "## Jacobian of a full-size pair",
        "StyleGAN2 of config f at 256x256 (channels "
        + ", ".join(map(str, CHANNELS))
        + f", w_dim {data['w_dim']}), crop `ffhq`, Unsup3D as published; random weights. "
        f"{data['outputs']:,} outputs, {data['chunk']} tangents at once; forward passes in "
        f"batches of {data['batch']}, the fastest.",
        table(["", "seconds", f"in {data['w_dim']} forward passes"], rows),
        "Scaled up, the time is too high: a decoder takes no more tangents than it has live codes, "
        "which so few tangents do not reach.",
        f"A process that computes {child['tangents']} columns holds at most "
        f"{gib(child['peak_bytes'])} GiB, {gib(child['before_bytes'])} GiB of it before it starts "
        f"(imports, weights); XLA's buffers are {gib(child['buffer_bytes'])} GiB.",
        "\n".join(
            [
                goal(
                    f"at most the time of {data['w_dim']} forward passes",
                    ratio <= 1,
                    f"{number(ratio)} times that"
                    + ("" if whole else " (scaled up from a part of the tangents)"),
                    "The forward passes are timed at the batch size where they are fastest; a "
                    "tangent costs one more product per element than a pass wherever a "
                    "non-linearity or a normalisation is.",
                ),
                goal(
                    f"under {LIMIT_GIB:g} GiB",
                    peak < LIMIT_GIB,
                    f"{peak:.2f} GiB" + (" (for a part of the tangents)" if not whole else ""),
                ),
            ]
        ),
    )
