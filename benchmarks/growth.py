"""How the time grows: with w_dim, pixels, samples, components and (virtual) devices."""

import collections
import functools
import importlib.util
import inspect
import os
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks import machine, memory
from benchmarks.tables import number, paragraphs, table, with_spread
from benchmarks.timing import exponent, interleaved, spread
from facesem_jax.decomposer import Decomposer, DecomposerConfig
from facesem_jax.generators.config import StyleGAN2Config
from facesem_jax.generators.stylegan2 import StyleGAN2
from facesem_jax.semantics.factorization import factorize
from facesem_jax.semantics.moments import stream_jacobian_moments
from facesem_jax.semantics.sample_jacobian import SampleJacobian
from facesem_jax.semantics.semantic_function import local_semantics

WIDTH = 32
DEVICES = (1, 2, 4)
DEVICE_SAMPLES = 16


@functools.cache
def semantics(w_dim: int, pixels: int):
    """An untrained pair with `WIDTH` feature maps at every resolution."""
    levels = pixels.bit_length() - 2
    config = StyleGAN2Config(resolution=pixels, channels=(WIDTH,) * levels, w_dim=w_dim)
    generator = StyleGAN2(config, rngs=nnx.Rngs(0, noise=0))
    decomposer = Decomposer(DecomposerConfig.compact(image_size=pixels), rngs=nnx.Rngs(0))
    return local_semantics(generator, decomposer, size=pixels)


def latents(count: int, w_dim: int) -> jax.Array:
    """Samples of w."""
    return jax.random.normal(jax.random.key(0), (count, w_dim))


@jax.jit
def _jacobian(derivative, w):
    return derivative(w)


def _mean(f, ws, **options):
    steps = stream_jacobian_moments(f, ws, **options)
    return jax.block_until_ready(collections.deque(steps, maxlen=1)[0].moments.mean)


def _over(calls: dict[int, object], rounds: int) -> dict:
    """Times by size, and the exponent fitted to the medians."""
    seconds = interleaved(calls, rounds)
    sizes = list(calls)
    medians = [spread(seconds[size])["median"] for size in sizes]
    return {
        "seconds": {str(size): spread(seconds[size]) for size in sizes},
        "fit": exponent(sizes, medians),
    }


def over_w_dim(quick: bool, rounds: int) -> dict:
    """One face's Jacobian, 64 pixels."""
    calls = {}
    for size in (32, 64, 128) if quick else (32, 64, 128, 256):
        derivative, w = SampleJacobian(semantics(size, 64)), latents(1, size)[0]
        calls[size] = functools.partial(_jacobian, derivative, w)
    return _over(calls, rounds)


def over_pixels(quick: bool, rounds: int) -> dict:
    """One face's Jacobian, w_dim 64, by the number of pixels."""
    calls = {}
    for side in (32, 64) if quick else (32, 64, 128):
        derivative, w = SampleJacobian(semantics(64, side)), latents(1, 64)[0]
        calls[side * side] = functools.partial(_jacobian, derivative, w)
    return _over(calls, rounds)


def over_samples(quick: bool, rounds: int) -> dict:
    """The stream of means, w_dim 64, 64 pixels."""
    f = semantics(64, 64)
    sizes = (4, 8, 16) if quick else (4, 8, 16, 32)
    return _over({n: functools.partial(_mean, f, latents(n, 64)) for n in sizes}, rounds)


def planted(outputs: int, w_dim: int, rank: int, seed: int = 0) -> np.ndarray:
    """A matrix with sparse maps, orthonormal directions and a little noise, squared norm w_dim."""
    rng = np.random.default_rng(seed)
    maps = rng.standard_normal((outputs, rank)) * (rng.uniform(size=(outputs, rank)) < 0.1)
    directions, _ = np.linalg.qr(rng.standard_normal((w_dim, rank)))
    J = maps @ directions.T + 0.02 * rng.standard_normal((outputs, w_dim))
    return (J * np.sqrt(w_dim) / np.linalg.norm(J)).astype(np.float32)


def over_components(quick: bool, rounds: int) -> dict:
    """The factorisation of 16,384 x 128, one start; seconds per iteration."""
    J = jnp.asarray(planted(16384, 128, 32))
    most = 20 if quick else 100
    sizes = (8, 16, 32) if quick else (8, 16, 32, 64)
    iterations = {}

    def solve(size):
        solved = factorize(J, size, restarts=1, max_iterations=most, tolerance=0.0)
        iterations[size] = solved.iterations
        return solved.U

    found = _over({p: functools.partial(solve, p) for p in sizes}, rounds)
    each = {p: found["seconds"][str(p)]["median"] / iterations[p] for p in sizes}
    found["iterations"] = {str(p): n for p, n in iterations.items()}
    found["per_iteration"] = {str(p): s for p, s in each.items()}
    found["fit"] = exponent(list(each), list(each.values()))
    return found


