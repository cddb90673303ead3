"""Every way to the Jacobian of the bundled pair that `benchmarks.jacobian` compares."""

import collections
import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

import facesem_jax
from benchmarks import machine
from benchmarks.weight_modulated import WeightModulated
from facesem_jax.semantics.jacobian import single_sample
from facesem_jax.semantics.moments import stream_jacobian_moments
from facesem_jax.semantics.sample_jacobian import SampleJacobian
from facesem_jax.semantics.semantic_function import LocalSemantics, local_semantics

STREAM_SAMPLES = 8
#: Outputs of which reverse mode computes the rows, of 16,384; the time is scaled up.
REVERSE_OUTPUTS = 64


@dataclasses.dataclass(frozen=True)
class Way:
    """One way.

    Attributes:
      label: For the table.
      call: Computes it.
      share: How many samples' Jacobians a call computes; below 1, a part of one.
      columns: From what ``call`` gives to the Jacobian at `latents`' first, (rows, w_dim), its rows
        those of `rows`; ``None`` where it is not that sample's.
      rows: Which outputs; ``None`` for all.
      compiled: Compiles ``call`` ahead; gives the compiled function, for its memory, and the
        arguments.
    """

    label: str
    call: Callable[[], object]
    share: float = 1.0
    columns: Callable[[object], np.ndarray] | None = None
    rows: np.ndarray | None = None
    compiled: Callable | None = None


@functools.cache
def pair():
    """The bundled generator and decomposer."""
    return facesem_jax.load_generator("digiface64"), facesem_jax.load_decomposer("digiface64")


@functools.cache
def semantics() -> LocalSemantics:
    """Ours."""
    return local_semantics(*pair())


@functools.cache
def latents() -> jax.Array:
    """Samples of w, seed 0."""
    generator, _ = pair()
    return generator.mapping(jax.random.normal(jax.random.key(0), (32, generator.config.z_dim)))


def _matrix(J) -> np.ndarray:
    return np.asarray(J).reshape(-1, J.shape[-1])


@jax.jit
def _apply(derivative, w):
    return derivative(w)


def _jitted(label: str, jitted, *arguments, **static) -> Way:
    return Way(
        label,
        lambda: jitted(*arguments, **static),
        columns=_matrix,
        compiled=lambda: jitted.lower(*arguments, **static).compile(),
    )


def ours(chunk: int) -> Way:
    """The library's Jacobian of one sample."""
    way = _jitted("ours, one face", _apply, SampleJacobian(semantics(), chunk), latents()[0])
    return dataclasses.replace(way, label=f"ours, one face ({chunk} tangents at once)")


def stream(chunk: int) -> Way:
    """The library's stream of means over samples."""
    ws = latents()[:STREAM_SAMPLES]

    def call():
        steps = stream_jacobian_moments(semantics(), ws, chunk_size=chunk)
        return collections.deque(steps, maxlen=1)[0].moments.mean

    return Way(f"ours, mean over {STREAM_SAMPLES} faces, per face", call, STREAM_SAMPLES)


