"""Directions on disk: those that ship, those of a run, and one file to keep or pass on."""

import json
import pathlib

import numpy as np

from facesem_jax.array_files import npz_bytes, read_arrays
from facesem_jax.errors import FacesemError
from facesem_jax.loading import bundled_names, resolve
from facesem_jax.semantics.direction_set import DirectionSet

DIRECTIONS = "directions.npz"
"""Written by `directions_bytes`; lies beside a model, which then needs no other mention of it."""
COMPONENTS = "components.npz"
"""Written by a run of `experiments.localized`."""
_METRICS = "metrics.json"
_GLOBAL = "environment/"


def load_directions(source: str | pathlib.Path = "digiface64") -> DirectionSet:
    """Reads directions.

    Args:
      source: A bundled name; a directory that `experiments.localized` wrote, or one with a
        ``directions.npz``; or such a file itself.

    Returns:
      The directions.

    Raises:
      FacesemError: If there is no such file, or its contents are no directions.
    """
    path = _find(source)
    arrays = read_arrays(path)
    about, regions, shares, r2 = {}, (), None, None
    try:
        names = tuple(n.removeprefix(_GLOBAL) for n in arrays if n.startswith(_GLOBAL))
        labels = tuple(map(str, _take(arrays, "labels").ravel()))
        vectors = _floats(_take(arrays, "V"))
        if vectors.ndim != 2:
            raise FacesemError(f"V has shape {vectors.shape}; expected (P, w_dim).")
        gradients = [_floats(arrays[_GLOBAL + n]) for n in names]
        for name, gradient in zip(names, gradients, strict=True):
            if gradient.shape != vectors.shape[1:]:
                raise FacesemError(
                    f"{_GLOBAL}{name} has shape {gradient.shape}; expected {vectors.shape[1:]}."
                )
        if "about" in arrays:
            about = _about(arrays["about"])
            if "regions" in arrays:
                regions = tuple(map(str, arrays["regions"].ravel()))
            shares = _floats(arrays["shares"]) if "shares" in arrays else None
            r2 = _floats(arrays["r2"]) if "r2" in arrays else None
        elif (path.parent / _METRICS).is_file():
            about, regions, shares, r2 = _run_numbers(path.parent / _METRICS, names, labels)
        return DirectionSet(
            names=names,
            gradients=np.stack(gradients) if names else np.zeros((0, vectors.shape[1]), np.float32),
            labels=labels,
            vectors=vectors,
            spreads=_floats(_take(arrays, "spreads")),
            regions=regions,
            shares=shares,
            r2=r2,
            maps=_floats(arrays["U"]) if "U" in arrays else None,
            about=about,
        )
    except FacesemError as error:
        raise FacesemError(f"{path} holds no directions: {error}") from error


def directions_bytes(directions: DirectionSet, *, maps: bool = True) -> bytes:
    """The contents of a ``directions.npz``: `load_directions` reads it back.

    Arrays: ``V`` (P, d), ``labels``, ``spreads``, ``environment/<name>`` (d,) for every global
    semantic, ``U`` (P, h, w, 4) in float16 and sparse enough to compress well, ``regions``,
    ``shares``, ``r2`` where known, and ``about`` (JSON text).

    Args:
      directions: The directions.
      maps: Whether the components' maps go with them.
    """
    arrays = {
        "V": directions.vectors.astype(np.float32),
        "labels": np.array(directions.labels, dtype=np.str_),
        "spreads": directions.spreads.astype(np.float32),
    }
    for name, gradient in zip(directions.names, directions.gradients, strict=True):
        arrays[_GLOBAL + name] = gradient.astype(np.float32)
    if maps and directions.maps is not None:
        arrays["U"] = directions.maps.astype(np.float16)
    if directions.regions:
        arrays["regions"] = np.array(directions.regions, dtype=np.str_)
    for name in ("shares", "r2"):
        if getattr(directions, name) is not None:
            arrays[name] = getattr(directions, name).astype(np.float32)
    arrays["about"] = np.array(json.dumps(directions.about, sort_keys=True))
    return npz_bytes(arrays)


def _find(source: str | pathlib.Path) -> pathlib.Path:
    path = pathlib.Path(source)
    if str(source) in bundled_names():
        path = resolve(source, "generator").parent
    try:
        if path.is_file():
            return path
        found = path.is_dir()
    except OSError:  # A name too long for the file system.
        found = False
    if not found:
        raise FacesemError(
            f"No directions called {str(source)!r}: it is neither a file, a directory nor a "
            f"bundled name (known: {', '.join(bundled_names()) or 'none'})."
        )
    for name in (COMPONENTS, DIRECTIONS):
        if (path / name).is_file():
            return path / name
    raise FacesemError(
        f"{source} holds neither {COMPONENTS} nor {DIRECTIONS}. Find directions with "
        "`python -m experiments.localized --generator NAME --output DIRECTORY` and name that "
        "directory."
    )


def _take(arrays: dict, name: str) -> np.ndarray:
    if name not in arrays:
        raise FacesemError(
            f"the array {name!r} is missing. Was it written by `experiments.localized` of this "
            "release? If by an older one, run that again."
        )
    return arrays[name]


def _floats(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind != "f":
        raise FacesemError(f"an array holds {array.dtype}; expected floating point.")
    return array.astype(np.float32)


def _about(array: np.ndarray) -> dict:
    try:
        about = json.loads(str(array))
    except ValueError as error:
        raise FacesemError(f"'about' is no JSON ({error}).") from error
    if not isinstance(about, dict):
        raise FacesemError("'about' is no JSON object.")
    return about


def _run_numbers(path: pathlib.Path, names, labels):
    """What ``metrics.json`` says about the run, the components and the global semantics."""
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
        rows = {row["label"]: row for row in metrics["components"]}
        regions = tuple(str(rows[label]["region"]) for label in labels)
        shares = [rows[label]["explained_variance_share"] for label in labels]
        r2 = [metrics["environment"][name]["r2"] for name in names]
        about = {
            "generator": metrics["settings"]["generator"],
            "generator_digest": metrics.get("generator_digest"),
            # Where that run wrote is nobody's business who gets the directions.
            "settings": {k: v for k, v in metrics["settings"].items() if k != "output"},
            "versions": metrics["versions"],
        }
        # A share may be null where the run could not give one.
        return about, regions, np.array(shares, np.float32), np.array(r2, np.float32)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise FacesemError(
            f"{path} does not belong to these directions, or is damaged ({error!r}); move it away "
            "to read the directions without it."
        ) from error
