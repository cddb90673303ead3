"""The two warps side by side: speed, and where they disagree.

    python -m benchmarks.warps

Depth and pictures are the bundled decomposer's on bundled faces; every yaw is set by hand. Medians
of paired rounds on an otherwise idle machine.
"""

import jax
import jax.numpy as jnp
import numpy as np

import facesem_jax
from benchmarks.tables import paragraphs, table, with_spread
from benchmarks.timing import interleaved, spread
from facesem_jax.decomposer.warp import METHODS, apply_warp, canonical_warp

BATCH = 16
ROUNDS = 9
YAWS = (0, 10, 20, 30, 45, 60)


def run(quick: bool = False) -> dict:
    """Images per second of both warps, and the difference of their pictures by yaw."""
    generator = facesem_jax.load_generator("digiface64")
    decomposer = facesem_jax.load_decomposer("digiface64")
    config = decomposer.config
    z = jax.random.normal(jax.random.key(0), (BATCH, generator.config.z_dim))
    faces = generator(z)
    parts = decomposer(faces)
    canonical = decomposer.canonical_image(parts)

    def draw(depth, view, method):
        warp = canonical_warp(depth, view, config, method)
        return apply_warp(canonical, warp, config.align_corners), warp.mask

    def loss(depth, view, method):
        return jnp.mean(jnp.square(draw(depth, view, method)[0]))

    forward = {m: jax.jit(lambda d, v, m=m: draw(d, v, m)) for m in METHODS}
    gradient = {m: jax.jit(jax.grad(lambda d, v, m=m: loss(d, v, m), (0, 1))) for m in METHODS}
    calls = {
        f"{kind}/{m}": lambda f=functions[m]: f(parts.depth, parts.view)
        for kind, functions in (("forward", forward), ("with gradient", gradient))
        for m in METHODS
    }
    seconds = interleaved(calls, 3 if quick else ROUNDS)
    rates = {name: spread([BATCH / s for s in taken]) for name, taken in seconds.items()}

    differences = []
    for yaw in YAWS:
        turned = jnp.zeros_like(parts.view).at[:, 1].set(np.radians(yaw))
        (a, seen_a), (b, seen_b) = (forward[m](parts.depth, turned) for m in METHODS)
        both = np.asarray(seen_a & seen_b)
        difference = np.abs(np.asarray(a - b)).max(axis=-1)[both]
        differences.append(
            {
                "yaw": yaw,
                "mean": float(difference.mean()),
                "above": float(np.mean(difference > 0.1)),
                "missed": float(np.mean(np.asarray(seen_a != seen_b))),
            }
        )
    size = config.image_size
    return {"batch": BATCH, "pixels": size, "rates": rates, "differences": differences}


def markdown(data: dict) -> str:
    """The section."""
    kinds = list(dict.fromkeys(name.split("/")[0] for name in data["rates"]))
    return paragraphs(
        "## Warps",
        f"The two searches for the visible surface on the bundled decomposer's faces, "
        f"{data['pixels']} pixels, batches of {data['batch']}.",
        table(
            ["images per second", *(m.replace("_", " ") for m in METHODS)],
            [[k, *(with_spread(data["rates"][f"{k}/{m}"]) for m in METHODS)] for k in kinds],
        ),
        "How far the drawn pictures differ (images in [-1, 1]) where both see the face:",
        table(
            ["yaw", "mean difference", "share above 0.1", "pixels that one of them misses"],
            [
                [f"{d['yaw']}°", f"{d['mean']:.4f}", f"{d['above']:.2%}", f"{d['missed']:.2%}"]
                for d in data["differences"]
            ],
        ),
    )


if __name__ == "__main__":
    print(markdown(run()))
