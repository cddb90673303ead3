"""The two warps side by side: speed, and where they disagree.

    python -m benchmarks.warps

Depth and pictures are the bundled decomposer's on bundled faces; every yaw is set by hand. Medians
of paired rounds on an otherwise idle machine.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np

import facesem_jax
from facesem_jax.decomposer.warp import METHODS, apply_warp, canonical_warp

BATCH = 16
ROUNDS = 9
YAWS = (0, 10, 20, 30, 45, 60)


def main() -> None:
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

    times = {(kind, m): [] for kind in ("forward", "gradient") for m in METHODS}
    view = parts.view
    for turn in range(ROUNDS + 1):
        for kind, functions in (("forward", forward), ("gradient", gradient)):
            for m in METHODS:
                begin = time.perf_counter()
                jax.block_until_ready(functions[m](parts.depth, view))
                if turn:  # The first round compiles.
                    times[kind, m].append(time.perf_counter() - begin)
    print(f"images per second, batch {BATCH}, {config.image_size} pixels, {jax.devices()[0]}")
    for (kind, m), seconds in times.items():
        rate = BATCH / np.median(seconds)
        low, high = BATCH / np.max(seconds), BATCH / np.min(seconds)
        print(f"  {kind:9s} {m:12s} {rate:8.0f}  ({low:.0f} to {high:.0f})")

    print("difference of the drawn pixels (images in [-1, 1]), where both see the face")
    print("  yaw   mean |difference|   share above 0.1   pixels that one of them misses")
    for yaw in YAWS:
        turned = jnp.zeros_like(view).at[:, 1].set(np.radians(yaw))
        (a, seen_a), (b, seen_b) = (forward[m](parts.depth, turned) for m in METHODS)
        both = np.asarray(seen_a & seen_b)
        difference = np.abs(np.asarray(a - b)).max(axis=-1)[both]
        missed = np.mean(np.asarray(seen_a != seen_b))
        print(
            f"  {yaw:3d}   {difference.mean():17.5f}   {np.mean(difference > 0.1):15.2%}"
            f"   {missed:.2%}"
        )


if __name__ == "__main__":
    main()
