"""The Jacobian stage of `experiments.localized`: the mean Jacobian, its cost and its error."""

import dataclasses
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from experiments.localized_stages import Track, call, images_at_once
from facesem_jax.errors import FacesemError
from facesem_jax.semantics.chunking import chunk_size_for
from facesem_jax.semantics.moments import finalise, stream_moments
from facesem_jax.semantics.products import relative_error
from facesem_jax.semantics.resumable import stream_resumable
from facesem_jax.semantics.sample_jacobian import SampleJacobian
from facesem_jax.semantics.semantic_function import LocalSemantics
from facesem_jax.semantics.sharding import on_host

#: Samples and directions on which an approximation's error is measured.
_ERROR_SAMPLES, _ERROR_DIRECTIONS = 4, 8


@dataclasses.dataclass(frozen=True)
class JacobianSettings:
    """How the Jacobians are computed.

    Attributes:
      chunk_size: Tangents pushed at once; ``None`` to choose by the device's memory.
      basis: Directions in the columns, orthonormal; ``None`` for all of w.
      synthesis_resolution: Where synthesis stops; ``None`` at the end.
      products: Precision of the tangents' products, "float32" or "bfloat16".
      mesh: Devices of samples and tangents; ``None`` for the default device.
      checkpoints: Directory for checkpoints, from which a killed run goes on; ``None`` for none.
      samples_path: `.npy` file for every sample's Jacobian; ``None`` for none.
      forward_batches: Batch sizes of which the fastest forward pass is what the cost is measured
        in.
    """

    chunk_size: int | None = None
    basis: Float[np.ndarray, "d k"] | None = None
    synthesis_resolution: int | None = None
    products: str = "float32"
    mesh: Mesh | None = None
    checkpoints: pathlib.Path | None = None
    samples_path: pathlib.Path | None = None
    forward_batches: tuple[int, ...] = (8, 16, 32)

    @property
    def is_exact(self) -> bool:
        """Whether the Jacobian is exact along the basis."""
        return self.synthesis_resolution is None and self.products == "float32"

    def check(self, f: LocalSemantics) -> None:
        """Refuses what would fail, before anything is computed.

        Raises:
          FacesemError: If synthesis cannot stop there, or the file of Jacobians exists and belongs
            to no interrupted run.
        """
        stopped = dataclasses.replace(f, synthesis_resolution=self.synthesis_resolution)
        jax.eval_shape(stopped, jax.ShapeDtypeStruct((1, f.generator.config.w_dim), np.float32))
        path = self.samples_path
        if path is not None and path.exists() and self.checkpoints is None:
            raise FacesemError(f"{path} exists; remove it or choose another file.")

    def derivative(self, f: LocalSemantics) -> SampleJacobian:
        """What is streamed."""
        f = dataclasses.replace(f, synthesis_resolution=self.synthesis_resolution)
        w_dim = f.generator.config.w_dim
        device = None if self.mesh is None else self.mesh.local_devices[0]
        chunk_size = self.chunk_size or chunk_size_for(f, w_dim, device=device)
        basis = None if self.basis is None else jnp.asarray(self.basis)
        return SampleJacobian(f, chunk_size, basis, self.products)


