"""What a run notes about itself: seconds, settings, versions, device."""

import dataclasses
import importlib.metadata
import json
import math
import pathlib
import platform
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np


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


def header(options: Any, watch: Stopwatch) -> dict:
    """What every ``metrics.json`` begins with; ``seconds`` goes on growing with the watch."""
    return {
        "settings": settings(options),
        "seconds": watch.seconds,
        "versions": versions(),
        "device": device(),
    }


def finite(value: float) -> float | None:
    """A number for JSON, which has no NaN."""
    return float(value) if math.isfinite(value) else None


def finite_tree(tree: Any) -> Any:
    """Dictionaries and lists with ``None`` in the place of every NaN or infinite number."""
    if isinstance(tree, dict):
        return {k: finite_tree(v) for k, v in tree.items()}
    if isinstance(tree, list):
        return [finite_tree(v) for v in tree]
    return finite(tree) if isinstance(tree, float) else tree


def write_json(path: pathlib.Path, tree: Any) -> None:
    """Writes a tree of plain numbers, ``null`` in the place of NaN."""
    path.write_text(json.dumps(finite_tree(tree), indent=2) + "\n", encoding="utf-8")


def write_metrics(directory: pathlib.Path, metrics: Mapping) -> None:
    """Writes ``metrics.json``.

    Raises:
      ValueError: On NaN: a number that may be missing goes through `finite` first.
    """
    text = json.dumps(metrics, indent=1, allow_nan=False)
    (directory / "metrics.json").write_text(text + "\n", encoding="utf-8")


def write_results(
    directory: pathlib.Path, metrics: Mapping, page: str, name: str, arrays: Mapping
) -> None:
    """Writes ``metrics.json``, ``report.html`` and one file of arrays.

    Args:
      directory: Where to.
      metrics: JSON-able.
      page: HTML.
      name: Of the arrays' file.
      arrays: By name.
    """
    np.savez_compressed(directory / name, **arrays)
    (directory / "report.html").write_text(page, encoding="utf-8")
    write_metrics(directory, metrics)
