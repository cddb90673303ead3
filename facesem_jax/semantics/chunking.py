"""How many tangents to push at once, from what one takes and what the device has."""

import os
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal
from jaxtyping import Array, Float, PyTree

from facesem_jax.errors import FacesemError
from facesem_jax.semantics.jacobian import DEFAULT_CHUNK_SIZE, single_sample

_ACCELERATOR_CHUNK = 128
# On two CPU cores a chunk is fastest while its arrays stay near the caches: 8 tangents of the
# bundled pair (1.7 MiB each), 2 of a 256x256 StyleGAN2 (99 MiB each; 4 take 13 % longer).
_CPU_CHUNK_BYTES = 16 * 2**20
_CPU_LEAST = 2
# XLA fuses most elementwise steps, so that the estimate below is high; what is left of the memory
# holds weights, residuals and the moments.
_SHARE = 0.5


def chunk_size_for(
    f: Callable[[Float[Array, "n d"]], PyTree],
    w_dim: int,
    *,
    memory_bytes: int | None = None,
    device: jax.Device | None = None,
) -> int:
    """A chunk size that fits half the device's memory and that its kind of device likes.

    From 2 to 8 on a CPU, where larger batches leave the caches, and up to 128 on an accelerator,
    which wants large products.

    Args:
      f: Pure function of a batch, (n, d) -> pytree.
      w_dim: d.
      memory_bytes: Memory to reckon with; ``None`` asks the device (a CPU: the machine).
      device: The device; ``None`` for JAX's default.

    Returns:
      At least 1, at most ``w_dim``.

    Raises:
      FacesemError: If not even one tangent fits: says how much it takes.
    """
    device = jax.devices()[0] if device is None else device
    total = device_memory(device) if memory_bytes is None else memory_bytes
    most = min(_cpu_chunk(f, w_dim) if device.platform == "cpu" else _ACCELERATOR_CHUNK, w_dim)
    if total is None:
        return most
    budget, needed = total * _SHARE, peak_bytes(f, w_dim, most)
    if needed <= budget:
        return most
    least = peak_bytes(f, w_dim, 1)
    if least > budget:
        raise FacesemError(
            f"One tangent takes about {least / 2**30:.1f} GiB and {device} has "
            f"{total / 2**30:.1f}, half of which may be used; choose a smaller "
            "synthesis_resolution or bfloat16, or set the chunk size yourself."
        )
    # The larger of a constant (the primal pass) and a line: the chord lies above it.
    return 1 + int((budget - least) / (needed - least) * (most - 1))


def _cpu_chunk(f, w_dim: int) -> int:
    few, many = 32, 64  # Enough for the tangents to outweigh the primal pass at the peak.
    per_tangent = (peak_bytes(f, w_dim, many) - peak_bytes(f, w_dim, few)) / (many - few)
    return int(min(max(_CPU_CHUNK_BYTES / max(per_tangent, 1), _CPU_LEAST), DEFAULT_CHUNK_SIZE))


def device_memory(device: jax.Device) -> int | None:
    """Bytes that a device can hold; of a CPU, its share of the machine; ``None`` if unknown."""
    if device.platform == "cpu":
        try:
            machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (ValueError, OSError, AttributeError):
            return None
        return machine // len(jax.local_devices())
    return (device.memory_stats() or {}).get("bytes_limit")


def peak_bytes(f: Callable[[Float[Array, "n d"]], PyTree], w_dim: int, tangents: int) -> int:
    """Memory to linearise f at one sample and push tangents all at once, roughly.

    Reckoned from the traced program, each array living from where it is made to where it is last
    used, without compiling anything. Inputs and weights are left out.

    Args:
      f: Pure function of a batch, (n, d) -> pytree.
      w_dim: d.
      tangents: How many are pushed.

    Returns:
      Bytes.
    """

    def push(w, tangents):
        return jax.vmap(jax.linearize(single_sample(f), w)[1])(tangents)

    w = jax.ShapeDtypeStruct((w_dim,), jnp.result_type(float))
    many = jax.ShapeDtypeStruct((tangents, w_dim), w.dtype)
    return _peak_bytes(jax.make_jaxpr(push)(w, many).jaxpr)


def _bytes(variable) -> int:
    aval = variable.aval
    size = getattr(aval, "shape", None)
    return int(np.prod(size, dtype=np.int64)) * aval.dtype.itemsize if size is not None else 0


def _peak_bytes(jaxpr) -> int:
    """Largest sum of the arrays alive at once, inputs and constants left out."""
    last_use = {}
    for index, eqn in enumerate(jaxpr.eqns):
        for v in eqn.invars:
            if not isinstance(v, Literal):
                last_use[v] = index
    for v in jaxpr.outvars:
        if not isinstance(v, Literal):
            last_use[v] = len(jaxpr.eqns)
    given = {*jaxpr.invars, *jaxpr.constvars}
    dies = {}
    for v, index in last_use.items():
        if v not in given:
            dies.setdefault(index, []).append(v)
    alive = peak = 0
    for index, eqn in enumerate(jaxpr.eqns):
        inner = max((_peak_bytes(j) for j in _inner_jaxprs(eqn)), default=0)
        peak = max(peak, alive + inner)
        alive += sum(_bytes(v) for v in eqn.outvars if v in last_use)
        peak = max(peak, alive)
        alive -= sum(_bytes(v) for v in dies.get(index, ()))
    return peak


def _inner_jaxprs(eqn):
    for value in eqn.params.values():
        for item in value if isinstance(value, tuple | list) else [value]:
            item = getattr(item, "jaxpr", item)
            if hasattr(item, "eqns"):
                yield item
