"""Random heads: shape, paint, view and light, all from one key."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from facesem_jax.errors import FacesemError
from facesem_jax.heads.model import HeadModel
from facesem_jax.heads.painting import NUM_WAVES, Paint
from facesem_jax.one_program import one_program

#: Colours from the darkest to the lightest: red, green, blue in [0, 1].
_SKINS = np.array([(0.24, 0.15, 0.11), (0.45, 0.29, 0.21), (0.68, 0.48, 0.37), (0.9, 0.71, 0.6)])
_HAIRS = np.array([(0.05, 0.04, 0.04), (0.16, 0.1, 0.07), (0.38, 0.24, 0.14), (0.66, 0.52, 0.34)])
_IRISES = np.array([(0.16, 0.09, 0.05), (0.3, 0.2, 0.1), (0.25, 0.35, 0.25), (0.3, 0.42, 0.55)])
#: Strongest draw of an action, where full strength is a grimace.
_RESTRAINED = {"jawOpen": 0.45, "mouthFunnel": 0.5, "mouthPucker": 0.6, "cheekPuff": 0.6}
#: The components' draws stay within so many standard deviations.
_LIMIT = 2.5


@dataclasses.dataclass(frozen=True)
class HeadSampling:
    """Spread of the heads' view, light and expression.

    Attributes:
      angles: Standard deviation of (pitch, yaw, roll) in degrees.
      angle_limits: Largest (pitch, yaw, roll) in degrees.
      shift: Largest translation along x and y, scene units.
      ambient: Range of the ambient light.
      diffuse: Range of the diffuse light's strength.
      light_x: Range of the light direction's d_x, of (d_x, d_y, 1).
      light_y: Range of its d_y; positive is light from above.
      expression: Factor on the strengths of the facial actions; 0 is a neutral face.
    """

    angles: tuple[float, float, float] = (10.0, 22.0, 5.0)
    angle_limits: tuple[float, float, float] = (25.0, 45.0, 12.0)
    shift: float = 0.006
    ambient: tuple[float, float] = (0.3, 0.65)
    diffuse: tuple[float, float] = (0.4, 0.9)
    light_x: tuple[float, float] = (-0.8, 0.8)
    light_y: tuple[float, float] = (-0.6, 0.6)
    expression: float = 1.0

    def __post_init__(self):
        """Refuses what no camera or light can have."""
        if not all(0 < limit < 90 for limit in self.angle_limits):
            raise FacesemError(f"angle_limits is {self.angle_limits}; use degrees in (0, 90).")
        for name in ("ambient", "diffuse", "light_x", "light_y"):
            low, high = getattr(self, name)
            if low > high:
                raise FacesemError(f"{name} is ({low}, {high}); give the lower end first.")


class HeadParameters(NamedTuple):
    """Everything that determines n pictures of heads.

    Attributes:
      identity: Coefficients of the identity components, in standard deviations.
      actions: Strengths of the facial actions in [0, 1].
      paint: Colours and amounts of the albedo.
      volume: Thickness of the hair over the scalp, decimetres.
      view: (pitch, yaw, roll) in radians, then (t_x, t_y, t_z) in scene units.
      light: (ambient, diffuse, d_x, d_y), as `facesem_jax.decomposer.Decomposition.light`.
      background: Colours in [-1, 1] on a coarse grid behind the head.
    """

    identity: Float[Array, "n k"]
    actions: Float[Array, "n a"]
    paint: Paint
    volume: Float[Array, "n"]
    view: Float[Array, "n 6"]
    light: Float[Array, "n 4"]
    background: Float[Array, "n g g 3"]


def sample_heads(
    model: HeadModel, key: PRNGKeyArray, count: int, config: HeadSampling | None = None
) -> HeadParameters:
    """Draws heads, each alone in its randomness: head i does not depend on ``count``.

    Args:
      model: Gives the numbers of components and the actions' names.
      key: Of all random choices.
      count: How many, at least 1.
      config: Spread; the default if ``None``.

    Returns:
      The parameters.

    Raises:
      FacesemError: On a count below 1.
    """
    if count < 1:
        raise FacesemError(f"count is {count}; draw at least 1 head.")
    return _sample_heads(model, key, count, config or HeadSampling())


@one_program(static=("count", "config"))
def _sample_heads(model: HeadModel, key, count: int, config: HeadSampling) -> HeadParameters:
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(count))
    return jax.vmap(lambda k: _sample_head(model, k, config))(keys)


def _sample_head(model: HeadModel, key, config: HeadSampling) -> HeadParameters:
    shape, acting, painting, viewing, lighting, behind = jax.random.split(key, 6)
    identity = jax.random.normal(shape, model.identity.shape[:1])
    return HeadParameters(
        identity=jnp.clip(identity, -_LIMIT, _LIMIT),
        actions=config.expression * _sample_actions(model.action_names, acting),
        paint=_sample_paint(painting),
        volume=jax.random.uniform(jax.random.fold_in(shape, 1), (), minval=0.02, maxval=0.18),
        view=_sample_view(viewing, config),
        light=_sample_light(lighting, config),
        background=_sample_background(behind),
    )


def _sample_actions(names: tuple[str, ...], key) -> Float[Array, "a"]:
    """A few actions at a time; left and right nearly together."""
    movements = [_movement(name) for name in names]
    distinct = sorted(set(movements))
    index = np.array([distinct.index(m) for m in movements])
    strongest = np.array([_RESTRAINED.get(n, 0.9) for n in names])
    active, strength, uneven = jax.random.split(key, 3)
    on = jax.random.bernoulli(active, 3.0 / len(distinct), (len(distinct),))
    amount = on * jax.random.uniform(strength, (len(distinct),))
    sides = jax.random.uniform(uneven, (len(names),), minval=0.8, maxval=1.0)
    return amount[index] * sides * strongest


def _movement(name: str) -> str:
    """What the two sides of one movement share: its name without the side."""
    stem = name.removesuffix("Left").removesuffix("Right")
    # jawLeft and jawRight are two movements of one part, not one movement of two.
    return name if stem in ("jaw", "mouth") else stem


def _mixed(key, colours: np.ndarray, jitter: float = 0.04) -> Float[Array, "3"]:
    """A colour between neighbours of a list, off by a little."""
    where, off = jax.random.split(key)
    position = jax.random.uniform(where, (), maxval=len(colours) - 1.0)
    steps = jnp.arange(len(colours), dtype=jnp.float32)
    colour = jnp.stack([jnp.interp(position, steps, colours[:, c]) for c in range(3)])
    return jnp.clip(colour * (1 + jitter * jax.random.normal(off, (3,))), 0.02, 0.98)


def _sample_paint(key) -> Paint:
    keys = jax.random.split(key, 10)
    skin = _mixed(keys[0], _SKINS)
    lips = skin * jnp.array([0.9, 0.6, 0.62]) * jax.random.uniform(keys[1], minval=0.8, maxval=1.1)
    bearded = jax.random.bernoulli(keys[7], 0.25)
    return Paint(
        skin=skin,
        lips=lips,
        hair=_mixed(keys[2], _HAIRS),
        iris=_mixed(keys[3], _IRISES),
        hairline=0.12 * jnp.clip(jax.random.normal(keys[4]), -2, 2),
        brow=jax.random.uniform(keys[5], minval=0.03, maxval=0.065),
        brow_strength=jax.random.uniform(keys[6], minval=0.5, maxval=1.0),
        beard=bearded * jax.random.uniform(jax.random.fold_in(keys[7], 1)),
        blush=jax.random.uniform(keys[8]),
        waves=0.02 * jax.random.normal(keys[9], (NUM_WAVES,)),
    )


def _sample_view(key, config: HeadSampling) -> Float[Array, "6"]:
    turning, moving = jax.random.split(key)
    limits = jnp.array(config.angle_limits)
    # A truncated normal, so that no angle piles up at its limit.
    spread = jnp.array(config.angles)
    drawn = jax.random.truncated_normal(turning, -limits / spread, limits / spread, (3,))
    shift = jax.random.uniform(moving, (2,), minval=-config.shift, maxval=config.shift)
    return jnp.concatenate([jnp.radians(drawn * spread), shift, jnp.zeros(1)])


def _sample_light(key, config: HeadSampling) -> Float[Array, "4"]:
    ranges = jnp.array([config.ambient, config.diffuse, config.light_x, config.light_y])
    return jax.random.uniform(key, (4,), minval=ranges[:, 0], maxval=ranges[:, 1])


def _sample_background(key) -> Float[Array, "g g 3"]:
    base, change = jax.random.split(key)
    grey, tint = jax.random.split(base)
    colour = jax.random.uniform(grey, minval=-0.8, maxval=0.6) + 0.2 * jax.random.normal(tint, (3,))
    return jnp.clip(colour + 0.25 * jax.random.normal(change, (5, 5, 3)), -1, 1)
