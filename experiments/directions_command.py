"""`facesem directions list` and `facesem directions export`."""

import dataclasses
import math
import pathlib
from typing import Annotated, Literal

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

import facesem_jax
from experiments.output_directory import OutputDirectory
from experiments.output_files import check_outputs, write_files
from facesem_jax.array_files import npy_bytes
from facesem_jax.direction_files import directions_bytes
from facesem_jax.errors import FacesemError
from facesem_jax.semantics.acting import components_at
from facesem_jax.semantics.direction_set import Direction, DirectionSet


@dataclasses.dataclass(frozen=True)
class ListOptions:
    """Prints every direction: what it moves, the unit of its amounts, how far one unit goes in W.

    In a terminal as a table, otherwise as lines divided by tabs. Examples:

        facesem directions list
        facesem directions list --region mouth
        facesem directions list --point 0.87 0.5
        facesem directions list --directions outputs/localized

    Attributes:
      region: Only the components of this region: "mouth", "eyes" (either and both), "left temple".
      point: Only the components that act at this point of the canonical face, the strongest first,
        with their share of what acts there: row and column as fractions of the frame, from the
        upper left. (Click on the face in `python -m experiments.app` for a point of a picture.)
      directions: A bundled name, a directory that `experiments.localized` wrote, or a file of
        `facesem directions export`.
    """

    region: str | None = None
    point: tuple[float, float] | None = None
    directions: str = "digiface64"


@dataclasses.dataclass(frozen=True)
class ExportOptions:
    """Writes directions as .npz, or as .npy boundaries for InterFaceGAN and tools like it.

    A boundary is an array (1, w_dim), float32, of length 1, in W: moving a latent by the distance
    t along it is `w + t * boundary`. `facesem directions list` says which distance one unit of an
    amount is: yaw by 20 degrees is 20 times that of yaw. (InterFaceGAN's --start_distance and
    --end_distance are positions along the boundary in W, steps along it in W+.) Examples:

        facesem directions export --name yaw -o yaw.npy
        facesem directions export --format npy -o boundaries
        facesem directions export --directions outputs/localized -o directions.npz

    Attributes:
      output: The file; with --format npy and not exactly one --name a directory, which gets one
        file for every direction.
      format: "npz": one file, which --directions reads again; "npy": boundaries. Default: as the
        output's name ends, and npy for a directory.
      name: Only this direction; as often as wanted.
      directions: A bundled name, a directory that `experiments.localized` wrote, or a file of
        `facesem directions export`.
      maps: Whether a .npz also holds the components' maps.
      region: Also the components of this region, as for `list`; as often as wanted.
      point: Also the components that act at this point, as for `list`.
    """

    output: Annotated[pathlib.Path, tyro.conf.arg(aliases=["-o"])]
    format: Literal["npz", "npy"] | None = None
    name: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    directions: str = "digiface64"
    maps: bool = True
    region: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    point: tuple[float, float] | None = None


def _number(value: float, digits: str) -> str:
    return "" if math.isnan(value) else format(value, digits)


def table_rows(directions: DirectionSet) -> list[tuple[str, ...]]:
    """One row per direction: name, kind, unit, distance in W per unit, R^2 or share, region."""

    def row(d: Direction):
        return (
            d.name,
            d.kind,
            d.unit,
            f"{d.per_unit:.4g}",
            _number(d.r2, ".2f"),
            _number(100 * d.share, ".1f"),
            d.region,
        )

    return [row(directions.direction(name)) for name in directions.all_names]


_COLUMNS = ("name", "kind", "unit", "W per unit", "R²", "share %", "region")


def acting_at(directions: DirectionSet, point: tuple[float, float]) -> dict[str, float]:
    """Components that act at a point of the canonical frame, and their shares of what does.

    Raises:
      FacesemError: On a point out of the frame, directions without maps, or where none acts.
    """
    if not all(0 <= x <= 1 for x in point):
        raise FacesemError(
            f"--point {point[0]:g} {point[1]:g} lies outside the face; give row and column as "
            "fractions of the frame, 0 to 1 (the mouth is about 0.87 0.5)."
        )
    size = np.zeros(2) if directions.maps is None else np.array(directions.maps.shape[1:3])
    # A pixel's centre lies half a pixel from its edge.
    found = components_at(directions, np.asarray(point) * size - 0.5)
    if not found:
        raise FacesemError(f"no component acts at row {point[0]:g}, column {point[1]:g}.")
    return {component.name: component.strength for component in found}


def list_main(options: ListOptions) -> None:
    """Prints the table."""
    directions, columns = facesem_jax.load_directions(options.directions), _COLUMNS
    if options.region is not None:
        directions = directions.select(directions.in_region(options.region))
    if options.point is None:
        rows = table_rows(directions)
    else:
        shares = acting_at(directions, options.point)
        named = {row[0]: row for row in table_rows(directions)}
        rows = [(*named[name], f"{100 * share:.0f}") for name, share in shares.items()]
        columns = (*columns, "here %")
    console = Console()
    if console.is_terminal:
        # Without a frame all columns fit 80 characters; a name must never be cut off.
        table = Table(box=None, padding=(0, 1, 0, 0))
        for column in columns:
            table.add_column(column, no_wrap=column == "name")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    else:  # For scripts: columns divided by tabs, no frame, nothing cut off.
        print("\n".join("\t".join(row) for row in (columns, *rows)))


def boundary(direction: Direction) -> np.ndarray:
    """A direction as InterFaceGAN's tools read it: (1, d), float32, of length 1."""
    return np.asarray(direction.vector, np.float32)[None]


def export_format(options: ExportOptions) -> str:
    """The format: as asked for, or as the output's name says."""
    if options.format is not None:
        return options.format
    return "npz" if options.output.suffix.lower() == ".npz" else "npy"


def export_main(options: ExportOptions) -> None:
    """Writes one file, or a directory of boundaries."""
    directions = facesem_jax.load_directions(options.directions)
    chosen = options.name + tuple(n for r in options.region for n in directions.in_region(r))
    if options.point is not None:
        here = acting_at(directions, options.point)
        chosen += tuple(name for name in here if name not in chosen)
    if chosen:
        directions = directions.select(chosen)
    names = directions.all_names
    if export_format(options) == "npz":
        check_outputs({".npz": options.output})
        write_files({options.output: directions_bytes(directions, maps=options.maps)})
        print(f"written: {options.output} ({len(names)} directions)")
        return
    if len(names) == 1 and chosen:
        check_outputs({".npy": options.output})
        write_files({options.output: npy_bytes(boundary(directions.direction(names[0])))})
    else:
        _write_boundaries(options.output, directions)
    for name in names:
        d = directions.direction(name)
        print(f"{name}: 1 {'' if d.unit == '1' else d.unit} is a distance of {d.per_unit:.4g} in W")
    print(f"written: {options.output}")


def _write_boundaries(output: pathlib.Path, directions: DirectionSet) -> None:
    files = {f"{name}.npy": directions.direction(name) for name in directions.all_names}
    if any(pathlib.Path(name).name != name for name in files):
        raise FacesemError("a direction's name is no file name; export it alone with --name.")
    if output.suffix:
        raise FacesemError(
            f"{output} would be a directory of {len(files)} files; give it a name without an "
            "ending, or one --name."
        )
    with OutputDirectory(output, tuple(files)) as directory:
        for name, direction in files.items():
            (directory / name).write_bytes(npy_bytes(boundary(direction)))
