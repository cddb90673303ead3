import numpy as np
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.viz import overlays, pictures


def test_neutral_change_over_white_is_the_signed_scale():
    values = np.linspace(-1.5, 1.5, 31)[None]
    expected = pictures.signed_picture(values, 1.0).astype(int)
    for channels in (1, 3):
        found = overlays.change_picture(np.repeat(values[..., None], channels, -1), 1.0)
        assert np.abs(found - expected).max() <= 1  # float32 against float64


def test_change_of_hue_at_equal_lightness_is_violet_not_nothing():
    picture = overlays.change_picture(np.array([[[1.0, -1.0, 0.0]]]), np.sqrt(2 / 3))
    np.testing.assert_array_equal(picture[0, 0], [102, 32, 121])


def test_ground_shows_where_nothing_changes():
    ground = np.array([[[10, 20, 30], [10, 20, 30]]], np.uint8)
    picture = overlays.change_picture(np.array([[[0.0], [5.0]]]), 5.0, ground)
    np.testing.assert_array_equal(picture[0], [[10, 20, 30], [204, 0, 38]])


def test_limit_zero_and_bad_limits():
    assert np.all(overlays.change_picture(np.zeros((2, 2, 3)), 0.0) == 255)
    for limit in (-1.0, np.nan, np.inf):
        with pytest.raises(FacesemError, match="limit is"):
            overlays.change_picture(np.zeros((2, 2, 3)), limit)


def test_ground_is_pale_grey_whatever_the_albedo():
    albedo = np.array([[[-0.9, -0.9, -0.9], [-0.1, -0.5, -0.3]]])
    ground = overlays.ground_picture(albedo)
    np.testing.assert_array_equal(ground[0, :, 0], [148, 247])
    np.testing.assert_array_equal(ground[..., 0], ground[..., 2])
    assert np.all(overlays.ground_picture(np.zeros((2, 2, 3))) == 247)


def test_component_parts_share_one_scale():
    map_ = np.zeros((2, 2, 4))
    map_[0, 0, :3] = 0.5
    map_[1, 1, 3] = -1.0
    ground = overlays.ground_picture(np.zeros((2, 2, 3)))
    albedo, depth = overlays.component_pictures(map_, np.zeros((2, 2, 3)))
    np.testing.assert_array_equal(depth[1, 1], [0, 64, 204])
    half = (ground[0, 0] + np.array([204, 0, 38])) / 2
    np.testing.assert_allclose(albedo[0, 0], half, atol=1)
    np.testing.assert_array_equal(albedo[1, 1], ground[1, 1])
    np.testing.assert_array_equal(depth[0, 0], ground[0, 0])


def test_strip_difference_is_largest_amount_minus_zero():
    images = np.zeros((2, 3, 4, 4, 3))
    images[:, 0] = -0.9  # amount 0
    images[:, 1] = 0.9  # the most negative amount, to be ignored
    images[:, 2] = -0.9
    images[1, 2, :, 2:] = -0.5
    pictures_, limit = overlays.strip_difference(images, np.array([0.0, -5.0, 3.0]))
    np.testing.assert_allclose(limit, 0.2)
    assert np.all(pictures_[0] == 255)
    np.testing.assert_array_equal(pictures_[1, 0], [[255] * 3] * 2 + [[204, 0, 38]] * 2)
