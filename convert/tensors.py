"""A checkpoint's tensors, each checked when taken, with a record of what became of it."""

import re

import numpy as np

from facesem_jax.errors import FacesemError


class Tensors:
    """Tensors by the reference's names, and which of them were used.

    Attributes:
      used: Names taken so far.
      ignored: Names left out on purpose, with the reason.
    """

    def __init__(self, arrays: dict[str, np.ndarray], *, allow_nonfinite: bool = False):
        """Wraps the arrays.

        Args:
          arrays: By name.
          allow_nonfinite: Whether NaN and infinite values may pass.
        """
        self._arrays = arrays
        self._allow_nonfinite = allow_nonfinite
        self.used: set[str] = set()
        self.ignored: dict[str, str] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def take(self, name: str, shape: tuple[int | None, ...]) -> np.ndarray:
        """One tensor, checked and in float32.

        Args:
          name: The tensor.
          shape: Its expected shape; ``None`` accepts any size on that axis.

        Returns:
          The array.

        Raises:
          FacesemError: If it is missing, has another shape, or holds NaN or infinity.
        """
        if name not in self._arrays:
            raise FacesemError(f"tensor {name} is missing.")
        array = np.asarray(self._arrays[name])
        fits = array.ndim == len(shape) and all(
            found > 0 and (e is None or found == e)
            for found, e in zip(array.shape, shape, strict=True)
        )
        if not fits:
            expected = tuple("any" if e is None else e for e in shape)
            raise FacesemError(f"tensor {name} has shape {array.shape}; expected {expected}.")
        if array.dtype.kind not in "fiu":
            raise FacesemError(f"tensor {name} has the type {array.dtype}; expected numbers.")
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
        if not self._allow_nonfinite and not np.isfinite(array).all():
            raise FacesemError(
                f"tensor {name} holds NaN or infinite values (in float32); "
                "--allow-nonfinite converts it all the same."
            )
        self.used.add(name)
        return array

    def constant(self, name: str, expected: np.ndarray) -> None:
        """Checks a tensor that has one possible value (a filter), where the file holds it.

        Args:
          name: The tensor; may be missing.
          expected: What it must hold.

        Raises:
          FacesemError: If it holds something else: another architecture.
        """
        if name not in self._arrays:
            return
        found = self.take(name, expected.shape)
        if not np.allclose(found, expected, rtol=1e-3, atol=1e-6):
            raise FacesemError(
                f"tensor {name} is no filter of this format (its values differ from the "
                "reference's); a generator with another filter cannot be converted."
            )

    def ignore(self, pattern: str, why: str) -> None:
        """Leaves out the tensors whose whole name matches a regular expression."""
        for name in self._arrays:
            if re.fullmatch(pattern, name) and name not in self.used:
                self.ignored[name] = why

    def highest(self, pattern: str) -> int:
        """The largest number in a name, where ``pattern`` has one group; -1 without a match."""
        found = (re.match(pattern, name) for name in self._arrays)
        # A number of many digits is no index of a layer (and slow to read).
        return max((int(m[1]) for m in found if m and len(m[1]) < 6), default=-1)

    def check_all_used(self) -> None:
        """Raises on a tensor that was neither used nor ignored.

        Raises:
          FacesemError: Naming it: the file holds an architecture that only resembles this one.
        """
        left = sorted(set(self._arrays) - self.used - set(self.ignored))
        if left:
            more = f" (and {len(left) - 1} more)" if len(left) > 1 else ""
            raise FacesemError(
                f"tensor {left[0]}{more} has no place in this format; "
                "the file holds another architecture, or a variant that is not supported."
            )