@functools.partial(jax.jit, static_argnames="images")
def _central(f, w, step, images: int):
    """Central differences along every axis, ``images`` forward passes at once."""
    directions = jnp.eye(w.shape[0], dtype=w.dtype).reshape(-1, images // 2, w.shape[0])

    def columns(b):
        above, below = jnp.split(f(jnp.concatenate([w + step * b, w - step * b])), 2)
        return (above - below) / (2 * step)

    found = jax.lax.map(columns, directions)
    return jnp.moveaxis(found.reshape(w.shape[0], *found.shape[2:]), 0, -1)


def central(images: int, step: float = 1e-2) -> Way:
    """Central differences, ``2 w_dim`` forward passes."""
    label = f"central differences in JAX (batches of {images})"
    return _jitted(label, _central, semantics(), latents()[0], step, images=images)


@jax.jit
def _jacfwd(f, w):
    return jax.jacfwd(single_sample(f))(w)


def plain(_: int = 0) -> Way:
    """What a plain port does: jacfwd over kernels scaled per sample."""
    generator, decomposer = pair()
    f = local_semantics(WeightModulated(generator), decomposer)
    return _jitted("`jax.jacfwd`, weights modulated", _jacfwd, f, latents()[0])


@functools.cache
def torch_semantics(modulation: str):
    """PyTorch's reading, and w."""
    import torch

    from benchmarks import torch_pair

    torch.set_num_threads(machine.cores())
    torch_pair.full_precision()
    f = torch_pair.local_semantics(*pair(), modulation)
    return f, torch.from_numpy(np.array(latents())).to(torch_pair.device())


def _torch_matrix(J) -> np.ndarray:
    # (4, h, w, d) to the order here.
    return _matrix(J.detach().cpu().numpy().transpose(1, 2, 0, 3))


def torch_forward(modulation: str, chunk: int) -> Way:
    """``torch.func.jacfwd``, or its tangents in chunks."""
    import torch

    f, ws = torch_semantics(modulation)
    w = ws[0]

    def one(w):
        return f(w[None])[0]

    def call():
        if chunk >= len(w):
            return torch.func.jacfwd(one)(w)
        push = torch.vmap(
            lambda t: torch.func.jvp(one, (w,), (t,))[1], chunk_size=chunk, out_dims=-1
        )
        return push(torch.eye(len(w), device=w.device))

    chunks = "all tangents at once" if chunk >= len(w) else f"{chunk} tangents at once"
    label = f"`torch.func.jacfwd`, {modulation} modulated ({chunks})"
    return Way(label, call, columns=_torch_matrix)


def torch_linearize(modulation: str, chunk: int) -> Way:
    """``torch.func.linearize``: one primal pass, as here. Tracing is not timed."""
    import torch

    f, ws = torch_semantics(modulation)
    w = ws[0]
    _, push = torch.func.linearize(lambda w: f(w[None])[0], w)
    columns = torch.vmap(push, chunk_size=chunk, out_dims=-1)
    label = f"`torch.func.linearize`, {modulation} modulated ({chunk} tangents at once)"
    return Way(label, lambda: columns(torch.eye(len(w), device=w.device)), columns=_torch_matrix)


def torch_reverse(modulation: str, vectorize: int) -> Way:
    """``torch.autograd.functional.jacobian`` of evenly spread outputs."""
    import torch

    f, ws = torch_semantics(modulation)
    w = ws[0]
    size = pair()[1].config.image_size
    outputs = 4 * size * size
    rows = np.linspace(0, outputs - 1, REVERSE_OUTPUTS).astype(int)
    chosen = torch.from_numpy(rows).to(w.device)

    def some(w):
        return f(w[None])[0].permute(1, 2, 0).reshape(-1)[chosen]

    def call():
        return torch.autograd.functional.jacobian(some, w, vectorize=bool(vectorize))

    how = "vectorised" if vectorize else "row by row"
    return Way(
        f"`torch.autograd.functional.jacobian`, {modulation} modulated ({how}; "
        f"{REVERSE_OUTPUTS} of {outputs:,} rows, scaled up)",
        call,
        share=REVERSE_OUTPUTS / outputs,
        columns=lambda J: J.detach().cpu().numpy(),
        rows=rows,
    )


#: Every way, and the settings of which the fastest is compared: on a CPU, on an accelerator.
WAYS = {
    "ours": (ours, (8, 16), (32, 64, 128)),
    "stream": (stream, (8, 16), (32, 64, 128)),
    "central": (central, (8, 16, 32), (64, 128, 256)),
    "plain": (plain, (0,), (0,)),
}
TORCH_WAYS = {
    f"{name}_{modulation}": (functools.partial(way, modulation), cpu, accelerator)
    for name, way, cpu, accelerator in (
        ("forward", torch_forward, (8, 16, 32, 128), (32, 64, 128)),
        ("linearize", torch_linearize, (8, 16, 32), (32, 64, 128)),
        ("reverse", torch_reverse, (0, 1), (0, 1)),
    )
    for modulation in ("weights", "activations")
}
