"""This library's own directions in the form of the comparison."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facesem_jax.errors import FacesemError
from facesem_jax.semantics.components import arrange
from facesem_jax.semantics.discovery.result import Discovered, discovered
from facesem_jax.semantics.edits import decorrelated_steps
from facesem_jax.semantics.factorization import factorize
from facesem_jax.semantics.regions import Atlas, unique_labels
from facesem_jax.semantics.scaling import maps_from_matrix


def local_directions(
    J: Float[Array, "n d"],
    scale: Float[Array, "h w 4"],
    count: int,
    *,
    components: int = 32,
    seed: int = 0,
    restarts: int = 3,
) -> Discovered:
    """The leading components of the sparse factorisation, named by their regions.

    Args:
      J: Scaled mean Jacobian, see `scale_jacobian`.
      scale: Its scale, see `block_scale`.
      count: Number of directions; fewer where fewer components are live.
      components: Number of components of the factorisation.
      seed: Seeds its starts.
      restarts: Its starts.

    Returns:
      The directions; the scores are the components' shares of explained variance, decreasing.

    Raises:
      FacesemError: As `factorize`; or if no component is live.

    Source:
      Zheng et al. (CVPR 2021), local representations.

    Example:
      >>> import jax.numpy as jnp
      >>> J = jnp.zeros((8, 8, 4, 2)).at[2:4, 2:4, :, 1].set(1.0).at[6:, 2:4, :, 0].set(1.0)
      >>> scale = jnp.ones((8, 8, 4)) * 0.2
      >>> found = local_directions((0.2 * J.reshape(-1, 2)), scale, 2, components=2)
      >>> abs(found.vectors).round(2).tolist() in ([[0, 1], [1, 0]], [[1, 0], [0, 1]])
      True
    """
    solved = factorize(jnp.asarray(J), components, seed=seed, restarts=restarts)
    found = arrange(jnp.asarray(J), solved.U, solved.V, jnp.shape(scale))
    chosen = np.flatnonzero(found.live)[:count]
    if not chosen.size:
        raise FacesemError("the factorisation left no component; its alpha is too large for J.")
    maps = np.asarray(maps_from_matrix(found.U[:, chosen], jnp.asarray(scale)))
    atlas = Atlas(*maps.shape[1:3])
    labels = unique_labels([atlas.name(map_).name for map_ in maps])
    return discovered(np.asarray(found.V).T[chosen], labels, found.shares[chosen], fix_signs=False)


def environment_edit_directions(
    gradients: Float[Array, "k d"], names: Sequence[str], spreads: Float[np.ndarray, " k"]
) -> Discovered:
    """Edits that each move one global semantic and leave the other listed ones.

    Args:
      gradients: Mean exact gradients, see `stream_exact_directions`.
      names: The semantics.
      spreads: Standard deviation of every semantic over faces, in its unit.

    Returns:
      The decorrelated edits as unit directions, in the order of the names; the scores are how many
      spreads a move of length 1 makes.

    Raises:
      FacesemError: As `decorrelated_steps`.

    Source:
      Section 1 of the method: exact gradients by Stein's identity; decorrelation is ours.

    Example:
      >>> import jax.numpy as jnp, numpy as np
      >>> gradients = jnp.array([[1.0, 0.0], [1.0, 1.0]])
      >>> found = environment_edit_directions(gradients, ["yaw", "light_x"], np.ones(2))
      >>> found.vectors.round(2).tolist()
      [[0.71, -0.71], [0.0, 1.0]]
    """
    steps = np.asarray(decorrelated_steps(jnp.asarray(gradients), names))
    return discovered(
        steps + 0.0,
        names,
        1 / np.linalg.norm(steps, axis=1) / np.asarray(spreads),
        targets=names,
        fix_signs=False,
    )
