"""What a run notes about itself: seconds, settings, versions, device."""

import dataclasses
import importlib.metadata
import math
import pathlib
import platform
import time
from typing import Any

import jax


class Stopwatch:
    """Seconds per named stage, in order."""

    def __init__(self):
        """Starts."""
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Books the time since the last lap on a stage."""
        now = time.perf_counter()
        self.seconds[stage] = round(now - self._last, 3)
        self._last = now


def settings(options: Any) -> dict:
    """Options (a dataclass) as JSON-able values."""
    plain = dataclasses.asdict(options)
    return {k: str(v) if isinstance(v, pathlib.Path) else v for k, v in plain.items()}


def versions() -> dict[str, str]:
    """Of Python and of the packages that numbers depend on."""
    names = ("facesem-jax", "jax", "flax", "optax", "numpy")
    found = {n: importlib.metadata.version(n) for n in names}
    return {"python": platform.python_version()} | found


def device() -> str:
    """The platform that JAX computes on, and its kind."""
    return f"{jax.devices()[0].platform} ({jax.devices()[0].device_kind})"


def finite(value: float) -> float | None:
    """A number for JSON, which has no NaN."""
    return float(value) if math.isfinite(value) else None
