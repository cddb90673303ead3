"""Runs the benchmarks and writes RESULTS.md.

python -m benchmarks [--only jacobian rasterizer] [--quick]
"""

import dataclasses
import datetime
import importlib
import pathlib
import sys
import time
import traceback

from benchmarks import machine, results
from facesem_jax.command_line import run_command
from facesem_jax.errors import FacesemError

#: In the report's order; each module has ``run(quick)`` and ``markdown(data)``.
SECTIONS = (
    "jacobian",
    "large_jacobian",
    "factorization",
    "rasterizer",
    "warps",
    "generator",
    "growth",
    "localized",
    "conversion",
    "newcomer",
    "app",
)
_HERE = pathlib.Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Options:
    """Measures and compares; every section can be run alone.

    Attributes:
      only: Sections to measure; the others keep what was measured before. Default: all.
      quick: Few rounds and small sizes: to see that it works, not to quote.
      output: The report; the figures are kept beside it, in results.json.
    """

    only: tuple[str, ...] = ()
    quick: bool = False
    output: pathlib.Path = _HERE / "RESULTS.md"


def modules(names: tuple[str, ...]) -> dict:
    """The sections' modules by name; those that are not there are left out."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.import_module(f"benchmarks.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"benchmarks.{name}":
                raise
    return found


def main(options: Options) -> None:
    """Measures the sections one after the other; each is written as soon as it is there."""
    sections = modules(SECTIONS)
    unknown = [name for name in options.only if name not in sections]
    if unknown:
        raise FacesemError(f"no section {', '.join(unknown)}; known are {', '.join(sections)}.")
    kept_path = options.output.with_name("results.json")
    failed = []
    for name in options.only or sections:
        print(f"{name} ...", file=sys.stderr, flush=True)
        load, begin = machine.load(), time.perf_counter()
        try:
            data = sections[name].run(options.quick)
        except Exception:  # The other sections' figures are worth having.
            traceback.print_exc()
            failed.append(name)
            continue
        seconds = time.perf_counter() - begin
        when = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
        new = results.entry(data, quick=options.quick, when=when, seconds=seconds, load=load)
        kept = results.merged(results.read(kept_path), name, machine.device_name(), new)
        results.write(kept_path, results.to_json(kept))
        report = results.report(kept, {n: m.markdown for n, m in sections.items()})
        results.write(options.output, report)
        print(f"{name}: {seconds:.0f} s", file=sys.stderr, flush=True)
    if failed:
        raise FacesemError(f"{', '.join(failed)} failed (see above); earlier figures are kept.")
    print(options.output)


if __name__ == "__main__":
    # Compilation is among the figures.
    run_command(main, Options, compilation_cache=False)
