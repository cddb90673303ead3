"""Which components act at a point of the canonical face."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facesem_jax.checks import check_shape
from facesem_jax.errors import FacesemError
from facesem_jax.semantics.components import pixel_energy
from facesem_jax.semantics.direction_set import DirectionSet


class ActingComponent(NamedTuple):
    """A component that acts at a point.

    Attributes:
      name: Its label ("mouth-1").
      region: The part of the face that its whole map lies on; "" where unknown.
      strength: Its share of all components' energy at the point, in (0, 1].
    """

    name: str
    region: str
    strength: float


def energy_shares_at(
    maps: Float[Array, "P h w c"], point: Float[Array, "2"], radius: float = 1.5
) -> Float[Array, " P"]:
    r"""Each component's share of the energy around a point.

    ``e_p / sum_q e_q`` with ``e_p`` the sum of the map's squares over all channels and over the
    pixels whose centres are at most ``radius`` from the point.

    Args:
      maps: Of the components, in the units of the factorisation, which weigh albedo and depth.
      point: (row, column) in canonical pixels.
      radius: In canonical pixels; at 0.71 and above some pixel is always in reach.

    Returns:
      Shares that add up to 1; all 0 where no component acts, or the point is out of the frame.

    Raises:
      FacesemError: On wrong shapes.

    Example:
      >>> maps = jnp.zeros((2, 8, 8, 4)).at[0, 2, 2].set(1.0).at[1, 6, 6].set(1.0)
      >>> energy_shares_at(maps, jnp.array([2.0, 3.0])).tolist()
      [1.0, 0.0]
    """
    maps, point = jnp.asarray(maps), jnp.asarray(point, jnp.result_type(float))
    check_shape("maps", maps, (None, None, None, None))
    check_shape("point", point, (2,))
    rows, columns = jnp.arange(maps.shape[1])[:, None], jnp.arange(maps.shape[2])[None, :]
    near = (rows - point[0]) ** 2 + (columns - point[1]) ** 2 <= radius**2
    energy = jnp.sum(jnp.where(near, pixel_energy(maps), 0), axis=(1, 2))
    total = jnp.sum(energy)
    return jnp.where(total > 0, energy / jnp.where(total > 0, total, 1), 0)


def components_at(
    directions: DirectionSet,
    point: Float[np.ndarray, "2"],
    *,
    most: int = 6,
    least: float = 0.02,
    radius: float = 1.5,
) -> tuple[ActingComponent, ...]:
    """The components that act at a point of the canonical face, the strongest first.

    Args:
      directions: With the components' maps.
      point: (row, column) in pixels of the maps.
      most: So many at most.
      least: Weaker shares are left out.
      radius: As for `energy_shares_at`.

    Returns:
      The components; none where no map reaches.

    Raises:
      FacesemError: If the directions have no maps.

    Example:
      >>> directions = facesem_jax.load_directions("digiface64")
      >>> acting = components_at(directions, (50.0, 32.0), most=3)  # Row and column of the lips.
      >>> len(acting), all(a.strength >= b.strength for a, b in zip(acting, acting[1:]))
      (3, True)
    """
    if directions.maps is None:
        raise FacesemError(
            "these directions have no maps, so that nothing is known of where they act; export "
            "them again without --no-maps."
        )
    if not directions.labels:
        return ()
    shares = np.asarray(energy_shares_at(directions.maps, point, radius))
    order = np.argsort(-shares, kind="stable")[:most]
    regions = directions.regions or ("",) * len(directions.labels)
    return tuple(
        ActingComponent(directions.labels[p], regions[p], float(shares[p]))
        for p in order
        if shares[p] > 0 and shares[p] >= least
    )
