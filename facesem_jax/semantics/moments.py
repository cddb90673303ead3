"""Mean and second moment of per-sample derivatives as a stream.

`init`, `update`, `merge`, `finalise` are pure functions of a pytree; `stream_moments` drives them
at the edge. Memory: two arrays of a derivative's size plus one sample's derivative, however many
samples there are.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int, PyTree

from facesem_jax.checks import check_floating, check_shape
from facesem_jax.errors import FacesemError
from facesem_jax.semantics.jacobian import DEFAULT_CHUNK_SIZE
from facesem_jax.semantics.sample_jacobian import SampleJacobian
from facesem_jax.semantics.sharding import Layout, place, place_beside, place_derivative


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Moments:
    """Running moments, centred: no large numbers are subtracted, so float32 suffices.

    Attributes:
      count: Samples so far, n.
      mean: Their mean, in the samples' unit.
      m2: Sum of squared deviations from the mean, ``sum_i (x_i - mean)^2``, elementwise.
    """

    count: Int[Array, ""]
    mean: PyTree[Float[Array, "..."]]
    m2: PyTree[Float[Array, "..."]]


class MomentSummary(NamedTuple):
    """What `finalise` gives, elementwise.

    Attributes:
      mean: ``E[x]``.
      mean_square: The second moment ``E[x^2]``, in the squared unit.
      variance: ``E[(x - E[x])^2]``, the biased (1 / n) variance.
    """

    mean: PyTree[Float[Array, "..."]]
    mean_square: PyTree[Float[Array, "..."]]
    variance: PyTree[Float[Array, "..."]]


def init(template: PyTree) -> Moments:
    """Moments of no samples.

    Args:
      template: A sample, or its `jax.ShapeDtypeStruct` tree (from `jax.eval_shape`).

    Returns:
      Zeros of the template's shapes and dtypes.
    """

    def zeros():  # Twice, so that no buffer is shared and the state can be donated.
        return jax.tree.map(lambda t: jnp.zeros(t.shape, t.dtype), template)

    return Moments(jnp.zeros((), jnp.int32), zeros(), zeros())


def update(moments: Moments, sample: PyTree[Float[Array, "..."]]) -> Moments:
    r"""Adds one sample.

    .. math::
      \delta = x - \mu_{n-1}, \quad \mu_n = \mu_{n-1} + \delta / n, \quad
      M_n = M_{n-1} + \delta\,(x - \mu_n)

    Under ``jax.jit(update, donate_argnums=0)`` the state is updated in place.

    Args:
      moments: The state so far.
      sample: A pytree of the template's structure and shapes.

    Returns:
      The new state.

    Source:
      Welford, "Note on a method for calculating corrected sums of squares" (1962).
    """
    count = moments.count + 1
    mean = jax.tree.map(lambda m, x: m + (x - m) / count.astype(m.dtype), moments.mean, sample)
    m2 = jax.tree.map(
        lambda s, old, new, x: s + (x - old) * (x - new), moments.m2, moments.mean, mean, sample
    )
    return Moments(count, mean, m2)


def merge(a: Moments, b: Moments) -> Moments:
    r"""Moments of the union of two disjoint sets of samples.

    .. math::
      \mu = \mu_a + \delta\,\tfrac{n_b}{n}, \quad
      M = M_a + M_b + \delta^2\,\tfrac{n_a n_b}{n}, \quad \delta = \mu_b - \mu_a

    Args:
      a: Moments of the one set; may be empty.
      b: Moments of the other; may be empty.

    Returns:
      The joint moments, ``n = n_a + n_b``.

    Source:
      Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
      variances" (1979), equations 2.1.
    """
    count = a.count + b.count

    def weight(dtype):
        return b.count.astype(dtype) / jnp.maximum(count, 1).astype(dtype)

    mean = jax.tree.map(lambda x, y: x + (y - x) * weight(x.dtype), a.mean, b.mean)
    # n_a * (n_b / n): the product n_a n_b overflows int32 from some 46,000 samples each.
    m2 = jax.tree.map(
        lambda s, t, x, y: s + t + jnp.square(y - x) * (a.count.astype(x.dtype) * weight(x.dtype)),
        a.m2,
        b.m2,
        a.mean,
        b.mean,
    )
    return Moments(count, mean, m2)


def finalise(moments: Moments) -> MomentSummary:
    """Turns the running state into mean, second moment and variance.

    Args:
      moments: The state after at least one sample; without any, all three are zero.

    Returns:
      The moments.

    Example:
      >>> state = init(jnp.zeros(2))
      >>> for sample in ([1.0, 0.0], [3.0, 0.0]):
      ...     state = update(state, jnp.array(sample))
      >>> finalise(state).mean.tolist(), finalise(state).variance.tolist()
      ([2.0, 0.0], [1.0, 0.0])
    """
    variance = jax.tree.map(lambda s: s / jnp.maximum(moments.count, 1).astype(s.dtype), moments.m2)
    mean_square = jax.tree.map(lambda v, m: v + jnp.square(m), variance, moments.mean)
    return MomentSummary(moments.mean, mean_square, variance)


class MomentStep(NamedTuple):
    """What `stream_moments` yields after each step.

    Attributes:
      done: Samples so far.
      total: Samples in all.
      moments: The state so far.
      first: The step added ``ws[first:done]``.
      samples: Their derivatives, if they were asked for: row i is that of ``ws[first + i]``, rows
        from ``done - first`` on are padding.
    """

    done: int
    total: int
    moments: Moments
    first: int = 0
    samples: PyTree[Float[Array, "b ..."]] | None = None


def stream_moments(
    derivative: Callable[[Float[Array, "d"]], PyTree],
    ws: Float[Array, "n d"],
    *,
    batch_size: int = 4,
    name: str = "derivative",
    mesh: Mesh | None = None,
    start: MomentStep | None = None,
    keep_samples: bool = False,
) -> Iterator[MomentStep]:
    r"""Streams the moments of ``derivative(w)`` over samples, one jitted step per batch.

    A generator, so that progress bars, checkpoints and early stopping live with the caller.
    Within a step a device takes its samples one after the other: memory holds one derivative at a
    time. Loop over it and keep the last step; a list of the steps would hold every state.

    On a mesh the samples of a batch are split along its axis "samples". A derivative with a field
    ``basis``, (d, k) or ``None`` for the identity, is split by the basis's columns along
    "tangents" besides, and so is the last axis of the state; any other derivative's samples are
    split along both axes. Every device starts from nothing, and the devices' moments are joined by

    .. math::
      n = \sum_i n_i, \quad \mu = \tfrac{1}{n} \sum_i n_i \mu_i, \quad
      M = \sum_i M_i + n_i (\mu_i - \mu)^2

    and merged into the state. Several processes call this with the same arguments;
    `facesem_jax.semantics.sharding.on_host` then gives the whole arrays to each.

    Args:
      derivative: Pytree and pure function of one sample, such as `SampleJacobian`.
      ws: The samples.
      batch_size: Samples per step, at least 1; on a mesh, per step and share of the samples.
      name: What the derivative is called in an error.
      mesh: From `facesem_jax.semantics.sharding.device_mesh`; ``None`` for the default device.
      start: A step of an earlier stream over the same samples, to go on after.
      keep_samples: Whether the steps hold their derivatives: ``batch_size`` of them per device.

    Yields:
      A `MomentStep` per batch; its state stays valid after later steps.

    Raises:
      FacesemError: On bad arguments; or, naming the samples' indices, if a derivative is not
        finite (alike in every process).

    Source:
      Chan, Golub and LeVeque (1979), as `merge`.
    """
    check_shape("ws", ws, (None, None))
    check_floating("ws", ws)
    total = ws.shape[0]
    if total < 1 or batch_size < 1:
        raise FacesemError(
            f"ws holds {total} samples and batch_size is {batch_size}; expected at least 1 each."
        )
    done = 0 if start is None else start.done
    if start is not None and not (start.total == total and 0 <= done <= total):
        raise FacesemError(
            f"start is after {done} of {start.total} samples, and ws holds {total}; give the same."
        )
    if mesh is not None:
        derivative = place_derivative(derivative, mesh, ws.shape[1], ws.dtype)
    template = jax.eval_shape(derivative, jax.ShapeDtypeStruct(ws.shape[1:], ws.dtype))
    moments = init(template) if start is None else start.moments
    if mesh is None:
        shares = 1
        moments = place_beside(moments, derivative)
    else:
        layout = Layout.of(derivative)
        shares = math.prod(mesh.shape[axis] for axis in layout.samples)
        moments = place(moments, mesh, layout.values(moments))
        ws = np.asarray(ws)
    batch_size = min(batch_size, -(-total // shares)) * shares
    for first in range(done, total, batch_size):
        batch = ws[first : first + batch_size]
        count = batch.shape[0]
        # The last batch is padded and the loop stopped early: one compiled step for all.
        padding = ((0, batch_size - count), (0, 0))
        if mesh is None:
            batch = jnp.pad(batch, padding)
            moments, finite, samples = _step(derivative, moments, batch, count, keep_samples)
        else:
            batch = place(np.pad(batch, padding), mesh, P(layout.samples))
            moments, finite, samples = _mesh_step(
                derivative, moments, batch, count, mesh, keep_samples
            )
        bad = first + np.flatnonzero(~np.asarray(finite))
        if bad.size:
            raise FacesemError(
                f"The {name} of {bad.size} sample(s) is not finite, the first at index {bad[0]} "
                f"of ws (from 0). Check that sample's latent and the models' weights for NaN."
            )
        yield MomentStep(first + count, total, moments, first, samples)


def stream_jacobian_moments(
    f: Callable[[Float[Array, "n d"]], PyTree],
    ws: Float[Array, "n d"],
    *,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    batch_size: int = 4,
    basis: Float[Array, "d k"] | None = None,
    mesh: Mesh | None = None,
    start: MomentStep | None = None,
    keep_samples: bool = False,
) -> Iterator[MomentStep]:
    """Streams the moments of the exact Jacobian ``J(w) = df/dw`` over samples.

    ``J* = finalise(last.moments).mean`` is what the factorisation takes.

    Args:
      f: Pure function of a batch, (n, d) -> pytree with a leading axis n; best a pytree such as
        `LocalSemantics` (a plain function's weights become constants of the program).
      ws: The samples.
      chunk_size: Tangents pushed at once; see `jacobian`.
      batch_size: Samples per step; on a mesh, per step and device along "samples".
      basis: Directions in the columns; ``None`` stands for the identity.
      mesh: As `stream_moments`; its axis "tangents" must divide k.
      start: As `stream_moments`.
      keep_samples: As `stream_moments`.

    Yields:
      A `MomentStep` per batch; arrays have f's shape with a last axis k (d without a basis).

    Raises:
      FacesemError: As `stream_moments`.

    Source:
      Zheng et al. (CVPR 2021), local representations: ``J*``, the average Jacobian.

    Example:
      >>> ws = jnp.array([[1.0, 2.0], [3.0, 4.0]])
      >>> *_, last = stream_jacobian_moments(lambda w: jnp.square(w), ws, batch_size=1)
      >>> finalise(last.moments).mean.tolist()
      [[4.0, 0.0], [0.0, 6.0]]
    """
    yield from stream_moments(
        SampleJacobian(as_pytree(f), chunk_size, basis),
        ws,
        batch_size=batch_size,
        name="Jacobian",
        mesh=mesh,
        start=start,
        keep_samples=keep_samples,
    )


def as_pytree(f: Callable) -> Callable:
    """Wraps a plain function so that it can be an argument of a jitted function.

    Args:
      f: A callable, a pytree or not.

    Returns:
      ``f`` itself if it is a pytree, else a `jax.tree_util.Partial` of it.
    """
    return jax.tree_util.Partial(f) if jax.tree_util.all_leaves([f]) else f


def _add_samples(derivative, moments: Moments, ws: Float[Array, "b d"], count, keep: bool):
    """Adds the first ``count`` samples; says which were finite, and hands them out if asked."""

    def body(i, carry):
        moments, finite, kept = carry
        sample = derivative(ws[i])
        ok = jnp.array([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(sample)])
        if keep:
            kept = jax.tree.map(lambda k, x: k.at[i].set(x), kept, sample)
        return update(moments, sample), finite.at[i].set(jnp.all(ok)), kept

    rows = ws.shape[0]
    kept = jax.tree.map(lambda x: jnp.zeros((rows, *x.shape), x.dtype), moments.mean)
    start = (moments, jnp.ones(rows, bool), kept if keep else None)
    return jax.lax.fori_loop(0, count, body, start)


_step = jax.jit(_add_samples, static_argnames="keep")


@partial(jax.jit, static_argnames=("mesh", "keep"))
def _mesh_step(derivative, moments: Moments, ws: Float[Array, "b d"], count, mesh, keep: bool):
    """As `_step`, every device with its share."""
    layout = Layout.of(derivative)

    def share(derivative, moments, ws, count):
        first = jax.lax.axis_index(layout.samples) * ws.shape[0]
        own = jnp.clip(count - first, 0, ws.shape[0])
        part, finite, kept = _add_samples(derivative, init(moments.mean), ws, own, keep)
        flags = jnp.zeros(rows, jnp.int32)
        flags = jax.lax.dynamic_update_slice(flags, (~finite).astype(jnp.int32), (first,))
        bad = jax.lax.psum(flags, mesh.axis_names)
        return merge(moments, _union(part, layout.samples)), bad == 0, kept

    rows = ws.shape[0]
    state, samples = layout.values(moments), P(layout.samples)
    kept = layout.values(moments.mean, layout.samples) if keep else None
    return jax.shard_map(
        share,
        mesh=mesh,
        in_specs=(layout.derivative(derivative), state, samples, P()),
        out_specs=(state, P(), kept),
        # The check wants every loop inside a model to mark its start as varying over devices.
        check_vma=False,
    )(derivative, moments, ws, count)


def _union(part: Moments, axes: tuple[str, ...]) -> Moments:
    """Moments of the union of the devices' samples, within `jax.shard_map`."""
    count = jax.lax.psum(part.count, axes)

    def mean(x):
        weight = part.count.astype(x.dtype) / jnp.maximum(count, 1).astype(x.dtype)
        return jax.lax.psum(weight * x, axes)

    means = jax.tree.map(mean, part.mean)
    m2 = jax.tree.map(
        lambda s, x, y: jax.lax.psum(s + part.count.astype(x.dtype) * jnp.square(x - y), axes),
        part.m2,
        part.mean,
        means,
    )
    return Moments(count, means, m2)
