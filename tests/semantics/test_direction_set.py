import dataclasses
import math

import numpy as np
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.semantics.direction_set import DirectionSet, near_names

D = 12
NAMES = ("pitch", "yaw", "light_x")
LABELS = ("mouth-1", "mouth-2", "nose-1")


@pytest.fixture(scope="module")
def directions():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(3, D))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    # Degrees and pure numbers: gradients whose lengths differ a lot.
    gradients = rng.normal(size=(3, D)) * np.array([[5.0], [9.0], [0.1]])
    return DirectionSet(
        names=NAMES,
        gradients=gradients.astype(np.float32),
        labels=LABELS,
        vectors=vectors.astype(np.float32),
        spreads=np.array([0.5, 1.0, 2.0], np.float32),
        regions=("mouth", "mouth", "nose"),
        shares=np.array([0.4, 0.2, 0.1], np.float32),
        r2=np.array([0.8, 0.9, 0.7], np.float32),
        maps=rng.normal(size=(3, 4, 4, 4)).astype(np.float32),
        about={"generator": "tiny"},
    )


def test_an_amount_of_a_linear_semantic_arrives_in_its_own_unit(directions):
    for k, (name, amount) in enumerate([("pitch", -5.0), ("yaw", 20.0), ("light_x", 0.3)]):
        change = directions.gradients.astype(np.float64) @ directions.move({name: amount})
        np.testing.assert_allclose(change[k], amount, rtol=1e-5)


def test_decorrelated_amounts_leave_the_others_where_they_are(directions):
    plain = directions.gradients.astype(np.float64) @ directions.move({"yaw": 20.0})
    assert abs(plain[0]) > 0.1
    move = directions.move({"yaw": 20.0, "light_x": 0.3}, decorrelated=True)
    change = directions.gradients.astype(np.float64) @ move
    np.testing.assert_allclose(change, [0, 20, 0.3], atol=1e-4)


def test_a_component_moves_by_spreads_and_moves_add_up(directions):
    move = directions.move({"nose-1": 2.5})
    np.testing.assert_allclose(move, 5 * directions.vectors[2], rtol=1e-6)
    both = directions.move({"nose-1": 2.5, "yaw": -3.0})
    np.testing.assert_allclose(both, move + directions.move({"yaw": -3.0}), atol=1e-6)
    assert not directions.move({}).any() and directions.move({}).shape == (D,)


@pytest.mark.parametrize("name", NAMES + LABELS)
def test_a_direction_says_what_a_move_does(directions, name):
    one = directions.direction(name)
    np.testing.assert_allclose(np.linalg.norm(one.vector), 1, rtol=1e-5)
    np.testing.assert_allclose(
        directions.move({name: 3.0}), 3 * one.per_unit * one.vector, rtol=1e-4, atol=1e-6
    )
    assert one.kind == ("global" if name in NAMES else "component")


def test_a_direction_has_its_numbers(directions):
    yaw, mouth = directions.direction("yaw"), directions.direction("mouth-2")
    assert (yaw.unit, yaw.r2) == ("degrees", pytest.approx(0.9))
    assert math.isnan(yaw.share) and yaw.region == ""
    assert (mouth.unit, mouth.region) == ("spreads", "mouth")
    assert mouth.share == pytest.approx(0.2) and math.isnan(mouth.r2)


def test_a_selection_keeps_what_belongs_to_its_directions(directions):
    chosen = directions.select(["nose-1", "yaw"])
    assert chosen.all_names == ("yaw", "nose-1") and chosen.about == directions.about
    for name in chosen.all_names:
        before, after = directions.direction(name), chosen.direction(name)
        np.testing.assert_array_equal(before.vector, after.vector)
        assert str(before[4:]) == str(after[4:])
    np.testing.assert_array_equal(chosen.maps, directions.maps[2:])
    with pytest.raises(FacesemError, match="unknown direction 'ear'"):
        directions.select(["yaw", "ear"])


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("mouth", "did you mean mouth-1, mouth-2?"),
        ("mouth-9", "did you mean mouth-1, mouth-2?"),
        ("yav", "did you mean yaw?"),
        ("ear", "known are pitch, yaw, light_x, mouth-1, mouth-2, nose-1."),
    ],
)
def test_an_unknown_name_lists_near_ones(directions, name, advice):
    with pytest.raises(FacesemError, match="unknown direction") as error:
        directions.direction(name)
    assert str(error.value).endswith(advice)
    assert near_names(name, directions.all_names) == advice


@pytest.mark.parametrize("amount", [math.nan, math.inf, 1e39])
def test_amounts_that_are_not_finite_are_refused(directions, amount):
    with pytest.raises(FacesemError, match=r"finite|too large"):
        directions.move({"nose-1": amount})


def _changed(array, value):
    array = np.array(array)
    array.flat[0] = value
    return array


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (lambda s: {"names": (), "labels": ()}, "no direction at all"),
        (lambda s: {"labels": ("yaw", *LABELS[1:])}, "'yaw' occurs twice"),
        (lambda s: {"names": ("smile", *NAMES[1:])}, "'smile' is no global semantic"),
        (lambda s: {"gradients": s.gradients[:2]}, r"gradients has shape \(2, 12\)"),
        (lambda s: {"gradients": 0 * s.gradients}, "gradient is zero"),
        (lambda s: {"gradients": _changed(s.gradients, np.nan)}, "gradients holds NaN"),
        (lambda s: {"vectors": s.vectors[:, :5]}, r"vectors has shape \(3, 5\)"),
        (lambda s: {"vectors": 2 * s.vectors}, "mouth-1 has length 2"),
        (lambda s: {"spreads": -s.spreads}, "spread is negative"),
        (lambda s: {"spreads": s.spreads[:2]}, r"spreads has shape \(2,\)"),
        (lambda s: {"spreads": _changed(s.spreads, np.inf)}, "spreads holds NaN or infinite"),
        (lambda s: {"regions": ("mouth",)}, "1 regions for 3 components"),
        (lambda s: {"shares": s.shares[:1]}, "shares has shape"),
        (lambda s: {"maps": s.maps[..., :3]}, "maps has shape"),
    ],
)
def test_bad_sets_are_refused(directions, changes, message):
    with pytest.raises(FacesemError, match=message):
        dataclasses.replace(directions, **changes(directions))


def test_regions_match_either_side_or_one():
    rng = np.random.default_rng(0)
    vectors = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    regions = ("eyes", "left eye", "right eye", "mouth", "jaw corners")
    directions = DirectionSet(
        (), np.zeros((0, 5)), ("a", "b", "c", "d", "e"), vectors, np.ones(5), regions
    )
    assert directions.in_region("eyes") == directions.in_region("Eye") == ("a", "b", "c")
    assert directions.in_region("left-eye") == ("b",)
    assert directions.in_region("jaw-corners") == ("e",)
    with pytest.raises(FacesemError, match="'ear'; known are eyes, jaw corners, left eye"):
        directions.in_region("ear")
    bare = dataclasses.replace(directions, regions=())
    with pytest.raises(FacesemError, match="no region names"):
        bare.in_region("mouth")
