import numpy as np
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.semantics.regions import (
    BROAD,
    DEAD,
    Anchors,
    Atlas,
    default_regions,
    unique_labels,
)


def _blob(*centres, sigma=0.05, size=64, weights=None):
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    map_ = np.zeros((size, size, 4))
    for (cx, cy), weight in zip(centres, weights or [1] * len(centres), strict=True):
        map_[..., 1] += weight * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2))
    return map_


ANCHORS = Anchors()


@pytest.fixture(scope="module")
def atlas():
    return Atlas()


def test_masks_divide_the_frame(atlas):
    np.testing.assert_allclose(atlas.masks.sum(axis=0), 1, atol=1e-12)
    assert np.all(atlas.masks >= 0)
    largest = {atlas.names[i] for i in np.unique(atlas.masks.argmax(axis=0))}
    assert largest == set(atlas.names)  # every region rules somewhere


@pytest.mark.parametrize(
    ("centre", "name"),
    [
        (ANCHORS.eye_left, "left eye"),
        (ANCHORS.eye_right, "right eye"),
        (ANCHORS.brow_left, "left brow"),
        (ANCHORS.nose_tip, "nose"),
        (ANCHORS.mouth, "mouth"),
        (ANCHORS.chin, "chin"),
        ((0.5, 0.1), "forehead"),
        ((0.27, 0.6), "right cheek"),
        ((0.8, 0.9), "left jaw corner"),
        ((0.98, 0.55), "left contour"),
        ((0.03, 0.03), "right upper corner"),
    ],
)
def test_blobs_get_the_name_of_the_part_they_cover(atlas, centre, name):
    found = atlas.name(_blob(centre, sigma=0.03))
    assert found.name == name
    assert found.confidence > 0.4
    np.testing.assert_allclose(sum(found.shares.values()), 1)


def test_left_is_the_subjects_left_on_the_right_of_the_image(atlas):
    map_ = np.zeros((64, 64, 4))
    map_[22:28, 40:48] = 1.0  # columns beyond 32: the right-hand side of the image
    assert atlas.name(map_).name == "left eye"
    assert atlas.name(map_[:, ::-1]).name == "right eye"


def test_a_pair_is_named_in_the_plural_only_where_both_sides_are_active(atlas):
    both = (ANCHORS.eye_left, ANCHORS.eye_right)
    pair = atlas.name(_blob(*both))
    single = atlas.name(_blob(*both, weights=[1, 0.2]))  # 0.04 of the energy
    assert (pair.name, single.name) == ("eyes", "left eye")
    np.testing.assert_allclose(pair.confidence, pair.shares["left eye"] + pair.shares["right eye"])


def test_neither_sign_nor_unit_matters(atlas):
    map_ = _blob(ANCHORS.mouth)
    assert atlas.name(-1e-30 * map_).name == "mouth"
    np.testing.assert_allclose(atlas.name(-map_).confidence, atlas.name(map_).confidence)


def test_dead_and_broad_maps(atlas):
    dead = atlas.name(np.zeros((64, 64, 4)))
    assert (dead.name, dead.confidence) == (DEAD, 0)
    rows, columns = np.mgrid[:64, :64]
    checks = ((rows + columns) % 2 * (np.abs(rows - 32) < 31))[..., None] * np.ones(4)
    assert atlas.name(checks).name == BROAD


def test_other_anchors_and_sizes_move_the_regions():
    tight = Anchors(
        (0.4, 0.3), (0.6, 0.3), (0.4, 0.25), (0.6, 0.25), (0.5, 0.4), (0.5, 0.5), (0.5, 0.6)
    )
    atlas = Atlas(32, 48, default_regions(tight))
    y, x = (np.arange(32) + 0.5) / 32, (np.arange(48) + 0.5) / 48
    map_ = np.exp(-(((x - 0.5) / 0.03) ** 2) - ((y[:, None] - 0.5) / 0.03) ** 2)[..., None]
    assert atlas.name(map_).name == "mouth"


def test_labels_are_unique_slugs_in_order():
    names = ["mouth", "left eye", "mouth", "jaw corners", "mouth"]
    assert unique_labels(names) == ["mouth-1", "left-eye-1", "mouth-2", "jaw-corners-1", "mouth-3"]


def test_bad_input_gets_one_clear_error(atlas):
    with pytest.raises(FacesemError, match="own left"):
        default_regions(Anchors(eye_left=(0.3, 0.4), eye_right=(0.7, 0.4)))
    with pytest.raises(FacesemError, match="within"):
        default_regions(Anchors(mouth=(0.5, 50.0)))
    with pytest.raises(FacesemError, match="down the face"):
        default_regions(Anchors(mouth=(0.5, 0.1)))
    with pytest.raises(FacesemError, match="shape"):
        atlas.name(np.ones((32, 32, 4)))
    with pytest.raises(FacesemError, match="NaN"):
        atlas.name(np.full((64, 64, 4), np.nan))
    with pytest.raises(FacesemError, match="at least one region"):
        Atlas(regions={})
