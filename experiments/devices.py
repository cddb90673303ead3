"""Which devices and processes a run uses, from its options."""

import contextlib
import dataclasses
import pathlib

import jax
from jax.sharding import Mesh

from facesem_jax.errors import FacesemError
from facesem_jax.semantics.sharding import device_mesh, initialise_distributed


@dataclasses.dataclass(frozen=True)
class DeviceOptions:
    """Where to compute. By default all devices of this machine share the samples.

    Attributes:
      mesh: Devices along the samples and along the tangents, such as "8 1". Samples scale best;
        tangents are for few samples of a large generator.
      coordinator: host:port of process 0, where several hosts (or processes) work together; every
        one runs this same command with its own process_id. Leave all three out on a cluster that
        JAX knows (Cloud TPU, Slurm) and give distributed.
      num_processes: How many processes there are.
      process_id: Which one this is, from 0; process 0 writes the results.
      distributed: Join the processes of a cluster that JAX knows.
    """

    mesh: tuple[int, int] | None = None
    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None
    distributed: bool = False

    def join(self) -> None:
        """Joins the other processes, if there are any; before anything is computed.

        Raises:
          FacesemError: As `initialise_distributed`.
        """
        given = (self.coordinator, self.num_processes, self.process_id)
        if self.distributed or any(g is not None for g in given):
            initialise_distributed(*given)

    def make_mesh(self) -> Mesh | None:
        """The mesh, or ``None`` for a single device.

        Raises:
          FacesemError: If there are not as many devices.
        """
        if self.mesh is None:
            return device_mesh() if jax.device_count() > 1 else None
        return device_mesh(*self.mesh)


def only_first_process(manager) -> contextlib.AbstractContextManager[pathlib.Path | None]:
    """The context manager in process 0, one that gives ``None`` in the others."""
    return manager if jax.process_index() == 0 else contextlib.nullcontext()


def refuse_sharing(path: pathlib.Path, other: pathlib.Path, what: str) -> None:
    """Raises if a file or directory lies inside an output directory, which is put in place whole.

    Args:
      path: The file or directory.
      other: The output directory.
      what: The option that named it.

    Raises:
      FacesemError: If it lies there.
    """
    if path.resolve().is_relative_to(other.resolve()):
        raise FacesemError(f"{what} {path} lies inside the output directory; put it elsewhere.")
