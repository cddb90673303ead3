"""Writes the tables of docs/results.md from finished runs.

    python -m experiments.environment && python -m experiments.relations
    python -m experiments.compare && python -m experiments.augment
    python -m experiments.generator_quality
    python -m experiments.synthetic_faces
    python -m experiments.results_page --runs outputs --page docs/results.md

Each table stands between two comments, ``<!-- NAME begin -->`` and ``<!-- NAME end -->``, NAME
being the experiment's; what stands there is replaced, the rest of the page stays.
"""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping

from experiments.compare_results import COLUMNS, Column
from experiments.output_files import write_files
from experiments.synthetic_report import NAMES as SYNTHETIC_NAMES
from facesem_jax.command_line import run_command
from facesem_jax.errors import FacesemError


@dataclasses.dataclass(frozen=True)
class Options:
    """Renews the tables of the runs that are there.

    Attributes:
      runs: Directory of the experiments' outputs, one directory each by its default name.
      page: The page.
    """

    runs: pathlib.Path = pathlib.Path("outputs")
    page: pathlib.Path = pathlib.Path("docs/results.md")


def markdown_table(head: list[str], rows: list[list[str]]) -> str:
    """A table whose first column is words, the others numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _number(value: float | None, digits: int = 3) -> str:
    if value is None:
        return "–"
    if abs(value) < 1e-5:  # Rounding, of what is 0.
        return "0"
    shown = f"{value:.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"
    return shown.replace("-", "−")


def _amount(value: float | None, unit: str, digits: int = 3) -> str:
    return _number(value, digits) + ("°" if unit == "degrees" and value is not None else "")


def environment_table(metrics: Mapping) -> str:
    """Per semantic: how linear, what it costs to find, how an edit answers, what it leaks."""
    rows = [
        [
            name.replace("_", " "),
            _number(row["r2"]),
            _number(row["cosine"]),
            "never" if row["samples_needed"] is None else _number(row["samples_needed"]),
            _number(row["seconds_needed"], 2),
            _number(row["exact_seconds"], 2),
            _number(row["plain"]["gain"], 2),
            _amount(row["plain"]["linear_to"], row["unit"]),
            f"{_number(row['plain']['leaks'], 2)} → {_number(row['decorrelated']['leaks'], 2)}",
        ]
        for name, row in metrics["semantics"].items()
    ]
    head = ["", "R²", "cosine", "faces needed", "seconds", "exact, seconds", "gain", "linear to"]
    return markdown_table([*head, "largest leak"], rows)


def relations_table(metrics: Mapping) -> str:
    """Every test's correlation and its chance."""
    words = {
        "spatial": "where the maps lie",
        "left_right": "where they lie, either side",
        "mirrored_only": "their mirror images",
        "trees": "the atlas's tree",
    }
    rows = [
        [words[name], _number(test["r"]), _number(test["p"], 2)]
        for name, test in metrics["mantel"].items()
    ]
    rotated, pixels = metrics["rotations"], metrics["pixels"]
    spread = f"{_number(rotated['null_mean'], 2)} ± {_number(rotated['null_std'], 2)}"
    among = f"where least-squares maps lie, among {rotated['count']} rotated ones (r {spread})"
    rows.append([among, _number(rotated["r"]), _number(rotated["p"], 2)])
    rows.append(["pixels of J\\*, how far apart", _number(pixels["r"]), _number(pixels["p"], 2)])
    return markdown_table(["directions' distances against", "r", "p"], rows)


def augment_table(metrics: Mapping) -> str:
    """Errors per label, size and way, over all test faces and in the outermost bin."""
    rows = []
    for label, numbers in metrics["labels"].items():
        for size, ways in numbers["sizes"].items():
            for where, index in (("all", None), ("outermost", -1)):
                parts = {w: one if index is None else one["bins"][index] for w, one in ways.items()}
                cells = [_amount(part["mean"], numbers["unit"]) for part in parts.values()]
                gain = parts["extrapolated"]
                interval = f"[{_number(gain['low'])}, {_number(gain['high'])}]"
                cells.append(f"{_number(gain['gain'])} {interval}")
                rows.append([f"{label}, {size} faces, {where}", *cells])
    ways = list(next(iter(next(iter(metrics["labels"].values()))["sizes"].values())))
    return markdown_table(["", *ways, "gain of extrapolated"], rows)


def compare_table(metrics: Mapping) -> str:
    """Every method in every column that was measured, the best of those without targets in bold."""
    keys = [k for k in COLUMNS if any(k in row for row in metrics["methods"].values())]
    best = {key: entry["best"] for key, entry in metrics["winners"].items()}
    rows = []
    for name, row in metrics["methods"].items():
        cells = [f"{name} ({row['directions']})"]
        for key in keys:
            mean, column = row.get(key, {}).get("mean"), COLUMNS[key]
            shown = _number(None if mean is None else mean * (100 if _share(column) else 1))
            cells.append(f"**{shown}**" if best.get(key) == name else shown)
        rows.append(cells)
    units = {"percent": ", %", "degrees": ", °", "spreads": ", spreads"}
    titles = [COLUMNS[k].title.replace("|", "\\|").replace("*", "\\*") for k in keys]
    head = [f"{t}{units.get(COLUMNS[k].unit, '')}" for t, k in zip(titles, keys, strict=True)]
    return markdown_table(["", *head], rows)


