"""Least-squares regression of named semantics on w."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Array, Float

from facesem_jax.semantics.discovery.result import Discovered, discovered
from facesem_jax.semantics.environment import regression_directions


def regressed_directions(
    ws: Float[Array, "n d"],
    ys: Float[Array, "n k"],
    names: Sequence[str],
    *,
    prefix: str = "",
    ridge: float = 1e-4,
) -> Discovered:
    """The gradient of the best linear predictor of every semantic, as a unit direction.

    Args:
      ws: Mapped latents.
      ys: Semantics, one column per name, from a decomposer or from landmarks; each in its unit.
      names: The semantics; they are the directions' targets.
      prefix: Put before the names of the directions.
      ridge: As for `regression_directions`.

    Returns:
      The directions in the order of the names; the scores are R^2 on the last quarter, held out.

    Raises:
      FacesemError: As `regression_directions`; or if a semantic does not depend on w.

    Source:
      Zheng et al. (CVPR 2021), global representations.

    Example:
      >>> import jax
      >>> ws = jax.random.normal(jax.random.key(0), (64, 2))
      >>> found = regressed_directions(ws, 3.0 * ws[:, 1:], ["yaw"])
      >>> (found.vectors.round(3) + 0).tolist(), found.scores.round(3).tolist(), found.targets
      ([[0.0, 1.0]], [1.0], ('yaw',))
    """
    fit = regression_directions(ws, ys, names, ridge=ridge)
    return discovered(
        np.asarray(fit.v) + 0.0,
        [prefix + name for name in names],
        np.asarray(fit.r2_heldout),
        targets=names,
        fix_signs=False,
    )
