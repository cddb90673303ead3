"""Many devices and hosts: a mesh of samples by tangents, and how arrays are laid out on it.

Several hosts run the same program with the same arguments, each as one process of
`jax.distributed`; the mesh then spans the devices of all of them.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from facesem_jax.checks import check_shape
from facesem_jax.errors import FacesemError, first_line

SAMPLES = "samples"
"""The mesh axis along which the samples of a batch are split."""

TANGENTS = "tangents"
"""The mesh axis along which the columns of a Jacobian are split."""


def device_mesh(
    samples: int | None = None,
    tangents: int | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> Mesh:
    """Arranges devices for `facesem_jax.semantics.moments.stream_jacobian_moments`.

    Samples are independent, so splitting them costs one sum over devices per batch; splitting the
    tangents repeats the linearisation on every device, and is for a single large sample.

    Args:
      samples: Devices along the samples; default: all that the tangents leave.
      tangents: Devices along the tangents; must divide w_dim (or the basis's columns). Default: all
        that ``samples`` leaves, 1 if that is not given either.
      devices: Which ones; default: all, of every process.

    Returns:
      A mesh with the axes "samples" and "tangents". Devices of a process are neighbours along the
      tangents, so that the state of a wide enough mesh stays within a host.

    Raises:
      FacesemError: If a count is below 1, or their product is not the number of devices.

    Example:
      >>> mesh = device_mesh(tangents=1)
      >>> mesh.axis_names, mesh.shape["samples"] == len(jax.devices())
      (('samples', 'tangents'), True)
    """
    devices = jax.devices() if devices is None else list(devices)
    given = {"samples": samples, "tangents": tangents}
    for name, count in given.items():
        if count is not None and (count < 1 or len(devices) % count):
            raise FacesemError(
                f"A mesh of {count} devices along the {name} cannot be made of {len(devices)} "
                f"device(s); give a divisor of {len(devices)}."
            )
    if tangents is None:
        tangents = 1 if samples is None else len(devices) // samples
    if samples is None:
        samples = len(devices) // tangents
    if samples * tangents != len(devices):
        raise FacesemError(
            f"A mesh of {samples} x {tangents} devices (samples x tangents) needs "
            f"{samples * tangents}, and there are {len(devices)}; give one of the two counts, or "
            "counts whose product is that."
        )
    return Mesh(np.asarray(devices).reshape(samples, tangents), (SAMPLES, TANGENTS))


def initialise_distributed(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    timeout: int = 300,
) -> None:
    """Joins this process to the others, by `jax.distributed.initialize`.

    Call it before anything is computed. On CPUs the processes talk through Gloo, which jax chooses
    by itself.

    Args:
      coordinator: ``host:port`` of process 0, reachable from all; the port must be free there.
      num_processes: How many processes there are.
      process_id: Which one this is, from 0.
      timeout: Seconds to wait for the others.

    All three ``None``: found out from the cluster (Slurm, Open MPI, Cloud TPU).

    Raises:
      FacesemError: On arguments that do not fit together, if the others cannot be reached, or if
        jax has already computed something in this process.
    """
    given = (coordinator, num_processes, process_id)
    if any(g is None for g in given) and any(g is not None for g in given):
        raise FacesemError(
            f"coordinator is {coordinator}, num_processes {num_processes} and process_id "
            f"{process_id}; give all three, or none on a cluster that jax knows."
        )
    if coordinator is not None:
        host, _, port = coordinator.rpartition(":")
        if not host or not port.isdecimal():
            raise FacesemError(f"coordinator is {coordinator!r}; expected host:port.")
        if not 0 <= process_id < num_processes:
            raise FacesemError(
                f"process_id is {process_id} of {num_processes}; expected 0 to num_processes - 1."
            )
    try:
        jax.distributed.initialize(
            coordinator, num_processes, process_id, initialization_timeout=timeout
        )
    except (RuntimeError, ValueError) as error:
        raise FacesemError(
            f"The processes could not be joined ({first_line(error)}). Start all of them "
            "within the timeout, with the same coordinator, before anything is computed."
        ) from error


def place(tree: PyTree, mesh: Mesh, specs: PyTree) -> PyTree:
    """Lays arrays out on a mesh; every process gives the same values.

    Args:
      tree: Arrays, each on this process's devices or the host.
      mesh: The mesh.
      specs: A `PartitionSpec` per array.

    Returns:
      The tree of global arrays.
    """

    def put(x: Any, spec: PartitionSpec):
        sharding = NamedSharding(mesh, spec)
        if not mesh.is_multi_process or (isinstance(x, jax.Array) and x.sharding == sharding):
            return jax.device_put(x, sharding)
        # device_put would first compare all values between the processes.
        x = on_host(x)
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

    return jax.tree.map(put, tree, specs)


def place_beside(tree: PyTree, weights: PyTree) -> PyTree[jax.Array]:
    """Arrays on the one device that weights are bound to (loaded ones are), else on the default.

    What a jitted function of these weights returns is bound to it too: a loop whose first state is
    not would compile its second step again.

    Args:
      tree: Arrays.
      weights: Arrays too.

    Returns:
      The tree in `jax.Array`.
    """
    for leaf in jax.tree.leaves(weights):
        if isinstance(leaf, jax.Array) and leaf.committed and len(leaf.devices()) == 1:
            return jax.device_put(tree, leaf.sharding)
    return jax.tree.map(jnp.asarray, tree)


class Layout(NamedTuple):
    """How a stream of derivatives lies on a mesh.

    Attributes:
      samples: The axes that split the samples.
      last: The axis that splits the derivative's last axis, or ``None``.
    """

    samples: tuple[str, ...]
    last: str | None

    @classmethod
    def of(cls, derivative: PyTree) -> "Layout":
        """Tangents are split where there is a ``basis`` to split, else both axes take samples."""
        if getattr(derivative, "basis", None) is None:
            return cls((SAMPLES, TANGENTS), None)
        return cls((SAMPLES,), TANGENTS)

    def values(self, tree: PyTree, *leading) -> PyTree[PartitionSpec]:
        """Specs of a derivative's values, with further axes before theirs split as ``leading``."""

        def spec(x):
            last = [self.last] if x.ndim else []
            return PartitionSpec(*leading, *[None] * (x.ndim - 1), *last)

        return jax.tree.map(spec, tree)

    def derivative(self, derivative: PyTree) -> PyTree[PartitionSpec]:
        """Specs of the derivative itself: whole on every device, but for the basis."""
        specs = jax.tree.map(lambda _: PartitionSpec(), derivative)
        if self.last is None:
            return specs
        return dataclasses.replace(specs, basis=PartitionSpec(None, self.last))


def place_derivative(derivative: PyTree, mesh: Mesh, size: int, dtype) -> PyTree:
    """Lays a derivative out on a mesh.

    Args:
      derivative: A pytree; with a field ``basis``, (size, k), its columns are split along
        "tangents", and a basis of ``None`` is written out as the identity if need be.
      mesh: The mesh.
      size: Entries of a sample.
      dtype: Their type.

    Returns:
      The derivative with global arrays.

    Raises:
      FacesemError: On a basis of a wrong shape, or one that cannot be split evenly.
    """
    parts = mesh.shape[TANGENTS]
    if hasattr(derivative, "basis"):
        if derivative.basis is None and parts > 1:
            derivative = dataclasses.replace(derivative, basis=np.eye(size, dtype=dtype))
        if derivative.basis is not None:
            check_shape("basis", derivative.basis, (size, None))
            if derivative.basis.shape[1] % parts:
                raise FacesemError(
                    f"{derivative.basis.shape[1]} tangents cannot be split over {parts} devices; "
                    "make a mesh whose tangents divide them."
                )
    return place(derivative, mesh, Layout.of(derivative).derivative(derivative))


def on_host(tree: PyTree) -> PyTree[np.ndarray]:
    """Whole arrays in NumPy, in every process; a collective where a part lies elsewhere.

    Args:
      tree: Arrays, laid out in any way; all processes call this with the same ones.

    Returns:
      The tree of NumPy arrays.
    """

    def fetch(x):
        if isinstance(x, jax.Array) and not (x.is_fully_addressable or x.is_fully_replicated):
            x = multihost_utils.process_allgather(x, tiled=True)
        return np.asarray(x)

    return jax.tree.map(fetch, tree)


def of_first_process(flag: bool) -> bool:
    """Process 0's answer, in every process: for decisions that hang on a clock or a file."""
    if jax.process_count() == 1:
        return bool(flag)
    return bool(multihost_utils.broadcast_one_to_all(np.asarray(flag)))


def all_agree(value: str) -> bool:
    """Whether every process gives the same text; a collective."""
    digest = np.frombuffer(hashlib.sha256(value.encode()).digest(), np.uint8)
    return (
        np.unique(multihost_utils.process_allgather(digest).reshape(-1, 32), axis=0).shape[0] == 1
    )


def wait_for_all(what: str) -> None:
    """Returns when every process has come here; ``what`` names the place in an error."""
    multihost_utils.sync_global_devices(what)
