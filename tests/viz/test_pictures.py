import numpy as np
import pytest
from PIL import Image

from facesem_jax.errors import FacesemError
from facesem_jax.viz import pictures


def test_rgb_maps_the_range_and_clips():
    values = np.array([-2, -1, 0, 1, 3.0])[:, None, None, None] * np.ones((1, 1, 1, 3))
    np.testing.assert_array_equal(pictures.rgb(values)[:, 0, 0, 0], [0, 0, 128, 255, 255])
    assert pictures.rgb(values).dtype == np.uint8


def test_depth_is_white_near_and_black_far():
    depth = np.array([[0.8, 0.9, 1.0, 1.1, 1.2]])
    np.testing.assert_array_equal(pictures.depth_picture(depth)[0, :, 1], [255, 255, 128, 0, 0])


def test_relief_is_lit_from_the_upper_left():
    # Normals point into the scene: a slope that faces left and up has positive x and y.
    towards = np.array([0.6, 0.4, 0.7]) / np.linalg.norm([0.6, 0.4, 0.7])
    normals = np.stack([towards, [0, 0, 1], [-0.8, 0, 0.6]])[None]
    lit, frontal, away = pictures.relief_picture(normals)[0, :, 0]
    assert lit == 255 and 0 < frontal < 255 and away == 0


def test_signed_scale_white_at_zero_red_at_limit_blue_below():
    picture = pictures.signed_picture(np.array([[0, 2, -2, 9, 1.0]]), limit=2)[0]
    np.testing.assert_array_equal(picture[0], [255, 255, 255])
    np.testing.assert_array_equal(picture[1], [204, 0, 38])
    np.testing.assert_array_equal(picture[2], [0, 64, 204])
    np.testing.assert_array_equal(picture[3], picture[1])
    np.testing.assert_array_equal(picture[4], [230, 128, 147])


def test_grid_places_pictures_row_by_row_with_gaps():
    tiles = np.arange(6, dtype=np.uint8).reshape(2, 3, 1, 1, 1) * np.ones((2, 3, 4, 5, 3), np.uint8)
    out = pictures.grid(tiles, gap=2, background=200)
    assert out.shape == (10, 19, 3)
    assert out[9, 18, 0] == 5 and out[0, 7, 0] == 1 and out[6, 0, 0] == 3
    assert np.all(out[4:6] == 200) and np.all(out[:, 5:7] == 200)
    with pytest.raises(FacesemError, match="pictures has shape"):
        pictures.grid(tiles[0])


def test_enlarged_pictures_keep_their_place():
    drawn = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5, 3)).astype(np.uint8)
    squares = pictures.enlarge(drawn, 3)
    assert squares.shape == (2, 3, 12, 15, 3)
    for row in range(3):
        for column in range(3):
            np.testing.assert_array_equal(squares[..., row::3, column::3, :], drawn)
    smooth = pictures.enlarge(np.full((2, 4, 5, 3), 90, np.uint8), 3, smooth=True)
    assert smooth.shape == (2, 12, 15, 3) and (smooth == 90).all()
    # Lanczos: each picture by itself, as Pillow draws it.
    one = pictures.enlarge(drawn, 2, smooth=True)[1, 2]
    expected = Image.fromarray(drawn[1, 2]).resize((10, 8), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(one, np.asarray(expected))
