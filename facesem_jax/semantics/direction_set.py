"""Named directions of a generator's W, each with the unit in which it is moved."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from facesem_jax.checks import check_shape
from facesem_jax.errors import FacesemError, near_names
from facesem_jax.semantics.edits import decorrelated_steps, unit_step
from facesem_jax.semantics.semantic_function import ENVIRONMENT_UNITS

COMPONENT_UNIT = "spreads"
"""Unit of a component's amounts: standard deviations of W along its direction."""


class Direction(NamedTuple):
    """One direction of W.

    Attributes:
      name: A global semantic ("yaw") or a component's label ("mouth-1").
      kind: "global" or "component".
      unit: Unit of its amounts: "degrees", "1" (a pure number), "spreads" and so on.
      vector: The unit vector (d,).
      per_unit: Distance in W that one unit of the amount moves; an amount t moves w by
        ``t * per_unit * vector``.
      region: The part of the face that a component acts on; "" where unknown.
      share: Explained variance lost when a component alone is removed; NaN where unknown.
      r2: Share of a global semantic's variance that is linear in w, on held-out faces; NaN where
        unknown.
    """

    name: str
    kind: str
    unit: str
    vector: Float[np.ndarray, " d"]
    per_unit: float
    region: str = ""
    share: float = math.nan
    r2: float = math.nan


