import dataclasses

import numpy as np
import pytest

from facesem_jax import load_directions
from facesem_jax.errors import FacesemError
from facesem_jax.semantics.acting import components_at, energy_shares_at
from facesem_jax.semantics.direction_set import DirectionSet
from facesem_jax.semantics.regions import Anchors


@pytest.fixture
def directions():
    """Three components: two overlap at (2, 5) with energies 9 and 3 x 1, one lies elsewhere."""
    maps = np.zeros((3, 8, 8, 4), np.float32)
    maps[0, 2, 5, 3] = -1.0
    maps[1, 2, 5, :3] = np.sqrt(3)
    maps[2, 7, 0, 0] = 5.0
    return DirectionSet(
        names=(),
        gradients=np.zeros((0, 3), np.float32),
        labels=("a-1", "b-1", "c-1"),
        vectors=np.eye(3, dtype=np.float32),
        spreads=np.ones(3, np.float32),
        regions=("a", "b", "c"),
        maps=maps,
    )


def test_shares_of_the_energy_around_a_point(directions):
    found = components_at(directions, (2.3, 4.8))
    assert [f.name for f in found] == ["b-1", "a-1"]
    assert [f.region for f in found] == ["b", "a"]
    np.testing.assert_allclose([f.strength for f in found], [0.9, 0.1], rtol=1e-6)


def test_the_neighbourhood_is_a_disc(directions):
    # Point (2, 5) is at a distance of 1.5 from (2, 3.5) and at one of 1.58 from (3.5, 4.5).
    assert energy_shares_at(directions.maps, (2.0, 3.5)).sum() == pytest.approx(1)
    assert energy_shares_at(directions.maps, (3.5, 4.5)).sum() == 0
    assert components_at(directions, (3.5, 4.5)) == ()
    assert len(components_at(directions, (3.5, 4.5), radius=8)) == 3


def test_most_and_least(directions):
    assert len(components_at(directions, (2, 5), most=1)) == 1
    assert [f.name for f in components_at(directions, (2, 5), least=0.2)] == ["b-1"]


def test_outside_the_frame_nothing_acts(directions):
    assert components_at(directions, (-40, 3)) == ()


def test_without_maps_there_is_no_answer(directions):
    with pytest.raises(FacesemError, match="no maps"):
        components_at(dataclasses.replace(directions, maps=None), (2, 5))


def test_the_bundled_mouth_belongs_to_the_mouth():
    """At the atlas's own point."""
    x, y = Anchors().mouth
    found = components_at(load_directions(), (64 * y - 0.5, 64 * x - 0.5), least=0)
    assert found[0].region == "mouth" and found[0].strength > 0.5
    assert {f.region for f in found[:3]} == {"mouth"}
    assert sum(f.strength for f in found if f.region == "mouth") > 0.7
