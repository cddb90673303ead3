"""Random directions: the floor that a method of discovery has to beat."""

import numpy as np

from facesem_jax.semantics.discovery.result import Discovered, check_count, discovered


def random_directions(w_dim: int, count: int, seed: int = 0) -> Discovered:
    """Orthonormal directions, uniform on the sphere.

    The Q factor of a Gaussian matrix, with signs from the diagonal of R (without them its
    distribution depends on the routine; Mezzadri 2007).

    Args:
      w_dim: Size of w.
      count: Number of directions, at most w_dim.
      seed: Seeds them.

    Returns:
      The directions; all scores are 1.

    Raises:
      FacesemError: On a wrong count.

    Example:
      >>> found = random_directions(8, 3)
      >>> abs(found.vectors @ found.vectors.T).round(3).tolist()
      [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    check_count(count, w_dim)
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(w_dim, count)))
    return discovered((q * np.sign(np.diag(r))).T, "random", np.ones(count), fix_signs=False)
