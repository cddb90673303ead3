"""What `experiments.compare` found, and which method is best at what."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from experiments.compare_measures import Measured
from experiments.compare_methods import Found
from facesem_jax.metrics import explained_share, mean_interval, redundancy


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of the tables.

    Attributes:
      title: In words.
      unit: "percent", "1" for a pure number, or another unit.
      better: "more", "less", or "" where neither is better in itself.
      note: How to read it.
    """

    title: str
    unit: str
    better: str
    note: str


COLUMNS: dict[str, Column] = {
    "locality": Column(
        "locality",
        "percent",
        "more",
        "share of the picture’s change in the direction’s own best disc, or pair of discs left and "
        "right, of a tenth of the frame",
    ),
    "purity": Column(
        "region purity",
        "percent",
        "more",
        "share of the change of albedo and depth in the atlas region that has most of it",
    ),
    "view": Column(
        "view leak", "spreads", "less", "change of pitch, yaw and roll (decomposer), in spreads"
    ),
    "light": Column("light leak", "spreads", "less", "the same of the four light values"),
    "yaw": Column("yaw", "degrees", "", "change of yaw by MediaPipe’s landmarks"),
    "pitch": Column("pitch", "degrees", "", "the same of pitch"),
    "mouth_opening": Column(
        "mouth opening", "percent", "", "the same of the gap between the lips, of the face’s height"
    ),
    "eye_opening": Column("eye opening", "percent", "", "the same of the lids"),
    "brow_height": Column("brow height", "percent", "", "the same of the brows over the eyes"),
    "identity": Column(
        "identity", "1", "less", "distance of dlib’s face embeddings, upward edits alone"
    ),
    "max_cosine": Column("largest |cos|", "1", "less", "closest pair of directions"),
    "mean_cosine": Column("mean |cos|", "1", "less", "over all pairs"),
    "jacobian_share": Column(
        "coverage of J*", "percent", "more", "share of the mean Jacobian in the directions’ span"
    ),
    "latent_share": Column("coverage of W", "percent", "more", "share of W’s variance in the span"),
    "seconds": Column(
        "seconds", "s", "less", "to find them, compilation and shared parts included"
    ),
}


def summarise(
    found: Mapping[str, Found],
    measured: Mapping[str, Measured],
    J: Float[np.ndarray, "n d"],
    ws: Float[np.ndarray, "m d"],
    seed: int,
) -> dict[str, dict]:
    """One row per method.

    Args:
      found: The methods.
      measured: What their directions did.
      J: Scaled mean Jacobian.
      ws: Latents, for W's variance.
      seed: Seeds the bootstrap over faces.

    Returns:
      Per method the entries of `COLUMNS` that were measured, each with ``mean`` and, where it is a
      mean over faces, ``low`` and ``high``; and ``directions``, ``needs``, ``regions``,
      ``reached``.
    """
    rows = {}
    centred = ws - ws.mean(axis=0)
    for name, own in found.items():
        m = measured[name]
        over_faces = {
            "locality": m.locality,
            "purity": m.purity,
            "view": m.view,
            "light": m.light,
        } | m.observed
        row = {
            key: mean_interval(values.T, seed=seed)._asdict() for key, values in over_faces.items()
        }
        vectors = own.directions.vectors
        largest, mean = redundancy(vectors)
        row |= {
            "max_cosine": {"mean": largest},
            "mean_cosine": {"mean": mean},
            "jacobian_share": {"mean": explained_share(J, vectors)},
            "latent_share": {"mean": explained_share(centred, vectors)},
            "seconds": {"mean": own.seconds},
            "directions": len(vectors),
            "needs": own.needs,
            "regions": m.regions,
            "names": list(own.directions.names),
            "reached": float(np.mean(m.reached)),
        }
        rows[name] = row
    return rows


def winners(rows: Mapping[str, dict], unsupervised: set[str]) -> dict[str, dict]:
    """Who is best in each column, and who cannot be told from it.

    Args:
      rows: From `summarise`.
      unsupervised: Methods that compete; those that follow given semantics have another aim, and
        fewer directions.

    Returns:
      Per column with a better side: ``best``, and ``tied``: methods whose intervals overlap the
      best one's.
    """
    found = {}
    for key, column in COLUMNS.items():
        known = {
            n: row[key]
            for n, row in rows.items()
            if n in unsupervised and key in row and np.isfinite(row[key]["mean"])
        }
        if not column.better or not known:
            continue
        sign = 1 if column.better == "more" else -1
        best = max(known, key=lambda n: sign * known[n]["mean"])

        def ends(entry) -> tuple[float, float]:
            return entry.get("low", entry["mean"]), entry.get("high", entry["mean"])

        low, high = ends(known[best])
        tied = [
            n
            for n, entry in known.items()
            if n != best and ends(entry)[0] <= high and ends(entry)[1] >= low
        ]
        found[key] = {"best": best, "tied": tied}
    return found


@dataclasses.dataclass(frozen=True)
class CompareResults:
    """All that the page shows.

    Attributes:
      metrics: The contents of ``metrics.json``.
      strips: Per region and method, the direction's name and the pictures (faces by amounts) of
        its purest direction there, in [-1, 1].
      absent: Columns that were not measured, and what to install.
    """

    metrics: dict
    strips: dict[str, dict[str, tuple[str, Float[np.ndarray, "m t h w 3"]]]]
    absent: dict[str, str]
