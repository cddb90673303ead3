"""The whole of `experiments.localized`, stage by stage, beside the work that it cannot avoid."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import jax
import jax.numpy as jnp
import numpy as np

import facesem_jax
from benchmarks.tables import number, paragraphs, table
from benchmarks.timing import best_of, interleaved
from facesem_jax.semantics.semantic_function import environment_semantics, local_semantics

BATCHES = (8, 16, 32, 64)
#: Pictures of a face in a strip.
STRIP_STEPS = 7


@jax.jit
def _call(f, w):
    return f(w)


@jax.jit
def _draw(generator, w):
    return generator.synthesis(w)


def pass_seconds(quick: bool) -> dict[str, float]:
    """Seconds of one forward pass per image at the best batch: drawing, local, environment."""
    generator = facesem_jax.load_generator("digiface64")
    decomposer = facesem_jax.load_decomposer("digiface64")
    local = local_semantics(generator, decomposer)
    environment = environment_semantics(generator, decomposer)
    w = generator.mapping(
        jax.random.normal(jax.random.key(0), (max(BATCHES), generator.config.z_dim))
    )
    batches = BATCHES[1:2] if quick else BATCHES
    found = {}
    for name, call, f in (
        ("images", _draw, generator),
        ("local", _call, local),
        ("environment", _call, environment),
    ):
        calls = {b: lambda b=b, call=call, f=f: call(f, w[:b]) for b in batches}
        seconds = interleaved(calls, 2 if quick else 7)
        each = {b: [s / b for s in seconds[b]] for b in batches}
        found[name] = float(np.median(each[best_of(each)]))
    return found


def product_seconds(outputs: int, w_dim: int, components: int) -> float:
    """Seconds of the two products of an iteration, ``J V`` and ``J^T U``."""
    rng = np.random.default_rng(0)
    J, U, V = (
        jnp.asarray(rng.standard_normal(shape), jnp.float32)
        for shape in ((outputs, w_dim), (outputs, components), (w_dim, components))
    )

    @jax.jit
    def both(J, U, V):
        exact = jax.lax.Precision.HIGHEST
        return jnp.matmul(J, V, precision=exact), jnp.matmul(J.T, U, precision=exact)

    return float(np.median(interleaved({"both": lambda: both(J, U, V)}, 9)["both"]))


def floors(
    metrics: dict, passes: dict[str, float], product: float, w_dim: int = 128
) -> dict[str, float]:
    """Seconds that each stage takes at least, from what it has to compute.

    Args:
      metrics: ``metrics.json``.
      passes: From `pass_seconds`.
      product: From `product_seconds`.
      w_dim: Of the generator.

    Returns:
      By stage; a stage that runs no model and no product has none, 0.
    """
    settings = metrics["settings"]
    names = len(metrics["environment"])
    heldout, probes = (32, 4) if settings["quick"] else (128, 8)
    faces, live = settings["strip_faces"], metrics["live_components"]
    regression, exact = settings["regression_samples"], settings["exact_samples"]
    return {
        # 48 faces drawn, 8 of them decomposed.
        "samples": 48 * passes["images"] + 8 * passes["local"],
        # The regression's faces; a pass forward and one back per name and exact gradient; the
        # strips' faces; the held-out faces at every step.
        "pose and light": (regression + (1 + names) * exact) * passes["environment"]
        + names * STRIP_STEPS * faces * passes["images"]
        + heldout * (1 + names * STRIP_STEPS) * passes["environment"],
        "jacobian": metrics["jacobian"]["samples"] * w_dim * passes["local"],
        "factorisation": metrics["iterations"] * product,
        # Two edits of every live component and the unmoved probes; strips; the mean albedo.
        "edits": 2 * probes * (1 + live) * (passes["local"] + passes["environment"])
        + live * STRIP_STEPS * faces * passes["images"]
        + min(256, regression) * passes["local"],
    }


def run(quick: bool = False) -> dict:
    """Runs the job in a process of its own."""
    with tempfile.TemporaryDirectory() as directory:
        output = pathlib.Path(directory) / "localized"
        command = [sys.executable, "-m", "experiments.localized", "--output", str(output)]
        done = subprocess.run(
            command + ["--quick"] * quick,
            capture_output=True,
            text=True,
            timeout=3600,
            # The report says: compilation included.
            env=os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "0"},
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["no message"]
            raise RuntimeError(f"experiments.localized failed: {lines[-1]}")
        metrics = json.loads((output / "metrics.json").read_text(encoding="utf-8"))
    passes = pass_seconds(quick)
    components = metrics["settings"]["components"]
    product = product_seconds(16384, 128, components)
    return {
        "stages": metrics["seconds"],
        "floors": floors(metrics, passes, product),
        "passes": passes,
        "product": product,
        "cost_ratio": metrics["jacobian"]["cost_ratio"],
        "samples": metrics["jacobian"]["samples"],
        "iterations": metrics["iterations"],
    }


def markdown(data: dict) -> str:
    """The section."""
    rows = []
    for stage, seconds in data["stages"].items():
        floor = data["floors"].get(stage)
        share = "–" if floor is None else f"{floor / seconds:.0%}"
        rows.append([stage, number(seconds), number(floor), share])
    total, least = sum(data["stages"].values()), sum(data["floors"].values())
    rows.append(["**all**", number(total), number(least), f"{least / total:.0%}"])
    passes = ", ".join(f"{name} {number(1e3 * s)} ms" for name, s in data["passes"].items())
    return paragraphs(
        "## The whole of `experiments.localized`",
        "One run in a process of its own, compilation included. The *floor* is the time of the "
        "work that no way of writing a stage avoids, without compilation: w_dim forward passes of "
        "the semantics per face and Jacobian (finite differences need as many; a Jacobian below "
        "its floor is one that found a cheaper exact way); the forward passes of the faces that a "
        "stage draws or decomposes; one pass forward and one back per exact gradient; the two "
        "products with J of every iteration of the start that was kept. Passes at the fastest "
        f"batch, per image: {passes}; the two products: {number(1e3 * data['product'])} ms.",
        table(["stage", "seconds", "floor", "floor's share"], rows),
        f"The Jacobians of {data['samples']} faces took {number(data['cost_ratio'])} of the time "
        f"of w_dim forward passes each (measured in the run); {data['iterations']} iterations.",
    )
