"""GANSpace: principal components of W."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facesem_jax.semantics.discovery.result import Discovered, check_count, discovered
from facesem_jax.semantics.subspace import principal_subspace


def ganspace_directions(ws: Float[Array, "n d"], count: int) -> Discovered:
    r"""The directions in which mapped latents vary most.

    Eigenvectors of the covariance of ``w = mapping(z)``, z standard normal. An edit of x standard
    deviations moves w by ``x * score``.

    Args:
      ws: Mapped latents.
      count: Number of directions, at most d.

    Returns:
      The principal components; the scores are the standard deviations of w along them.

    Raises:
      FacesemError: On a wrong shape, dtype or count, or latents that do not vary.

    Source:
      Härkönen, Hertzmann, Lehtinen and Paris, "GANSpace" (NeurIPS 2020, arXiv 2004.02546),
      section 2.1.

    Example:
      >>> import jax.numpy as jnp
      >>> ws = jnp.array([[3.0, 1.0], [-3.0, 1.0], [3.0, -1.0], [-3.0, -1.0]])
      >>> found = ganspace_directions(ws, 2)
      >>> found.scores.round(3).tolist()
      [3.0, 1.0]
    """
    check_count(count, ws.shape[-1])
    basis = np.asarray(principal_subspace(jnp.asarray(ws), count).basis, np.float64)
    centred = np.asarray(ws, np.float64)
    centred = centred - centred.mean(axis=0)
    return discovered(basis.T, "ganspace", np.sqrt(np.mean((centred @ basis) ** 2, axis=0)))
