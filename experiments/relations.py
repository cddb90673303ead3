"""Do parts of the face that lie together move along directions that lie together?

    python -m experiments.localized
    python -m experiments.relations --run outputs/localized

Distances between the directions V of a run against spatial and left-right relations of the maps U,
against chance in two senses: components paired anew (Mantel's test), and rotated factorisations of
the same Jacobian that explain as much. The same question to J* itself, without a factorisation.
Writes ``metrics.json``, ``relations.npz`` and ``report.html``.
"""

import dataclasses
import pathlib

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from experiments import run_record
from experiments.option_checks import at_most, check_numbers
from experiments.output_directory import OutputDirectory
from experiments.relations_report import render_report
from facesem_jax.array_files import read_arrays
from facesem_jax.checks import check_floating, check_shape
from facesem_jax.command_line import run_command
from facesem_jax.errors import FacesemError
from facesem_jax.semantics.regions import Atlas, default_regions
from facesem_jax.semantics.relation_nulls import (
    mirrored_distances,
    pixel_relations,
    placed_distances,
    rotation_test,
    tree_distances,
)
from facesem_jax.semantics.relations import direction_distances, mantel, spatial_distances
from facesem_jax.semantics.scaling import scale_jacobian

FILES = ("metrics.json", "relations.npz", "report.html")
_NEEDED = ("U", "V", "labels", "mean_jacobian", "scale")


@dataclasses.dataclass(frozen=True)
class Options:
    """Tests how the directions of a finished run relate to one another.

    Attributes:
      run: Directory that `experiments.localized` wrote.
      permutations: Of Mantel's tests.
      rotations: Rotated factorisations.
      pixels: Pixels of J* that are compared with one another.
      seed: Seeds every random choice.
      output: Directory for the results; earlier results there are replaced.
      quick: A tenth of the permutations and rotations.
    """

    run: pathlib.Path = pathlib.Path("outputs/localized")
    permutations: int = 9999
    rotations: int = 199
    pixels: int = 256
    seed: int = 0
    output: pathlib.Path = pathlib.Path("outputs/relations")
    quick: bool = False

    def checked(self) -> "Options":
        """The options, reduced by ``quick``.

        Raises:
          FacesemError: On a number that is out of range.
        """
        check_numbers(self, {"permutations": 1, "rotations": 1, "pixels": 3})
        return at_most(self, permutations=999, rotations=19) if self.quick else self


@dataclasses.dataclass(frozen=True)
class RelationsResults:
    """All that the page shows.

    Attributes:
      metrics: The contents of ``metrics.json``.
      labels: The live components.
      distances: Cosine distances of their directions.
      placed: Distances of their regions in the atlas's own tree.
      null: Mantel's r of the rotated factorisations.
    """

    metrics: dict
    labels: list[str]
    distances: Float[np.ndarray, "P P"]
    placed: Float[np.ndarray, "P P"]
    null: Float[np.ndarray, " rotations"]