def on_devices(samples: int, rounds: int) -> dict:
    """Run in a process of its own, with its number of devices: the stream on a mesh of all."""
    from facesem_jax.semantics.sharding import device_mesh

    f, ws = semantics(64, 64), latents(samples, 64)
    mesh = device_mesh()
    call = functools.partial(_mean, f, ws, batch_size=len(jax.devices()) * 4, mesh=mesh)
    call()
    seconds = []
    for _ in range(rounds):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return {"devices": len(jax.devices()), "seconds": seconds}


def has_sharding() -> bool:
    """Whether the stream can run on a mesh of devices."""
    found = importlib.util.find_spec("facesem_jax.semantics.sharding") is not None
    return found and "mesh" in inspect.signature(stream_jacobian_moments).parameters


def over_devices(quick: bool, rounds: int) -> dict:
    """The stream of means on virtual devices, each number in a process of its own."""
    if machine.on_accelerator():
        return {"skipped": "Virtual devices are measured on a CPU alone."}
    if not has_sharding():
        return {"skipped": "This version streams on one device alone: no devices are compared."}
    taken = {}
    for count in DEVICES[:2] if quick else DEVICES:
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}"
        found = memory.in_child(
            "benchmarks.growth:on_devices",
            DEVICE_SAMPLES,
            rounds,
            environment={"XLA_FLAGS": flags.strip(), "JAX_PLATFORMS": "cpu"},
        )
        if found["devices"] != count:
            raise RuntimeError(f"asked for {count} virtual devices, got {found['devices']}.")
        taken[count] = found["seconds"]
    medians = [spread(s)["median"] for s in taken.values()]
    return {
        "seconds": {str(count): spread(s) for count, s in taken.items()},
        "fit": exponent(list(taken), medians),
    }


#: Key, what it is called, what grows, the exponent expected and why.
PARTS = {
    "w_dim": (over_w_dim, "w_dim", "the Jacobian of a face", "1: one tangent per dimension"),
    "pixels": (over_pixels, "pixels", "the Jacobian of a face", "1: convolutions"),
    "samples": (over_samples, "faces", "the mean Jacobian", "1: a stream"),
    "components": (
        over_components,
        "P",
        "the factorisation, per iteration",
        "1 to 2: products with J grow with P, Gram matrices with its square",
    ),
    "devices": (
        over_devices,
        "virtual devices",
        "the mean Jacobian",
        "0 on the cores of one machine, which one device uses already: what a mesh costs",
    ),
}


def run(quick: bool = False) -> dict:
    """Every part."""
    rounds = 2 if quick else 5
    found = {}
    for name, (part, *_) in PARTS.items():
        print(f"  {name}", file=sys.stderr, flush=True)
        found[name] = part(quick, rounds)
    return {"cores": machine.cores(), "width": WIDTH, "parts": found}


def markdown(data: dict) -> str:
    """The section."""
    fits, times, skipped = [], [], []
    for name, found in data["parts"].items():
        _, what, of, expected = PARTS[name]
        if "skipped" in found:
            skipped.append(f"- {what}: {found['skipped']}")
            continue
        fit = found["fit"]
        sizes = list(found["seconds"])
        fits.append(
            [
                f"{of}, with {what}",
                f"{sizes[0]} to {sizes[-1]}",
                f"{fit['exponent']:.2f}",
                f"{fit['worst']:.2f}",
                expected,
            ]
        )
        each = found.get("per_iteration")
        listed = "; ".join(
            f"{size}: {with_spread(taken)}"
            + (f", {number(each[size])} an iteration" if each else "")
            for size, taken in found["seconds"].items()
        )
        times.append(f"- {of}, by {what}: {listed} s")
    return paragraphs(
        "## Growth",
        "Least squares of log time against log size. *Worst*: the largest factor between a "
        f"measured and a fitted time. Untrained pairs with {data['width']} feature maps at every "
        f"resolution and the compact decomposer, {data['cores']} cores; the factorisation is of a "
        "planted 16,384 x 128 matrix.",
        table(["", "sizes", "exponent", "worst", "expected"], fits),
        "\n".join(times),
        "\n".join(skipped),
    )
