"""The state of the app's page: a face, what is changed on it, and the way back. No interface here.

Everything is immutable and hashable: a change gives a new state, so that a page can keep any of
them, and pictures can be kept by the face that they show.
"""

import dataclasses
import json
import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from facesem_jax.errors import FacesemError
from facesem_jax.semantics.direction_set import DirectionSet

LIMITS = {
    "pitch": 30.0,
    "yaw": 45.0,
    "roll": 30.0,
    "ambient": 0.5,
    "diffuse": 0.5,
    "light_x": 1.0,
    "light_y": 1.0,
}
"""Largest magnitude of the amounts of the global semantics, in their units."""
COMPONENT_LIMIT = 6.0
"""The same of every component, in spreads."""

MOST_BYTES = 2**20
"""Of a saved edit; a W+ of 18 layers takes a fifth of it."""
FORMAT = "facesem-edit"
VERSION = 1

_MOST_SEED, _MOST_TRUNCATION, _MOST_STEPS = 2**32 - 1, 2.0, 200
_KEYS = ("format", "version", "generator_digest", "amounts", "decorrelated")


@dataclasses.dataclass(frozen=True)
class Face:
    """The face before the edit: drawn from a seed, or a latent.

    Attributes:
      seed: Draws z, as `facesem edit --seed` does; without meaning where there is a latent.
      truncation: Pulls w towards the average: 1 for not at all, 0 for all the way.
      latent: Rows of a latent: one for w, as many as the generator has layers for a w_plus.
    """

    seed: int = 0
    truncation: float = 1.0
    latent: tuple[tuple[float, ...], ...] | None = None

    def __post_init__(self):
        """Raises `FacesemError` on what no generator could draw."""
        if not 0 <= self.seed <= _MOST_SEED:
            raise FacesemError(f"seed is {self.seed}; expected 0 to 2^32 - 1.")
        if not (math.isfinite(self.truncation) and 0 <= self.truncation <= _MOST_TRUNCATION):
            raise FacesemError(
                f"truncation is {self.truncation}; expected 0 to {_MOST_TRUNCATION:g}."
            )

    @property
    def w(self) -> Float[np.ndarray, "1 *l d"] | None:
        """The latent as an array, (1, d) or (1, layers, d); ``None`` where the seed draws it."""
        if self.latent is None:
            return None
        rows = np.array(self.latent, np.float32)
        return rows if len(rows) == 1 else rows[None]

    @classmethod
    def of_latent(cls, w: Float[np.ndarray, "1 *l d"]) -> "Face":
        """The face of a latent, (1, d) or (1, layers, d)."""
        rows = np.asarray(w, np.float32).reshape(-1, np.shape(w)[-1])
        return cls(latent=tuple(tuple(map(float, row)) for row in rows))


@dataclasses.dataclass(frozen=True)
class Edit:
    """A face and what is changed on it.

    Attributes:
      face: The face before.
      amounts: (name, amount) of every direction that moves, by name; none is 0.
      decorrelated: As in `DirectionSet.move`.
    """

    face: Face = Face()
    amounts: tuple[tuple[str, float], ...] = ()
    decorrelated: bool = False

    def amount(self, name: str) -> float:
        """How far the edit moves along a direction, in its unit."""
        return dict(self.amounts).get(name, 0.0)


@dataclasses.dataclass(frozen=True)
class EditState:
    """The edit as it stands, and those before it.

    Attributes:
      edit: What is shown.
      history: Earlier edits, the latest last.
      control: What was changed last: a slider that goes on moving adds nothing to the history.
    """

    edit: Edit = Edit()
    history: tuple[Edit, ...] = ()
    control: str = ""

    def changed(self, control: str, edit: Edit, *, merge: bool = False) -> "EditState":
        """The state after a change.

        Args:
          control: What changed it.
          edit: The edit after it.
          merge: Whether a change of the same control before it is one with it (a slider drag).
        """
        if edit == self.edit:
            return self
        kept = merge and control == self.control and self.history
        history = self.history if kept else (*self.history, self.edit)[-_MOST_STEPS:]
        return EditState(edit, history, control)

    def with_amount(self, name: str, amount: float) -> "EditState":
        """One direction moved to an amount in its unit; 0 leaves it out.

        Raises:
          FacesemError: On an amount out of range, see `checked_amount`.
        """
        amounts = dict(self.edit.amounts) | {name: checked_amount(name, amount)}
        edit = dataclasses.replace(self.edit, amounts=_tidy(amounts))
        return self.changed(name, edit, merge=True)

    def with_face(self, face: Face) -> "EditState":
        """Another face under the same changes."""
        return self.changed("face", dataclasses.replace(self.edit, face=face))

    def with_truncation(self, truncation: float) -> "EditState":
        """The same seed, nearer to the average face or farther from it.

        Raises:
          FacesemError: As `Face`.
        """
        face = dataclasses.replace(self.edit.face, truncation=_number(truncation, "truncation"))
        edit = dataclasses.replace(self.edit, face=face)
        return self.changed("truncation", edit, merge=True)

    def with_decorrelated(self, decorrelated: bool) -> "EditState":
        """The same changes, each with or without what comes along with it."""
        edit = dataclasses.replace(self.edit, decorrelated=bool(decorrelated))
        return self.changed("decorrelated", edit)

    def reset(self) -> "EditState":
        """The face as it was."""
        return self.changed("reset", dataclasses.replace(self.edit, amounts=()))

    def undo(self) -> "EditState":
        """One change back; the same state where there is none."""
        if not self.history:
            return self
        return EditState(self.history[-1], self.history[:-1], "")


