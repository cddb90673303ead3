import numpy as np
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.metrics import (
    compact_region,
    explained_share,
    mean_interval,
    redundancy,
    share_inside,
)


def test_intervals_cover_the_mean_as_often_as_they_say():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        found = mean_interval(rng.normal(3, 1, 40), resamples=400, seed=trial)
        hits += found.low <= 3 <= found.high
    assert 0.88 < hits / 200 < 0.99


def test_what_belongs_to_one_face_is_drawn_together():
    # Ten directions on each of 20 faces that differ only by face: ten times the same number.
    face = np.random.default_rng(0).normal(size=20)
    alone, many = mean_interval(face), mean_interval(np.repeat(face[:, None], 10, axis=1))
    np.testing.assert_allclose(alone, many)


def test_what_was_not_measured_is_left_out():
    found = mean_interval(np.array([[1.0, np.nan], [3.0, 2.0]]))
    assert found.mean == 2.0
    assert np.isnan(mean_interval(np.full(3, np.nan)).low)
    with pytest.raises(FacesemError, match="no face"):
        mean_interval(np.zeros(0))
    with pytest.raises(FacesemError, match="level"):
        mean_interval(np.zeros(3), level=1.0)
    with pytest.raises(FacesemError, match="infinite"):
        mean_interval(np.array([30.0, np.inf]))


def test_a_planted_blob_is_found():
    y, x = np.mgrid[:64, :64]
    blob = np.exp(-((y - 44) ** 2 + (x - 30) ** 2) / (2 * 4**2))
    found = compact_region(blob + 1e-4, area=0.1)
    assert not found.two_sided and found.mask[44, 30]
    assert found.area == pytest.approx(0.1, abs=0.01)
    assert found.share > 0.9


def test_an_even_change_scores_its_area():
    found = compact_region(np.ones((64, 64)), area=0.1)
    assert found.share == pytest.approx(found.area, abs=1e-9)
    assert found.area == pytest.approx(0.1, abs=0.015)


def test_both_eyes_are_one_place_and_unlike_parts_are_not():
    y, x = np.mgrid[:64, :64]

    def at(row, column):
        return np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * 3**2))

    eyes = compact_region(at(26, 18) + at(26, 45), area=0.1)
    assert eyes.two_sided and eyes.share > 0.95 and eyes.mask[26, 18] and eyes.mask[26, 45]
    mixed = compact_region(at(26, 18) + at(55, 45), area=0.1)
    assert mixed.share < 0.6


def test_shares_are_per_face():
    mask = np.zeros((8, 8), bool)
    mask[:4] = True
    change = np.zeros((3, 8, 8, 2))
    change[0, :4] = 1
    change[1] = 1
    np.testing.assert_array_equal(share_inside(change, mask), [1, 0.5, np.nan])


@pytest.mark.parametrize(
    ("energy", "area", "message"),
    [
        (np.zeros((4, 4)), 0.1, "zero everywhere"),
        (-np.ones((4, 4)), 0.1, "negative"),
        (np.ones((4, 4)), 1.0, "area"),
        (np.ones(4), 0.1, "energy"),
    ],
)
def test_regions_refuse(energy, area, message):
    with pytest.raises(FacesemError, match=message):
        compact_region(energy, area)


def test_explained_share_is_that_of_least_squares():
    rng = np.random.default_rng(0)
    J, V = rng.normal(size=(50, 6)), rng.normal(size=(2, 6))
    U = np.linalg.lstsq(V.T, J.T, rcond=None)[0].T
    expected = 1 - np.sum((J - U @ V) ** 2) / np.sum(J**2)
    assert explained_share(J, V) == pytest.approx(expected)
    doubled = np.concatenate([V, V[:1] * 3])
    assert explained_share(J, doubled) == pytest.approx(expected)
    assert explained_share(J, np.eye(6)) == pytest.approx(1)
    assert explained_share(J, np.zeros((0, 6))) == explained_share(J, np.zeros((2, 6))) == 0


def test_redundancy_ignores_length_and_sign():
    assert redundancy(np.array([[1.0, 1.0], [-2.0, -2.0]]))[0] == pytest.approx(1)
    assert redundancy(np.eye(3)) == (0.0, 0.0) and redundancy(np.ones((1, 2))) == (0.0, 0.0)
    with pytest.raises(FacesemError, match="zero"):
        redundancy(np.zeros((2, 2)))