def read_run(directory: pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays of a run.

    Raises:
      FacesemError: If the file or one of its arrays is missing, or fewer than 3 components live.
    """
    path = directory / "components.npz"
    if not path.is_file():
        raise FacesemError(
            f"{directory} holds no components.npz; run `python -m experiments.localized --output "
            f"{directory}` first, or name another run with --run."
        )
    arrays = read_arrays(path)
    missing = [name for name in _NEEDED if name not in arrays]
    if missing:
        raise FacesemError(f"{path} lacks {missing[0]!r}; it was not written by this release.")
    try:
        check_floating("U", arrays["U"])
        check_shape("U", arrays["U"], (None, None, None, None))
        count, *map_shape = arrays["U"].shape
        check_shape("V", arrays["V"], (count, None))
        check_shape("labels", arrays["labels"], (count,))
        check_shape("scale", arrays["scale"], map_shape)
        columns = w_dim = arrays["V"].shape[1]
        if "basis" in arrays:  # `--subspace`: columns are the basis's coefficients.
            check_shape("basis", arrays["basis"], (w_dim, None))
            columns = arrays["basis"].shape[1]
        check_shape("mean_jacobian", arrays["mean_jacobian"], (*map_shape, columns))
    except FacesemError as error:
        raise FacesemError(f"{path}: {error} Run experiments.localized again.") from error
    if np.any(arrays["U"], axis=(1, 2, 3)).sum() < 3:
        raise FacesemError(f"{path} has fewer than 3 live components; relations need 3 or more.")
    if "basis" in arrays:
        arrays["mean_jacobian"] = arrays["mean_jacobian"] @ arrays["basis"].T
    return arrays


def component_regions(maps: Float[np.ndarray, "P h w 4"]) -> Int[np.ndarray, " P"]:
    """The number of each map's region in the atlas: of a pair the left one, else the largest."""
    atlas = Atlas(*maps.shape[1:3])
    named = [atlas.name(map_) for map_ in maps]
    pairs = {f"{n.removeprefix('left ')}s": n for n in atlas.names if n.startswith("left ")}
    known = {n: i for i, n in enumerate(atlas.names)}
    return np.array(
        [
            known.get(pairs.get(n.name, n.name), known[max(n.shares, key=n.shares.get)])
            for n in named
        ]
    )


def run(options: Options) -> tuple[RelationsResults, dict]:
    """The whole job.

    Args:
      options: Checked options.

    Returns:
      The results, and the arrays of ``relations.npz``.
    """
    watch = run_record.Stopwatch()
    arrays = read_run(options.run)
    live = np.any(arrays["U"], axis=(1, 2, 3))
    maps, V = arrays["U"][live], arrays["V"][live].T
    labels = [str(label) for label, one in zip(arrays["labels"], live, strict=True) if one]
    scale = jnp.asarray(arrays["scale"])
    J = np.asarray(scale_jacobian(jnp.asarray(arrays["mean_jacobian"]), scale))
    watch.lap("load")

    distances, spatial = direction_distances(V), spatial_distances(maps)
    mirrored = mirrored_distances(maps)
    centres = np.array([(r.x, r.y) for r in default_regions().values()])
    placed = placed_distances(centres, component_regions(maps))
    shared = {"permutations": options.permutations, "seed": options.seed}
    tests = {
        "spatial": mantel(distances, spatial, **shared),
        "left_right": mantel(distances, np.minimum(spatial, mirrored), **shared),
        "mirrored_only": mantel(distances, mirrored, **shared),
        "trees": mantel(tree_distances(distances), placed, **shared),
    }
    watch.lap("Mantel's tests")
    rotated = rotation_test(J, maps, V, rotations=options.rotations, seed=options.seed)
    watch.lap("rotated factorisations")
    blocks = J.reshape(*arrays["scale"].shape, -1)
    pixels = pixel_relations(
        blocks, options.pixels, permutations=min(options.permutations, 999), seed=options.seed
    )
    watch.lap("pixels")

    metrics = {
        **run_record.header(options, watch),
        "components": len(labels),
        "mantel": {
            name: {"r": run_record.finite(t.r), "p": t.p, "permutations": t.permutations}
            for name, t in tests.items()
        },
        "rotations": {
            "r": run_record.finite(rotated.r),
            "p": rotated.p,
            "count": options.rotations,
            "null_mean": run_record.finite(float(np.mean(rotated.null))),
            "null_std": run_record.finite(float(np.std(rotated.null))),
            "null_max": run_record.finite(float(np.max(rotated.null))),
        },
        "pixels": {"r": run_record.finite(pixels.r), "p": pixels.p, "count": options.pixels},
    }
    found = {
        "labels": np.array(labels),
        "directions": distances,
        "spatial": spatial,
        "mirrored": mirrored,
        "atlas_tree": placed,
        "null": rotated.null,
    }
    return RelationsResults(metrics, labels, distances, placed, rotated.null), found


def main(options: Options) -> None:
    """Runs the tests and writes the files, all or none."""
    options = options.checked()
    with OutputDirectory(options.output, FILES) as output:
        results, arrays = run(options)
        run_record.write_results(
            output, results.metrics, render_report(results), "relations.npz", arrays
        )
    metrics = results.metrics
    for name, test in metrics["mantel"].items():
        print(f"{name.replace('_', ' ')}: r {_shown(test['r'])}, p {test['p']:.4f}")
    rotated, pixels = metrics["rotations"], metrics["pixels"]
    print(
        f"rotated factorisations: r {_shown(rotated['null_mean'])} ± {_shown(rotated['null_std'])}"
        f", p {rotated['p']:.4f}\npixels of J*: r {_shown(pixels['r'])}, p {pixels['p']:.4f}\n"
        f"page: {options.output / 'report.html'}"
    )


def _shown(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    run_command(main, Options)