def jacobian_stage(
    f: LocalSemantics, ws: Float[np.ndarray, "n d"], settings: JacobianSettings, track: Track
) -> tuple[Float[np.ndarray, "h w 4 k"], dict]:
    """The mean Jacobian, streamed, and what it cost beside forward passes.

    Args:
      f: The pixel-level semantics.
      ws: Latents, all of them differentiated.
      settings: How.
      track: Progress.

    Returns:
      The mean Jacobian (raw units per unit of w, or of the basis's coefficients); and the device
      seconds per sample, the seconds of a forward pass per image at the best batch size, their
      ratio over the number of tangents, and an approximation's relative error (0 if exact).

    Raises:
      FacesemError: As `stream_resumable` and `chunk_size_for`.
    """
    derivative = settings.derivative(f)
    # A large generator takes minutes per sample; checkpoints lie between steps.
    batch = min(4 if f.generator.config.resolution <= 128 else 1, ws.shape[0])
    steps = stream_resumable(
        derivative,
        jnp.asarray(ws),
        directory=settings.checkpoints,
        samples_path=settings.samples_path,
        batch_size=batch,
        name="Jacobian",
        mesh=settings.mesh,
    )
    seconds, last, began = [], None, None
    for step in _advance(steps, track, ws.shape[0]):
        jax.block_until_ready(step.moments.mean)
        now, last = time.perf_counter(), step
        if step.done == step.first:  # Restored.
            continue
        # The first step compiles; a short one at the end is padded.
        if began is not None:
            seconds.append((now - began) / (step.done - step.first))
        began = now
    devices = 1 if settings.mesh is None else settings.mesh.size
    if len(seconds) > 1 and (last.done - last.first) < batch * devices:
        seconds = seconds[:-1]
    if not seconds:
        seconds = [_seconds_of_one_step(derivative, ws[:batch]) / devices]  # On one device.
    per_sample = float(np.median(seconds)) * devices
    tangents = ws.shape[1] if settings.basis is None else settings.basis.shape[1]
    forward = forward_seconds(f, ws, settings.forward_batches)
    cost = {
        "samples": int(ws.shape[0]),
        "tangents": int(tangents),
        "devices": devices,
        "seconds_per_sample": per_sample,
        "forward_seconds": forward,
        "cost_ratio": per_sample / (tangents * forward),
        "chunk_size": derivative.chunk_size,
        "relative_error": 0.0 if settings.is_exact else _error(f, derivative, ws),
    }
    return on_host(finalise(last.moments).mean), cost


def _advance(steps, track: Track, total: int):
    """The steps, with progress in samples."""
    done = 0
    ticks = iter(track(range(total), "exact Jacobians", total))
    for step in steps:
        for _ in range(step.done - done):
            next(ticks)
        done = step.done
        yield step
    next(ticks, None)  # Progress ends where its iteration does.


def _seconds_of_one_step(derivative, ws) -> float:
    """Seconds per sample of a step over ``ws``, compiled before."""
    taken, begin = 0.0, 0.0
    for step in stream_moments(derivative, jnp.concatenate([ws] * 2), batch_size=len(ws)):
        jax.block_until_ready(step.moments.mean)
        taken, begin = time.perf_counter() - begin, time.perf_counter()
    return taken / len(ws)


def _error(f, derivative: SampleJacobian, ws) -> float:
    """Relative error of the approximation, estimated along random directions on a few samples."""
    rng = np.random.default_rng(0)
    directions = jnp.asarray(rng.normal(size=(ws.shape[1], _ERROR_DIRECTIONS)), ws.dtype)
    near = dataclasses.replace(derivative, basis=directions)
    exact = SampleJacobian(f, derivative.chunk_size, directions)
    some = jnp.asarray(ws[:_ERROR_SAMPLES])
    a, b = (jnp.stack([call(d, w) for w in some]) for d in (near, exact))
    return float(relative_error(a, b))


def forward_seconds(
    f: LocalSemantics, ws: Float[np.ndarray, "n d"], batches: tuple[int, ...] = (8, 16, 32)
) -> float:
    """Seconds of one forward pass per image, at the best of a few batch sizes (median of 5)."""
    best = float("inf")
    for batch in sorted({min(batch, images_at_once(f)) for batch in batches}):
        x = jnp.asarray(np.resize(ws, (batch, ws.shape[1])))
        jax.block_until_ready(call(f, x))
        times = []
        for _ in range(5):
            begin = time.perf_counter()
            jax.block_until_ready(call(f, x))
            times.append(time.perf_counter() - begin)
        best = min(best, float(np.median(times)) / batch)
    return best
