"""A toy stream of Jacobians, and the processes of its own that tests run it in.

    python stream_processes.py MODE [ARGUMENT ...]

Modes are the functions below ``main``; each prints or writes what its test compares.
"""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np

from facesem_jax.errors import FacesemError
from facesem_jax.semantics import moments, sharding
from facesem_jax.semantics.resumable import stream_resumable
from facesem_jax.semantics.sample_jacobian import SampleJacobian

SIZE, SAMPLES = 8, 27  # 27 is no multiple of any batch below.
MESHES = ((8, 1), (4, 2), (2, 4), (1, 8))
PROCESS_MESHES = ((4, 1), (2, 2), (1, 4))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Maps:
    """(n, 8) -> (n, 4, 4, 3): a dense layer and a convolution, each with a bend."""

    dense: jax.Array
    kernel: jax.Array

    def __call__(self, w):
        x = jnp.tanh(w @ self.dense).reshape(-1, 4, 4, 2)
        y = jax.lax.conv_general_dilated(
            x, self.kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return 3 + jnp.sin(y)


def maps(seed=0):
    rng = np.random.default_rng(seed)
    return Maps(
        jnp.asarray(rng.normal(size=(SIZE, 32)), jnp.float32),
        jnp.asarray(rng.normal(size=(3, 3, 2, 3)) / 3, jnp.float32),
    )


def latents(count=SAMPLES):
    return np.random.default_rng(1).normal(size=(count, SIZE)).astype(np.float32)


def start(mode, *arguments, devices=1):
    """Starts a process of ``devices`` virtual CPU devices."""
    environment = os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    command = [sys.executable, __file__, mode, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment)


def finish(*processes):
    """Waits for processes; their outputs, or an error with the stderr of one that failed."""
    try:
        results = [p.communicate(timeout=600) for p in processes]
    finally:
        for p in processes:
            p.kill()
    for p, (_, errors) in zip(processes, results, strict=True):
        assert p.returncode == 0, errors
    return [output for output, _ in results]


def _error(steps):
    try:
        list(steps)
    except FacesemError as error:
        return str(error)
    return None


def _spoilt(index):
    ws = latents()
    ws[index] = np.nan
    return ws


def _save(path, summaries):
    arrays = {
        f"{key}/{name}": getattr(summary, name)
        for key, summary in summaries.items()
        for name in summary._fields
    }
    np.savez(path, **arrays)


def meshes(path):
    """Moments on eight devices, arranged in every way."""
    jax.config.update("jax_disable_most_optimizations", True)  # Compiling is most of the time.
    f, ws, summaries, facts = maps(), latents(), {}, {}
    for samples, tangents in MESHES:
        key, mesh = f"{samples}x{tangents}", sharding.device_mesh(samples, tangents)
        *_, step = moments.stream_jacobian_moments(f, ws, batch_size=1, mesh=mesh)
        summaries[key] = moments.finalise(sharding.on_host(step.moments))
        shards = [
            {"index": str(s.index), "shape": s.data.shape}
            for s in step.moments.m2.addressable_shards
        ]
        stream = moments.stream_jacobian_moments(f, _spoilt(13), batch_size=1, mesh=mesh)
        facts[key] = {"shards": shards, "done": step.done, "error": _error(stream)}
    mesh = sharding.device_mesh(4, 2)
    plain = jax.tree_util.Partial(lambda w: jnp.sin(w) ** 2)
    *_, step = moments.stream_moments(plain, ws, batch_size=1, mesh=mesh)
    summaries["any"] = moments.finalise(step.moments)
    basis = np.eye(SIZE, 6, dtype=np.float32)
    facts["uneven"] = _error(
        moments.stream_jacobian_moments(f, ws, basis=basis, mesh=sharding.device_mesh(2, 4))
    )
    _save(path, summaries)
    print(json.dumps(facts))


def processes(coordinator, count, index, folder):
    """Moments over several processes, with checkpoints and the samples on disk."""
    sharding.initialise_distributed(coordinator, int(count), int(index), timeout=300)
    jax.config.update("jax_disable_most_optimizations", True)
    folder = pathlib.Path(folder)
    f, ws, summaries, facts = maps(), latents(), {}, {"devices": len(jax.devices())}
    for samples, tangents in PROCESS_MESHES:
        key, mesh = f"{samples}x{tangents}", sharding.device_mesh(samples, tangents)
        derivative = SampleJacobian(f)
        options = {
            "directory": folder / key,
            "samples_path": folder / f"{key}.npy",
            "batch_size": 2,
            "mesh": mesh,
        }
        stream = stream_resumable(derivative, ws, seconds=0, **options)
        first = next(stream)
        stream.close()  # Stopped after one step; the second stream goes on.
        resumed, *_, last = stream_resumable(derivative, ws, **options)
        summaries[key] = moments.finalise(sharding.on_host(last.moments))
        stream = moments.stream_jacobian_moments(
            f, _spoilt(13), batch_size=2, mesh=mesh, keep_samples=True
        )
        facts[key] = {"resumed": [first.done, resumed.done], "error": _error(stream)}
    apart = folder / ("4x1" if int(index) == 0 else "nothing here")
    facts["apart"] = _error(stream_resumable(derivative, ws, batch_size=2, directory=apart))
    _save(folder / f"process{index}.npz", summaries)
    print(json.dumps(facts))


def resumable(folder, count):
    """A stream with a checkpoint per step, told on stdout; to be killed."""
    folder = pathlib.Path(folder)
    stream = stream_resumable(
        SampleJacobian(maps()),
        latents(int(count)),
        directory=folder / "run",
        samples_path=folder / "samples.npy",
        seconds=0,
        batch_size=2,
    )
    for step in stream:
        print(step.done, flush=True)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
