"""Argument checks shared by the numerics: each raises one clear error."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from facesem_jax.errors import FacesemError


def check_shape(name: str, array, shape: Sequence[int | None]) -> None:
    """Raises unless ``array`` has the given shape.

    Args:
      name: The argument's name, for the message.
      array: The array to check; works on tracers.
      shape: The expected sizes; ``None`` accepts any size on that axis.

    Raises:
      FacesemError: On a different rank or size.
    """
    found = jnp.shape(array)
    ok = len(found) == len(shape) and all(
        e is None or f == e for f, e in zip(found, shape, strict=True)
    )
    if not ok:
        expected = "(" + ", ".join("any" if e is None else str(e) for e in shape) + ")"
        raise FacesemError(f"{name} has shape {found}; expected {expected}.")


def check_floating(name: str, array) -> None:
    """Raises unless ``array`` is real floating point.

    Args:
      name: The argument's name, for the message.
      array: The array to check; works on tracers.

    Raises:
      FacesemError: On integers, booleans or complex numbers.
    """
    # JAX has no text, which files may hold.
    dtype = array.dtype if isinstance(array, np.ndarray) else jnp.result_type(array)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise FacesemError(
            f"{name} has dtype {dtype}; expected floating point. "
            "Convert uint8 images with `image / 127.5 - 1`."
        )


def check_images(name: str, images, size: int | None = None) -> None:
    """Raises unless ``images`` is a batch of NHWC RGB images, optionally of one size.

    Args:
      name: The argument's name, for the message.
      images: Expected (N, H, W, 3), floating point, nominally in [-1, 1].
      size: Required height and width, or ``None`` for any.

    Raises:
      FacesemError: On a wrong rank, size, channel count or dtype.
    """
    check_shape(name, images, (None, size, size, 3))
    check_floating(name, images)


def varies(values, axis=None):
    """Whether numbers differ by more than rounding would make equal numbers differ.

    Their range against the largest of them, ``max x - min x > 8 eps max |x|``: a mean of equal
    numbers need not equal them, so a variance of exactly 0 is no test.

    Args:
      values: Real numbers of a floating dtype.
      axis: Over which they are compared; ``None`` for all.

    Returns:
      Booleans, of the shape that is left. Not finite numbers: false.
    """
    # NumPy keeps double precision where JAX would cut it off.
    xp = np if isinstance(values, np.ndarray) else jnp
    spread = xp.max(values, axis=axis) - xp.min(values, axis=axis)
    return spread > 8 * xp.finfo(values.dtype).eps * xp.max(xp.abs(values), axis=axis)


def check_seed(seed: int) -> None:
    """Raises unless a seed is 0 to 2^32 - 1: what both NumPy and a compiled program of JAX take.

    Args:
      seed: The seed.

    Raises:
      FacesemError: On any other number.
    """
    if not 0 <= seed < 2**32:
        raise FacesemError(f"seed is {seed}; expected 0 to 2^32 - 1.")
