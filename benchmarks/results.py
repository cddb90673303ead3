"""The kept results: one entry per section and device, so that a section can be measured alone."""

import json
import os
import pathlib
from collections.abc import Callable, Mapping

from benchmarks.machine import describe
from benchmarks.tables import paragraphs

#: Results by section, then by device.
Results = dict[str, dict[str, dict]]

_INTRODUCTION = """# Benchmarks

Written by `python -m benchmarks`; `--only jacobian` measures one section anew and leaves the
others. Times are medians with the smallest and the largest in brackets. What is compared is
measured in one process in turns, every round calling every method once. Peak memory is the largest
resident size of a process of its own, imports and weights included, unless it says otherwise.
"""


def entry(data: dict, *, quick: bool, when: str, seconds: float, load: float | None) -> dict:
    """A section's data with its circumstances."""
    return {
        "when": when,
        "quick": quick,
        "seconds": round(seconds, 1),
        "load_before": load,
        "machine": describe(),
        "data": data,
    }


def read(path: pathlib.Path) -> Results:
    """The kept results; none without a file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def merged(results: Results, section: str, device: str, new: dict) -> Results:
    """The results with one entry replaced."""
    return results | {section: results.get(section, {}) | {device: new}}


def write(path: pathlib.Path, text: str) -> None:
    """Writes to a temporary name, then renames: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def to_json(results: Results) -> str:
    """The results as they are kept."""
    return json.dumps(results, indent=1, allow_nan=False) + "\n"


def report(results: Results, sections: Mapping[str, Callable[[dict], str]]) -> str:
    """RESULTS.md.

    Args:
      results: What is there; a section without results says so.
      sections: The sections' ``markdown`` functions, in order.
    """
    parts = [_INTRODUCTION]
    for name, markdown in sections.items():
        if not results.get(name):
            parts.append(f"## {name}\n\nNot measured yet: `python -m benchmarks --only {name}`.")
        for device, found in results.get(name, {}).items():
            body = markdown(found["data"])
            heading, _, rest = body.partition("\n")
            if len(results[name]) > 1:
                heading = f"{heading} ({device})"
            parts.append(paragraphs(heading, _circumstances(found), rest))
    return paragraphs(*parts)


def _circumstances(found: dict) -> str:
    machine = found["machine"]
    versions = ", ".join(f"{k} {v}" for k, v in machine["versions"].items())
    memory = f", {machine['memory_gib']} GiB" if machine["memory_gib"] else ""
    device = machine["device"]
    if not device.startswith("CPU"):
        device = f"{device}; host {machine['cpu']}"
    quick = "; **a quick run: few rounds, small sizes**" if found["quick"] else ""
    load = "" if found["load_before"] is None else f", load before {found['load_before']}"
    return (
        f"*{found['when']}; {device}, {machine['cores']} cores{memory}, {machine['system']}; "
        f"{versions}; took {found['seconds']:.0f} s{load}{quick}.*"
    )