def quality_table(metrics: Mapping) -> str:
    """A generator's distances beside their floors, and its reconstruction."""
    patches = metrics["patches"]
    rows = [
        [
            "patches, mean of the levels" if size == "mean" else f"patches, {size}×{size}",
            _number(row["generator"]),
            _number(row["floor"]),
        ]
        for size, row in patches.items()
    ]
    if "coverage" in metrics:
        ours, floor = metrics["coverage"]["generator"], metrics["coverage"]["floor"]
        rows += [[k, _number(ours[k]), _number(floor[k])] for k in ("precision", "recall")]
        kernel = [_number(1000 * row["kernel"]) for row in (ours, floor)]
        rows.append(["kernel distance × 1000", *kernel])
        rows += [
            [f"path length in {s}", _number(metrics["path"][s]["mean"]), "–"] for s in ("z", "w")
        ]
    if "psnr" in metrics:
        rows.append(["reconstruction, dB", _number(metrics["psnr"]["mean"]), "–"])
    return markdown_table(["", "generator", "stream against stream"], rows)


def linear_table(metrics: Mapping) -> str:
    """Held-out R^2 of what is seen in the faces, from every latent."""
    rows = metrics["r2"]
    names = next(iter(rows.values()))
    cells = [
        [name.replace("_", " "), *(_number(row[name]["mean"]) for row in rows.values())]
        for name in names
    ]
    return markdown_table(["", *rows], cells)


def _share(column: Column) -> bool:
    return column.unit == "percent"


def synthetic_faces_table(metrics: Mapping) -> str:
    """Depth errors per method beside the paper's, the goal's ratio; then view and light."""
    depth, published = metrics["depth"], metrics["published"]
    rows = []
    for name, words in SYNTHETIC_NAMES.items():
        row, paper = depth.get(name, {}), published.get(name, {})
        steps = metrics["steps_taken"].get(name)
        cells = [
            "" if steps is None else f"{steps:,}",
            _deviating(row, "side_x100"),
            _deviating(row, "mad_degrees"),
            _number(paper.get("side_x100")),
            _number(paper.get("mad_degrees"), 4),
        ]
        rows.append([words, *cells])
    goal = [metrics["margin"][name] for name in ("side", "mad")]
    shares = [_number(g["ratio"]) for g in goal] + [_number(g["published"]) for g in goal]
    rows.append(["decomposer over average", "", *shares])
    head = ["", "steps", "SIDE × 100", "MAD, °", "SIDE × 100, BFM", "MAD, °, BFM"]
    fits = [
        [
            name.replace("_", " "),
            *(_number(fit.get(key)) for key in ("error", "chance", "correlation", "slope")),
        ]
        for name, fit in metrics["pose_and_light"].items()
    ]
    second = markdown_table(["", "error", "by chance", "correlation", "slope"], fits)
    return f"{markdown_table(head, rows)}\n\n{second}"


def _deviating(row: Mapping, key: str) -> str:
    return f"{_number(row[key])} ± {_number(row[f'{key}_sd'])}" if key in row else "–"


TABLES: dict[str, Callable[[Mapping], str]] = {
    "environment": environment_table,
    "relations": relations_table,
    "compare": compare_table,
    "augment": augment_table,
    "quality": lambda metrics: f"{quality_table(metrics)}\n\n{linear_table(metrics)}",
    "synthetic_faces": synthetic_faces_table,
}


def replaced(page: str, name: str, content: str) -> str:
    """The page with new content between an experiment's two comments.

    Raises:
      FacesemError: If the page lacks them, or has them twice or the wrong way round.
    """
    begin, end = f"<!-- {name} begin -->", f"<!-- {name} end -->"
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(begin) > page.index(end):
        raise FacesemError(f"the page needs {begin} and {end} once each, in this order.")
    head, rest = page.split(begin)
    return f"{head}{begin}\n\n{content}\n\n{end}{rest.split(end)[1]}"


def read_metrics(path: pathlib.Path) -> Mapping:
    """A run's ``metrics.json``.

    Raises:
      FacesemError: If it is no JSON object.
    """
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FacesemError(f"{path} cannot be read ({error}).") from error
    if not isinstance(metrics, dict):
        raise FacesemError(f"{path} holds no JSON object.")
    return metrics


def main(options: Options) -> None:
    """Renews what there are runs of."""
    try:
        page = options.page.read_text(encoding="utf-8")
    except OSError as error:
        raise FacesemError(f"{options.page} cannot be read ({error.strerror}).") from error
    found = [name for name in TABLES if (options.runs / name / "metrics.json").is_file()]
    if not found:
        raise FacesemError(
            f"{options.runs} holds no run of {', '.join(TABLES)}; run one of them first."
        )
    for name in found:
        metrics = read_metrics(options.runs / name / "metrics.json")
        try:
            page = replaced(page, name, TABLES[name](metrics))
        except (KeyError, TypeError) as error:
            raise FacesemError(
                f"the run of {name} lacks {error}; was it made by this release?"
            ) from error
    write_files({options.page: page.encode()})
    print(f"{options.page}: {', '.join(found)}")


if __name__ == "__main__":
    run_command(main, Options)
