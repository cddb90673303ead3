"""Albedo of a head, painted by analytic functions of the position on the template.

Every pixel knows the point of the template it shows (interpolated over its triangle), so lips,
brows, eyes and hair have sharp edges whatever the density of the mesh. The numbers below are
places on MakeHuman's base head, in decimetres; x is used without its sign where both sides agree.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facesem_jax.heads.model import Regions

#: Middle of an eyeball, and the radii of iris and pupil seen from the front.
_EYE = (0.308, 7.284)
_IRIS, _PUPIL = 0.062, 0.026
#: A brow's inner end, top and outer end.
_BROW = np.array([(0.13, 7.52), (0.38, 7.58), (0.54, 7.5)])
#: Height of the hairline from the nape over the ear and the temple to the forehead: (z, y).
_HAIRLINE = np.array([(-0.1, 6.5), (0.25, 6.75), (0.5, 7.1), (0.75, 7.45), (1.0, 7.8), (1.3, 8.0)])
#: Directions of the uneven skin's waves, in radians per decimetre.
_WAVES = np.array(
    [(2, 1, 0), (0, 3, 1), (3, -2, 1), (1, 4, 2), (5, 1, -2), (2, 6, 0), (7, -3, 2), (4, 7, 3)],
    np.float32,
)
NUM_WAVES = len(_WAVES)


class Paint(NamedTuple):
    """Colours (red, green, blue in [0, 1]) and amounts of a batch of heads.

    Attributes:
      skin: Colour of the skin.
      lips: Of the lips.
      hair: Of hair and brows.
      iris: Of the iris.
      hairline: Offset of the hairline, decimetres upwards.
      brow: Half the thickness of the brows, decimetres.
      brow_strength: How much of the brow's colour shows, in [0, 1].
      beard: Darkening around the mouth and along the jaw, in [0, 1].
      blush: Reddening of cheeks and nose, in [0, 1].
      waves: Amplitudes of the uneven skin.
    """

    skin: Float[Array, "n 3"]
    lips: Float[Array, "n 3"]
    hair: Float[Array, "n 3"]
    iris: Float[Array, "n 3"]
    hairline: Float[Array, "n"]
    brow: Float[Array, "n"]
    brow_strength: Float[Array, "n"]
    beard: Float[Array, "n"]
    blush: Float[Array, "n"]
    waves: Float[Array, "n waves"]


def smoothstep(low: float, high: float, x: Array) -> Array:
    """0 below low, 1 above high, 3 t^2 - 2 t^3 between."""
    t = jnp.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def hair_weight(
    position: Float[Array, "*p 3"], ears: Float[Array, "*p"], hairline: Array | float = 0.0
) -> Float[Array, "*p"]:
    """1 on the scalp, 0 on the face, neck and ears.

    Args:
      position: On the template, decimetres.
      ears: As `Regions.ears`.
      hairline: Offset of the hairline, decimetres upwards.
    """
    y, z = position[..., 1], position[..., 2]
    # At the temples the hairline comes forward: the forehead's edge is where the head turns.
    z = z - 0.25 * smoothstep(0.45, 0.75, jnp.abs(position[..., 0]))
    line = jnp.interp(z, _HAIRLINE[:, 0], _HAIRLINE[:, 1]) + hairline
    return smoothstep(-0.06, 0.06, y - line) * (1 - smoothstep(0.1, 0.4, ears))


def paint_albedo(
    paint: Paint, position: Float[Array, "n *p 3"], regions: Regions
) -> Float[Array, "n *p 3"]:
    """The albedo at points of the heads.

    Args:
      paint: Of n heads.
      position: On the template, decimetres.
      regions: At the same points, each (n, ...).

    Returns:
      In [-1, 1], as `facesem_jax.decomposer.Decomposition.albedo`.
    """
    rank = position.ndim - 2

    def spread(x):
        """One value or colour per head, against the points."""
        return x.reshape(x.shape[0], *(1,) * rank, *x.shape[1:])

    def over(below, colour, weight):
        return below + weight[..., None] * (colour - below)

    x, y, z = jnp.abs(position[..., 0]), position[..., 1], position[..., 2]
    front = smoothstep(0.9, 1.1, z)
    colour = spread(paint.skin) * _unevenness(position, spread(paint.waves))[..., None]
    cheek = _bump(x, 0.42, 0.22) * _bump(y, 6.95, 0.22) * front
    nose = _bump(x, 0.0, 0.12) * _bump(y, 6.95, 0.15) * smoothstep(1.4, 1.6, z)
    blush = spread(paint.blush) * jnp.maximum(cheek, nose)
    colour = colour * (1 - blush[..., None] * jnp.array([0.0, 0.25, 0.22]))
    sockets = _bump(x, 0.3, 0.2) * _bump(y, 7.28, 0.16) * front
    colour = colour * (1 - 0.2 * sockets[..., None])
    jaw = smoothstep(6.9, 6.55, y + 0.2 * smoothstep(0.3, 0.0, x)) + _moustache(x, y)
    jaw = jnp.clip(jaw, 0, 1) * smoothstep(0.45, 0.7, z) * smoothstep(6.2, 6.35, y)
    colour = over(colour, spread(paint.hair), 0.5 * spread(paint.beard) * jaw)
    colour = over(colour, spread(paint.lips), smoothstep(0.3, 0.6, regions.lips) * front)
    brows = _brow_weight(x, y, spread(paint.brow)) * front * spread(paint.brow_strength)
    colour = over(colour, spread(paint.hair), brows)
    hair = hair_weight(position, regions.ears, spread(paint.hairline))
    colour = over(colour, spread(paint.hair), hair)
    colour = over(colour, jnp.array([0.25, 0.08, 0.08]), smoothstep(0.4, 0.6, regions.cavity))
    teeth = jnp.array([0.7, 0.64, 0.58])
    colour = over(colour, teeth, smoothstep(0.4, 0.6, regions.teeth))
    colour = over(colour, _eye(x, y, spread(paint.iris)), smoothstep(0.4, 0.6, regions.eyes))
    return 2 * jnp.clip(colour, 0.02, 0.98) - 1


def _bump(x, middle: float, width: float):
    return jnp.exp(-jnp.square((x - middle) / width))


def _moustache(x, y):
    return smoothstep(0.34, 0.12, x) * smoothstep(6.9, 6.78, y)


def _unevenness(position, waves):
    """1 plus a smooth pattern, nearly the same on both sides."""
    sided = position * jnp.array([0.2, 0.0, 0.0]) + jnp.abs(position) * jnp.array([0.8, 1.0, 1.0])
    phases = sum(sided[..., None, i] * _WAVES[:, i] for i in range(3))
    return 1 + jnp.sum(waves * jnp.cos(phases + np.arange(NUM_WAVES)), axis=-1)


def _brow_weight(x, y, thickness):
    """1 on a curve through the brow's three points, thinner towards the temple."""
    height = jnp.interp(x, _BROW[:, 0], _BROW[:, 1])
    taper = thickness * (1 - 0.5 * smoothstep(0.3, 0.56, x))
    across = smoothstep(1.3, 0.7, jnp.abs(y - height) / taper)
    return across * smoothstep(0.08, 0.14, x) * smoothstep(0.6, 0.52, x)


def _eye(x, y, iris):
    """White, iris and pupil."""
    distance = jnp.sqrt(jnp.square(x - _EYE[0]) + jnp.square(y - _EYE[1]))[..., None]
    white = jnp.array([0.88, 0.86, 0.84])
    colour = white + smoothstep(_IRIS + 0.01, _IRIS - 0.01, distance) * (iris - white)
    return colour * (1 - smoothstep(_PUPIL + 0.01, _PUPIL - 0.01, distance))
