"""What a newcomer waits for: installation, import, the first report, and the second.

python -m benchmarks --only newcomer
"""

import importlib.metadata
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Mapping, Sequence

from benchmarks.tables import number, paragraphs, table

ROOT = pathlib.Path(__file__).parents[1]
COMMANDS = {
    "facesem edit --seed 3 --yaw 20": (
        *("-m", "experiments.facesem", "edit", "--seed", "3", "--yaw", "20"),
        *("--output", "out.png"),
    ),
    "experiments.localized --quick": ("-m", "experiments.localized", "--quick"),
}
#: Modules whose import is timed, each in processes of its own.
IMPORTS = ("facesem_jax", "facesem_jax.loading", "jax", "experiments.localized")
# Of the environment alone: the checkout lies on the path as well.
_PACKAGES = """
import importlib.metadata, json, sysconfig
from benchmarks.newcomer import distribution_sizes
paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
print(json.dumps(distribution_sizes(importlib.metadata.distributions(path=list(paths)))))
"""


def distribution_sizes(distributions=None) -> dict[str, float]:
    """MB (10^6 bytes) of every installed distribution: the files that its record lists.

    Args:
      distributions: As `importlib.metadata.distributions` gives them; default: all of this
        Python's.
    """
    found = {}
    for distribution in distributions or importlib.metadata.distributions():
        paths = (distribution.locate_file(f) for f in distribution.files or ())
        size = sum(p.stat().st_size for p in map(pathlib.Path, paths) if p.is_file())
        name = distribution.metadata["Name"].lower().replace("_", "-")
        found[name] = found.get(name, 0) + size / 1e6
    return found


def seconds_of(
    python: pathlib.Path,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    directory: pathlib.Path | None = None,
) -> float:
    """Seconds of a process that runs in a directory.

    Raises:
      RuntimeError: If it fails, with the last line that it wrote.
    """
    begin = time.perf_counter()
    done = subprocess.run(
        [str(python), *arguments],
        capture_output=True,
        text=True,
        env=dict(environment),
        cwd=directory,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise RuntimeError(f"{' '.join(arguments)} failed: {lines[-1]}")
    return time.perf_counter() - begin


def run(quick: bool = False) -> dict:
    """Installs into a fresh virtual environment and runs there; ``quick`` takes this one."""
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
        environment |= {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": ""}
        python, installed = pathlib.Path(sys.executable), None
        if not quick:
            begin = time.perf_counter()
            venv.create(directory / "venv", with_pip=True)
            python = directory / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
            created = time.perf_counter() - begin
            installed = {
                "venv": created,
                "pip": seconds_of(python, ["-m", "pip", "install", "-q", str(ROOT)], environment),
            }
        sizes = subprocess.run(
            [str(python), "-c", _PACKAGES], capture_output=True, text=True, env=environment
        )
        imports = {}
        for module in IMPORTS:
            each = [seconds_of(python, ["-c", f"import {module}"], environment) for _ in range(4)]
            imports[module] = {"first": each[0], "next": statistics.median(each[1:])}
        commands = {}
        for label, words in COMMANDS.items():
            if quick and "localized" in label:
                continue
            off = environment | {"JAX_ENABLE_COMPILATION_CACHE": "0"}
            on = environment | {"XDG_CACHE_HOME": str(directory / f"cache-{len(commands)}")}
            commands[label] = {
                "without": seconds_of(python, words, off, directory),
                "first": seconds_of(python, words, on, directory),
                "second": seconds_of(python, words, on, directory),
            }
            kept = [p for p in pathlib.Path(on["XDG_CACHE_HOME"]).rglob("*-cache") if p.is_file()]
            commands[label] |= {
                "entries": len(kept),
                "megabytes": sum(p.stat().st_size for p in kept) / 1e6,
            }
    return {
        "installed": installed,
        "megabytes": json.loads(sizes.stdout) if sizes.returncode == 0 else {},
        "imports": imports,
        "commands": commands,
    }


def size_rows(megabytes: Mapping[str, float], shown: int = 16) -> list[list[str]]:
    """The largest distributions, the rest together, and the sum."""
    ordered = sorted(megabytes.items(), key=lambda item: -item[1])
    rows = [[name, f"{size:.1f}"] for name, size in ordered[:shown]]
    rest = ordered[shown:]
    if rest:
        rows.append([f"{len(rest)} others", f"{sum(size for _, size in rest):.1f}"])
    return [*rows, ["**all**", f"{sum(megabytes.values()):.1f}"]]


def markdown(data: dict) -> str:
    """The section."""
    installed = data["installed"]
    words = (
        "Measured in the environment at hand."
        if installed is None
        else f"A fresh virtual environment takes {number(installed['venv'])} s, `pip install .` "
        f"{number(installed['pip'])} s (download included)."
    )
    imports = [
        [f"`import {name}`", number(s["first"]), number(s["next"])]
        for name, s in data["imports"].items()
    ]
    commands = [
        [
            f"`{name}`",
            number(c["without"]),
            number(c["first"]),
            number(c["second"]),
            f"{c['entries']} of {c['megabytes']:.1f} MB",
        ]
        for name, c in data["commands"].items()
    ]
    return paragraphs(
        "## A newcomer's cost",
        words,
        table(["distribution", "MB"], size_rows(data["megabytes"])),
        table(["process", "first, s", "next, s"], imports),
        "Whole commands, in seconds: without the compilation cache, with it empty, and again.",
        table(["command", "cache off", "first", "second", "kept"], commands),
    )
