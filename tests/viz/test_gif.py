import io

import numpy as np
import pytest
from PIL import Image

from facesem_jax.errors import FacesemError
from facesem_jax.viz.gif import animation_gif


def frames_of(data):
    picture = Image.open(io.BytesIO(data))
    frames = []
    for index in range(picture.n_frames):
        picture.seek(index)
        frames.append(np.asarray(picture.convert("RGB")))
    return picture, np.stack(frames)


@pytest.fixture
def pictures():
    """Four greys, each of its own pattern."""
    return np.random.default_rng(0).integers(0, 6, (4, 8, 6, 1)).repeat(3, -1).astype(np.uint8) * 40


def test_there_and_back_in_few_colours_is_exact(pictures):
    picture, frames = frames_of(animation_gif(pictures, 0.9))
    np.testing.assert_array_equal(frames, pictures[[0, 1, 2, 3, 2, 1]])
    assert picture.info["duration"] == 300 and picture.info["loop"] == 0


def test_one_way(pictures):
    np.testing.assert_array_equal(frames_of(animation_gif(pictures, back=False))[1], pictures)


def test_one_picture(pictures):
    np.testing.assert_array_equal(frames_of(animation_gif(pictures[:1]))[1], pictures[:1])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"pictures": np.zeros((2, 4, 4, 3))}, "dtype float64"),
        ({"pictures": np.zeros((0, 4, 4, 3), np.uint8)}, "shape"),
        ({"pictures": np.zeros((4, 4, 3), np.uint8)}, "shape"),
        ({"seconds": 0}, "seconds is 0"),
    ],
)
def test_bad_input(change, message, pictures):
    with pytest.raises(FacesemError, match=message):
        animation_gif(**({"pictures": pictures} | change))