def limit_of(name: str) -> float:
    """Largest magnitude of a direction's amount, in its unit."""
    return LIMITS.get(name, COMPONENT_LIMIT)


def checked_amount(name: str, amount: float) -> float:
    """The amount, a float.

    Raises:
      FacesemError: If it is no finite number within `limit_of` the name.
    """
    amount, limit = _number(amount, name), limit_of(name)
    if not -limit <= amount <= limit:
        raise FacesemError(f"{name} is {amount:g}; expected -{limit:g} to {limit:g}.")
    return amount


def to_json(edit: Edit, generator_digest: str) -> str:
    """An edit as JSON text, see docs/app.md.

    Args:
      edit: The edit.
      generator_digest: `checkpoint_digest` of the generator that it is for.
    """
    face = edit.face
    if face.latent is None:
        source = {"seed": face.seed, "truncation": face.truncation}
    else:
        source = {"latent": [list(row) for row in face.latent]}
    fields = {"format": FORMAT, "version": VERSION, "generator_digest": generator_digest}
    fields |= source | {"amounts": dict(edit.amounts), "decorrelated": edit.decorrelated}
    return json.dumps(fields, indent=None if face.latent else 2, allow_nan=False) + "\n"


def from_json(
    data: bytes | str,
    generator_digest: str,
    directions: DirectionSet | None,
    latent_shapes: tuple[tuple[int, int], ...],
) -> Edit:
    """An edit from JSON, of which nothing is taken on trust.

    Args:
      data: The file's contents, UTF-8.
      generator_digest: Of the generator that is to draw it.
      directions: That it may move along; ``None`` where there are none.
      latent_shapes: (rows, w_dim) that the generator takes: one row for w, its layers for w_plus.

    Returns:
      The edit.

    Raises:
      FacesemError: If it is too large, no JSON, not of this format, has unknown or missing keys,
        is for other weights, or holds values that are out of range.
    """
    fields = _parsed(data)
    if fields.get("format") != FORMAT or fields.get("version") != VERSION:
        raise FacesemError(
            f"this is no edit: expected the format {FORMAT!r} in version {VERSION}, which the "
            "app's Save writes."
        )
    own = ("latent",) if "latent" in fields else ("seed", "truncation")
    missing = [key for key in (*_KEYS, *own) if key not in fields]
    unknown = [key for key in fields if key not in (*_KEYS, *own)]
    if missing or unknown:
        problem = f"{missing[0]!r} is missing" if missing else f"{unknown[0][:80]!r} is unknown"
        raise FacesemError(f"the edit's key {problem}; it has {', '.join((*_KEYS, *own))}.")
    if fields["generator_digest"] != generator_digest:
        raise FacesemError(
            "the edit was made with another generator's weights, where its seed is another face; "
            "start the app with that --generator."
        )
    if not isinstance(fields["decorrelated"], bool):
        raise FacesemError("the edit's decorrelated must be true or false.")
    if not isinstance(fields["amounts"], Mapping):
        raise FacesemError("the edit's amounts must be an object of names and numbers.")
    for name in fields["amounts"]:
        if directions is None:
            raise FacesemError("the edit moves along directions, and the app has none.")
        directions.direction(name[:80])
    amounts = {n: checked_amount(n, t) for n, t in fields["amounts"].items()}
    return Edit(_face(fields, latent_shapes), _tidy(amounts), fields["decorrelated"])


def _face(fields: dict, latent_shapes: tuple[tuple[int, int], ...]) -> Face:
    if "latent" not in fields:
        seed = fields["seed"]
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise FacesemError("the edit's seed must be a whole number.")
        return Face(seed, _number(fields["truncation"], "truncation"))
    rows = fields["latent"]
    lists = isinstance(rows, list) and all(isinstance(row, list) for row in rows)
    widths = {len(row) for row in rows} if lists else set()
    if len(widths) != 1 or (len(rows), *widths) not in latent_shapes:
        shapes = " or ".join(f"{r} row{'s' * (r > 1)} of {d} numbers" for r, d in latent_shapes)
        raise FacesemError(f"the edit's latent must be {shapes}.")
    latent = tuple(tuple(_number(value, "latent") for value in row) for row in rows)
    with np.errstate(over="ignore"):
        fits = np.isfinite(np.array(latent).astype(np.float32)).all()
    if not fits:
        raise FacesemError("the edit's latent leaves the range of float32.")
    return Face(latent=latent)


def _parsed(data: bytes | str) -> dict:
    if len(data) > MOST_BYTES:
        raise FacesemError(f"the edit has more than {MOST_BYTES // 2**20} MiB; is it the file?")
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        fields = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise FacesemError(f"the edit is no JSON ({str(error)[:120]}).") from error
    if not isinstance(fields, dict):
        raise FacesemError("the edit must be a JSON object.")
    return fields


def _unique(pairs: list[tuple[str, object]]) -> dict:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a key occurs twice")
    return dict(pairs)


def _no_constant(name: str):
    raise ValueError(f"{name} is no number")


def _number(value, name: str) -> float:
    try:
        number = math.nan if isinstance(value, bool | str) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise FacesemError(f"{name} must be a finite number.")
    return number


def _tidy(amounts: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    return tuple(sorted((n, float(t)) for n, t in amounts.items() if t != 0))
