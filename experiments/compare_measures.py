"""The protocol of `experiments.compare`: every direction measured in the same way."""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from experiments.localized_stages import ANGLES, Track, frame, in_batches, silent
from facesem_jax.metrics import calibrate, compact_region, share_inside
from facesem_jax.semantics.regions import BROAD, Atlas, RegionName
from facesem_jax.semantics.semantic_function import EnvironmentSemantics, LocalSemantics

AREA = 0.1
"""Share of the frame that the best compact region covers."""
#: Images in [-1, 1] to named measurements (n,), NaN where there is none.
Observer = Callable[[Float[np.ndarray, "n h w 3"]], dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Measured:
    """Per direction and face; the edit is by plus and minus the calibrated step.

    Attributes:
      steps: Calibrated distances in W.
      change: Root mean square of the pictures' change, of a range of 2.
      reached: Whether that is the asked one.
      locality: Share of the pictures' change in the direction's own best compact region.
      purity: Share of the canonical change (albedo and depth) in the atlas region that has most.
      regions: That region's name.
      shares: Per region of the atlas (both sides of a pair together) its share of that change.
      view: Root mean square change of pitch, yaw and roll, in spreads.
      light: The same of the four light values.
      observed: Absolute change of what independent models measure, by name.
    """

    steps: Float[np.ndarray, " k"]
    change: Float[np.ndarray, " k"]
    reached: np.ndarray
    locality: Float[np.ndarray, "k n"]
    purity: Float[np.ndarray, "k n"]
    regions: list[str]
    shares: list[dict[str, float]]
    view: Float[np.ndarray, "k n"]
    light: Float[np.ndarray, "k n"]
    observed: dict[str, Float[np.ndarray, "k n"]]


def moved(faces, vectors, steps) -> Float[np.ndarray, "s k n d"]:
    """Faces moved along every direction, up and down."""
    step = steps[:, None] * vectors
    return np.stack([faces + sign * step[:, None] for sign in (1, -1)]).astype(np.float32)


def calibrated(f, faces, vectors, start, target: float):
    """Steps that all change the pictures by ``target``, and what they do."""
    base = in_batches(f, faces, silent, "", call=frame)

    def change(steps):
        both = moved(faces, vectors, steps)[0]
        images = in_batches(f, both.reshape(-1, both.shape[-1]), silent, "", call=frame)
        off = images.reshape(*both.shape[:2], *images.shape[1:]) - base
        return np.sqrt(np.mean(off**2, axis=(2, 3, 4))).mean(axis=1)

    return calibrate(change, target, start)


def measure(
    local: LocalSemantics,
    environment: EnvironmentSemantics,
    scale: Float[np.ndarray, "h w 4"],
    spreads: Float[np.ndarray, " semantics"],
    faces: Float[np.ndarray, "n d"],
    vectors: Float[np.ndarray, "k d"],
    target: float,
    observers: list[Observer],
    identity: Callable[[np.ndarray, np.ndarray], np.ndarray] | None,
    track: Track,
    name: str,
) -> Measured:
    """Measures the directions of one method.

    Args:
      local: The local semantics.
      environment: The global semantics.
      scale: Of albedo and depth, as for the factorisation.
      spreads: Of the global semantics, each in its unit.
      faces: Latents that are edited; no method saw them.
      vectors: Unit directions in the rows.
      target: Root mean square change of the pictures that every edit makes.
      observers: Independent models.
      identity: Pictures before (n, ...) and after (2, k, n, ...) to distances (k, n), or ``None``.
      track: Progress.
      name: Of the method.
    """
    few = faces[: min(8, len(faces))]
    start = np.full(len(vectors), 2.0)
    found = calibrated(environment, few, vectors, start, target)
    both = moved(faces, vectors, found.steps)
    flat, shape = both.reshape(-1, both.shape[-1]), both.shape[:3]

    def of(f, call=None) -> tuple[np.ndarray, np.ndarray]:
        extra = {} if call is None else {"call": call}
        values = in_batches(f, flat, track, name, **extra)
        base = in_batches(f, faces, silent, "", **extra)
        return base, values.reshape(*shape, *values.shape[1:])

    base, images = of(environment, frame)
    locality = []
    for k in range(len(vectors)):
        off = images[:, k] - base
        region = compact_region(np.sum(off**2, axis=(0, 1, 4)), AREA)
        locality.append(np.mean([share_inside(side, region.mask) for side in off], axis=0))
    canonical, values = of(local)
    atlas = Atlas(*scale.shape[:2])
    purity, regions, shares = [], [], []
    for k in range(len(vectors)):
        off = (values[:, k] - canonical) * scale
        energy = np.sqrt(np.mean(off**2, axis=(0, 1)))
        named = atlas.name(energy)
        mask = _region_mask(atlas, named)
        regions.append(named.name)
        shares.append(_both_sides(named.shares))
        inside = np.sum(off**2 * mask[..., None], axis=(2, 3, 4))
        purity.append((inside / np.sum(off**2, axis=(2, 3, 4))).mean(axis=0))
    before, after = of(environment)
    # A semantic that never varies has no spread to count in, and cannot leak.
    each = np.where(spreads > 0, spreads, np.inf)
    off = np.sqrt(np.mean(((after - before) / each) ** 2, axis=0))
    angles = np.array([n in ANGLES for n in environment.names])

    def together(columns) -> Float[np.ndarray, "k n"]:
        return np.sqrt(np.mean(off[..., columns] ** 2, axis=-1))

    observed = {}
    for observe in observers:
        own = observe(base)
        others = observe(images.reshape(-1, *images.shape[3:]))
        for key, value in own.items():
            change = np.abs(others[key].reshape(shape) - value)
            # An edit after which no face is found says nothing; one of the two may.
            known = np.isfinite(change)
            total = np.where(known, change, 0).sum(axis=0)
            observed[key] = total / np.where(known.any(axis=0), known.sum(axis=0), np.nan)
    if identity is not None:
        observed["identity"] = identity(base, images)
    return Measured(
        found.steps,
        found.change,
        found.reached,
        np.stack(locality),
        np.stack(purity),
        regions,
        shares,
        together(angles),
        together(~angles),
        observed,
    )


def _region_mask(atlas: Atlas, named: RegionName) -> Float[np.ndarray, "h w"]:
    """The soft mask of a map's region, of both sides for a pair; of its best one where broad."""
    name = max(named.shares, key=named.shares.get) if named.name == BROAD else named.name
    sides = {f"left {name.removesuffix('s')}", f"right {name.removesuffix('s')}"}
    chosen = [n for n in atlas.names if n == name or n in sides]
    return sum(atlas.masks[atlas.names.index(n)] for n in chosen)


def _both_sides(shares: dict[str, float]) -> dict[str, float]:
    together: dict[str, float] = {}
    for name, share in shares.items():
        base = name.removeprefix("left ").removeprefix("right ")
        together[base] = together.get(base, 0.0) + share
    return together
