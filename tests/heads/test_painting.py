import jax.numpy as jnp
import numpy as np
import pytest

from facesem_jax.heads import Regions, hair_weight, paint_albedo
from facesem_jax.heads.painting import smoothstep

#: Places on the template, decimetres.
_PLACES = {
    "forehead": (0.0, 7.75, 1.5),
    "crown": (0.0, 8.45, 0.7),
    "brow": (0.35, 7.57, 1.4),
    "pupil": (0.308, 7.284, 1.4),
    "white": (0.2, 7.284, 1.35),
    "neck": (0.0, 6.1, 0.9),
}

pytestmark = pytest.mark.usefixtures("quick_compilation")


def _albedo(heads, place, **regions):
    position = jnp.tile(jnp.array(_PLACES[place]), (4, 1, 1))
    zero = jnp.zeros((4, 1))
    given = {name: zero + regions.get(name, 0.0) for name in Regions._fields}
    colour = paint_albedo(heads.paint, position, Regions(**given))[:, 0]
    return (np.asarray(colour) + 1) / 2


@pytest.fixture(scope="module")
def plain(heads):
    """Paint without what varies over the skin."""
    paint = heads.paint._replace(
        waves=jnp.zeros_like(heads.paint.waves),
        blush=jnp.zeros(4),
        beard=jnp.zeros(4),
        hairline=jnp.zeros(4),
        brow_strength=jnp.ones(4),
    )
    return heads._replace(paint=paint)


def test_regions_have_their_colours(plain):
    paint = plain.paint
    for place in ("forehead", "neck"):
        np.testing.assert_allclose(_albedo(plain, place), paint.skin, rtol=0.03)
    for place in ("crown", "brow"):
        np.testing.assert_allclose(_albedo(plain, place), paint.hair, atol=0.02)
    np.testing.assert_allclose(_albedo(plain, "neck", lips=1.0), paint.skin, rtol=0.1)
    lips = jnp.tile(jnp.array([0.0, 6.65, 1.55]), (4, 1, 1))
    regions = Regions(*(jnp.full((4, 1), float(n == "lips")) for n in Regions._fields))
    found = (np.asarray(paint_albedo(paint, lips, regions))[:, 0] + 1) / 2
    np.testing.assert_allclose(found, paint.lips, atol=0.02)


def test_eyes_are_white_around_a_dark_pupil(plain):
    assert _albedo(plain, "pupil", eyes=1.0).max() < 0.05
    assert _albedo(plain, "white", eyes=1.0).min() > 0.75


def test_ears_have_no_hair():
    side = jnp.array([0.8, 7.4, 0.3])
    assert float(hair_weight(side, jnp.array(0.0))) == 1
    assert float(hair_weight(side, jnp.array(1.0))) == 0
    lower, higher = (float(hair_weight(jnp.array([0.0, 8.0, 1.4]), 0.0, h)) for h in (-0.2, 0.2))
    assert lower == 1 and higher == 0


def test_smoothstep_rises_or_falls():
    x = jnp.array([0.0, 1.0, 1.5, 2.0, 3.0])
    np.testing.assert_allclose(smoothstep(1.0, 2.0, x), [0, 0, 0.5, 1, 1])
    np.testing.assert_allclose(smoothstep(2.0, 1.0, x), [1, 1, 0.5, 0, 0])
