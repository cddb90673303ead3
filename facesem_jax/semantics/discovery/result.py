"""What every method of discovery gives: named unit directions with scores."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Array, Float

from facesem_jax.checks import check_shape
from facesem_jax.errors import FacesemError


@dataclasses.dataclass(frozen=True)
class Discovered:
    """Directions of W.

    Attributes:
      vectors: Unit directions in the rows.
      names: One per direction.
      scores: The method's own measure of each, larger first where it orders them.
      targets: The global semantic that each is meant to move; empty for a method without targets.
    """

    vectors: Float[np.ndarray, "k d"]
    names: tuple[str, ...]
    scores: Float[np.ndarray, " k"]
    targets: tuple[str, ...] = ()

    def first(self, count: int) -> "Discovered":
        """The leading directions."""
        return Discovered(
            self.vectors[:count], self.names[:count], self.scores[:count], self.targets[:count]
        )


def discovered(
    vectors: Float[Array, "k d"],
    names: str | Sequence[str],
    scores: Float[np.ndarray, " k"],
    *,
    targets: Sequence[str] = (),
    fix_signs: bool = True,
) -> Discovered:
    """Brings directions to unit length.

    Args:
      vectors: Directions in the rows.
      names: One each, or one stem for "stem-1", "stem-2" and so on.
      scores: One each.
      targets: See `Discovered`.
      fix_signs: Make the largest entry of each positive, where a method leaves the sign open.

    Raises:
      FacesemError: On wrong shapes, or a direction that is zero or not finite.

    Example:
      >>> found = discovered(np.array([[0.0, -2.0]]), "axis", np.array([3.0]))
      >>> found.vectors, found.names
      (array([[0., 1.]]), ('axis-1',))
    """
    vectors = np.asarray(vectors, np.float64)
    check_shape("vectors", vectors, (None, None))
    if isinstance(names, str):
        names = [f"{names}-{i + 1}" for i in range(len(vectors))]
    check_shape("scores", np.asarray(scores), (len(vectors),))
    if len(names) != len(vectors) or len(targets) not in (0, len(vectors)):
        raise FacesemError(f"{len(names)} names and {len(targets)} targets for {len(vectors)}.")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        raise FacesemError(
            f"the direction {names[int(np.argmin(np.nan_to_num(lengths[:, 0])))]} is zero or not "
            "finite."
        )
    unit = vectors / lengths
    if fix_signs:
        largest = np.argmax(np.abs(unit), axis=1)
        # Adding 0 turns -0.0 into 0.0.
        unit = unit * np.sign(unit[np.arange(len(unit)), largest])[:, None] + 0.0
    return Discovered(unit, tuple(names), np.asarray(scores, np.float64), tuple(targets))


def check_count(count: int, most: int) -> None:
    """Refuses a number of directions out of range.

    Raises:
      FacesemError: If it is not 1 to ``most``.
    """
    if not 1 <= count <= most:
        raise FacesemError(f"count is {count}; expected 1 to {most} directions.")
