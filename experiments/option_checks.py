"""Checks and reductions that the experiments' options share."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, TypeVar

from facesem_jax.checks import check_seed
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
    check_seed(options.seed)


def check_truncation(psi: float) -> None:
    """Refuses a truncation under which all faces are one, or none is a face."""
    if not (math.isfinite(psi) and 0 < psi <= 2):
        raise FacesemError(f"truncation_psi is {psi}; expected above 0, at most 2.")


def at_most(options: OptionsType, **most: int) -> OptionsType:
    """The options with numbers no larger than these, for a quick run."""
    reduced = {name: min(getattr(options, name), limit) for name, limit in most.items()}
    return dataclasses.replace(options, **reduced)
