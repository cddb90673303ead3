"""Checks and reductions that the experiments' options share."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from facesem_jax.errors import FacesemError

OptionsType = TypeVar("OptionsType")


def check_numbers(options: Any, least: Mapping[str, int]) -> None:
    """Refuses options below their least value, and a seed that seeds nothing.

    Args:
      options: A dataclass; an option that is ``None`` is left alone.
      least: Option to the smallest number allowed.

    Raises:
      FacesemError: Names the option, its value and what was expected.
    """
    for name, low in least.items():
        value = getattr(options, name)
        if value is not None and value < low:
            raise FacesemError(f"{name} is {value}; expected at least {low}.")
    if not 0 <= options.seed < 2**32:
        raise FacesemError(f"seed is {options.seed}; expected 0 to 2^32 - 1.")


def at_most(options: OptionsType, **most: int) -> OptionsType:
    """The options with numbers no larger than these, for a quick run."""
    reduced = {name: min(getattr(options, name), limit) for name, limit in most.items()}
    return dataclasses.replace(options, **reduced)
