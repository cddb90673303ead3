"""The mean Jacobian over several devices, split by rows (pixels).

Only the placement is written down here: `jax.jit` splits every product with J by itself, and adds
up over the devices where a sum runs over pixels.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from facesem_jax.errors import FacesemError


def rows_over(sharding: NamedSharding) -> NamedSharding:
    """The sharding of a matrix whose rows are split as ``sharding`` splits its first axis.

    Args:
      sharding: Over any mesh; ``PartitionSpec("pixels")`` or the like.

    Returns:
      The same devices and mesh axes, columns whole. The mesh axes are ``Auto``: the compiler
      chooses where to add up, which `jax.make_mesh`'s default leaves to explicit annotations.

    Raises:
      FacesemError: Unless it is a `NamedSharding` that splits the first axis.
    """
    rows = _split_of_rows(sharding)
    if rows is None:
        raise FacesemError(
            f"sharding is {sharding}; expected a jax.sharding.NamedSharding that splits the first "
            'axis, such as NamedSharding(jax.make_mesh((jax.device_count(),), ("pixels",)), '
            'PartitionSpec("pixels")).'
        )
    mesh = sharding.mesh
    auto = Mesh(mesh.devices, mesh.axis_names, axis_types=(AxisType.Auto,) * len(mesh.axis_names))
    return NamedSharding(auto, PartitionSpec(rows, None))


def _split_of_rows(sharding):
    if not isinstance(sharding, NamedSharding) or not len(sharding.spec):
        return None
    return sharding.spec[0]


def sharding_of(J) -> NamedSharding | None:
    """How an array's rows are split already, or ``None``."""
    found = getattr(J, "sharding", None)
    return None if _split_of_rows(found) is None else rows_over(found)


def parts(sharding: NamedSharding) -> int:
    """Number of parts that the rows are split into."""
    axes = sharding.spec[0]
    axes = axes if isinstance(axes, tuple) else (axes,)
    return int(np.prod([sharding.mesh.shape[a] for a in axes]))


def place_rows(J: Float[np.ndarray, "n d"], sharding: NamedSharding) -> Float[Array, "m d"]:
    """J on the devices, with rows of zeros added up to a multiple of the number of parts.

    Args:
      J: On the host, so that no device has to hold the whole.
      sharding: From :func:`rows_over`.
    """
    missing = -J.shape[0] % parts(sharding)
    return jax.device_put(np.pad(J, ((0, missing), (0, 0))), sharding)


def restore_rows(
    U: Float[Array, "m P"],
    rows: np.ndarray,
    n: int,
    sharding: NamedSharding | None = None,
) -> Float[Array, "n P"]:
    """U for all n rows, zero where none was kept.

    Args:
      U: Maps of the kept rows, then of any that were added.
      rows: Numbers of the kept rows.
      n: Number of rows wanted.
      sharding: How to split the result, where n divides evenly; else every device holds all.
    """
    if sharding is None:
        return jnp.zeros((n, U.shape[1]), U.dtype).at[rows].set(U[: rows.size])
    if n % parts(sharding):
        sharding = NamedSharding(sharding.mesh, PartitionSpec())
    place = jax.jit(
        lambda U, rows: jnp.zeros((n, U.shape[1]), U.dtype).at[rows].set(U[: rows.size]),
        out_shardings=sharding,
    )
    return place(U, rows)