@dataclasses.dataclass(frozen=True)
class DirectionSet:
    """The directions that one run found for one generator.

    Attributes:
      names: The global semantics, keys of `ENVIRONMENT_UNITS`.
      gradients: Their gradients in the rows, the semantic's unit per unit of w.
      labels: The components' names.
      vectors: Their unit directions in the rows.
      spreads: Standard deviation of ``w . v_p`` over the generator's faces, distances in W.
      regions: The components' regions; empty where unknown.
      shares: The components' shares of the explained variance; ``None`` where unknown.
      r2: The global semantics' held-out R^2; ``None`` where unknown.
      maps: The components' maps (albedo RGB, depth); ``None`` where left out.
      about: Where the directions come from (generator, seed, versions), as JSON-able values.

    Raises:
      FacesemError: On wrong shapes, values that are not finite, rows that are no unit vectors,
        unknown semantics or names that occur twice.
    """

    names: tuple[str, ...]
    gradients: Float[np.ndarray, "k d"]
    labels: tuple[str, ...]
    vectors: Float[np.ndarray, "P d"]
    spreads: Float[np.ndarray, " P"]
    regions: tuple[str, ...] = ()
    shares: Float[np.ndarray, " P"] | None = None
    r2: Float[np.ndarray, " k"] | None = None
    maps: Float[np.ndarray, "P h w 4"] | None = None
    about: dict = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        """Refuses what no edit could use."""
        k, count = len(self.names), len(self.labels)
        if k + count == 0:
            raise FacesemError("there is no direction at all.")
        twice = [n for n in self.all_names if self.all_names.count(n) > 1]
        if twice:
            raise FacesemError(f"the name {twice[0]!r} occurs twice.")
        unknown = [n for n in self.names if n not in ENVIRONMENT_UNITS]
        if unknown:
            raise FacesemError(
                f"{unknown[0]!r} is no global semantic; known are {', '.join(ENVIRONMENT_UNITS)}."
            )
        check_shape("gradients", self.gradients, (k, None))
        check_shape("vectors", self.vectors, (count, self.gradients.shape[1]))
        check_shape("spreads", self.spreads, (count,))
        for name, size in (("shares", count), ("r2", k)):
            if getattr(self, name) is not None:
                check_shape(name, getattr(self, name), (size,))
        if self.regions and len(self.regions) != count:
            raise FacesemError(f"{len(self.regions)} regions for {count} components.")
        if self.maps is not None:
            check_shape("maps", self.maps, (count, None, None, 4))
        for name in ("gradients", "vectors", "spreads", "maps"):
            array = getattr(self, name)
            if array is not None and not np.isfinite(array).all():
                raise FacesemError(f"{name} holds NaN or infinite values.")
        if not (np.abs(self.gradients).max(axis=1, initial=0) > 0).all():
            raise FacesemError("a global semantic's gradient is zero: no edit moves it.")
        length = np.linalg.norm(self.vectors, axis=1)
        if not (np.abs(length - 1) < 1e-2).all():
            raise FacesemError(
                f"the direction of {self.labels[int(np.argmax(np.abs(length - 1)))]} has length "
                f"{length[np.argmax(np.abs(length - 1))]:.3g}; expected unit vectors."
            )
        if not (self.spreads >= 0).all():
            raise FacesemError("a component's spread is negative.")

    @property
    def all_names(self) -> tuple[str, ...]:
        """Global semantics, then components."""
        return self.names + self.labels

    @property
    def w_dim(self) -> int:
        """Size of w."""
        return self.gradients.shape[1]

    def direction(self, name: str) -> Direction:
        """One direction by name.

        Raises:
          FacesemError: On an unknown name; it lists those that are spelt alike.
        """
        if name in self.names:
            k = self.names.index(name)
            length = float(np.linalg.norm(self.gradients[k].astype(np.float64)))
            return Direction(
                name,
                "global",
                ENVIRONMENT_UNITS[name],
                (self.gradients[k] / length).astype(np.float32),
                1 / length,
                r2=math.nan if self.r2 is None else float(self.r2[k]),
            )
        if name in self.labels:
            p = self.labels.index(name)
            return Direction(
                name,
                "component",
                COMPONENT_UNIT,
                self.vectors[p],
                float(self.spreads[p]),
                region=self.regions[p] if self.regions else "",
                share=math.nan if self.shares is None else float(self.shares[p]),
            )
        raise FacesemError(f"unknown direction {name!r}; {near_names(name, self.all_names)}")

    def select(self, names: Sequence[str]) -> "DirectionSet":
        """The same set with only these directions, in its own order.

        Raises:
          FacesemError: On an unknown name, or none.
        """
        for name in names:
            self.direction(name)
        k = [i for i, n in enumerate(self.names) if n in names]
        p = [i for i, n in enumerate(self.labels) if n in names]
        return dataclasses.replace(
            self,
            names=tuple(self.names[i] for i in k),
            gradients=self.gradients[k],
            labels=tuple(self.labels[i] for i in p),
            vectors=self.vectors[p],
            spreads=self.spreads[p],
            regions=tuple(self.regions[i] for i in p) if self.regions else (),
            shares=None if self.shares is None else self.shares[p],
            r2=None if self.r2 is None else self.r2[k],
            maps=None if self.maps is None else self.maps[p],
        )

    def in_region(self, region: str) -> tuple[str, ...]:
        """Names of the components of a region, in their order.

        Args:
          region: "mouth"; "eyes" or "eye" for either eye and both; "left eye" for that one alone
            (the subject's left).

        Raises:
          FacesemError: If the regions are unknown or no component has this one.
        """
        if not self.regions:
            raise FacesemError("these directions have no region names.")
        asked = " ".join(region.lower().replace("-", " ").split())

        def base(name: str) -> str:
            for side in ("left ", "right "):
                name = name.removeprefix(side)
            return name.removesuffix("s")

        one_side = asked.startswith(("left ", "right "))
        found = tuple(
            label
            for label, own in zip(self.labels, self.regions, strict=True)
            if (own == asked if one_side else base(own) == base(asked))
        )
        if not found:
            known = sorted(set(self.regions))
            raise FacesemError(f"no component acts on {region!r}; {near_names(asked, known)}")
        return found

    def move(
        self, amounts: Mapping[str, float], *, decorrelated: bool = False
    ) -> Float[np.ndarray, " d"]:
        r"""The move of w that all amounts make together: ``sum_i t_i step_i``.

        The step of a global semantic is `unit_step`, or with ``decorrelated`` the row of
        `decorrelated_steps` over all of the set's global semantics, which leaves the others where
        they are to first order. The step of a component is its spread times its unit vector.

        Args:
          amounts: Name to amount, each in its direction's unit.
          decorrelated: Whether a global semantic leaves the others where they are.

        Returns:
          The move, to be added to w (or to every row of a w_plus).

        Raises:
          FacesemError: On an unknown name, an amount that is not finite, or a move that is not.
        """
        total = np.zeros(self.w_dim, np.float32)
        steps = self._global_steps(decorrelated) if set(amounts) & set(self.names) else {}
        for name, amount in amounts.items():
            direction = self.direction(name)
            if not math.isfinite(amount):
                raise FacesemError(f"the amount of {name} is {amount}; expected a finite number.")
            step = steps.get(name, np.float32(direction.per_unit) * direction.vector)
            with np.errstate(over="ignore", invalid="ignore"):
                total = total + np.float32(amount) * step
        if not np.isfinite(total).all():
            raise FacesemError("the amounts are too large: the edited latent is not finite.")
        return total

    def _global_steps(self, decorrelated: bool) -> dict[str, np.ndarray]:
        v = jnp.asarray(self.gradients, jnp.float32)
        steps = decorrelated_steps(v, self.names) if decorrelated else unit_step(v)
        return dict(zip(self.names, np.asarray(steps), strict=True))
