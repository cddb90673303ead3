import jax.numpy as jnp
import numpy as np
import pytest

from facesem_jax.decomposer import DecomposerConfig
from facesem_jax.decomposer.decomposer import depth_prior
from facesem_jax.errors import FacesemError
from facesem_jax.heads import load_heads
from facesem_jax.training.mean_head import HeadFraming, mean_head_depth
from facesem_jax.training.relief import middle_of_rows, with_deeper_sides

pytestmark = pytest.mark.usefixtures("quick_compilation")
CONFIG = DecomposerConfig.compact()
#: Rows and columns of the face, in a picture of 64 pixels.
FACE = slice(8, 56), slice(10, 54)


@pytest.fixture(scope="module")
def depth():
    return np.asarray(mean_head_depth(load_heads(), CONFIG))


def test_the_head_looks_at_the_camera(depth):
    assert depth.shape == (64, 64) and np.isfinite(depth).all()
    assert CONFIG.min_depth < depth.min() and depth.max() <= CONFIG.max_depth
    np.testing.assert_allclose(depth, depth[:, ::-1], atol=1e-7)
    # The tip of the nose is nearest, two thirds of the way down; the eyes lie behind brow and nose.
    row, column = np.unravel_index(depth.argmin(), depth.shape)
    assert 38 <= row <= 48 and column in (31, 32)
    eye, brow = depth[29, 20], depth[22, 20]
    assert eye > brow + 0.002 and eye > depth[row, 31] + 0.02
    # Beside the head there is none; the blur carries a little of it there.
    np.testing.assert_allclose(depth[:4, :3], CONFIG.max_depth, atol=1e-4)


def test_it_is_flat_in_front_and_steep_at_the_sides(depth):
    """Unlike the prior, whose slope is nearly the same from the middle to the side."""
    prior = 1 + 0.1 * np.tanh(np.asarray(depth_prior(CONFIG)))

    def steepening(surface):
        row = surface[20:32].mean(axis=0)
        return (row[8] - row[12]) / (row[16] - row[24])

    assert steepening(depth) > 2 * steepening(prior) > 0


def test_the_relief_moves_the_sides_alone(depth):
    found = np.asarray(mean_head_depth(load_heads(), CONFIG, HeadFraming(relief=1.4)))
    np.testing.assert_allclose(found[FACE], with_deeper_sides(depth, 1.4)[FACE], atol=1e-6)
    np.testing.assert_allclose(middle_of_rows(found), middle_of_rows(depth), atol=1e-6)
    assert found.max() == np.float32(CONFIG.max_depth)


def test_the_framing_places_the_head(depth):
    lower = mean_head_depth(load_heads(), CONFIG, HeadFraming(middle=(7.44, 1.32)))
    # 0.2 decimetres of 0.108 units, before a camera that sees 0.175 units on 64 pixels.
    pixels = 0.2 * 0.108 / (2 * np.tan(np.radians(5))) * 63 / 0.96
    down = np.argmin(lower[:, 31]) - np.argmin(depth[:, 31])
    assert abs(down - pixels) <= 1
    further = mean_head_depth(load_heads(), CONFIG, HeadFraming(middle=(7.24, 1.42)))
    difference = np.asarray(further - jnp.asarray(depth))[24:40, 28:36]
    np.testing.assert_allclose(difference, 0.1 * 0.122, atol=2e-3)
    small = mean_head_depth(load_heads(), DecomposerConfig.compact(image_size=32))
    coarse = depth.reshape(32, 2, 32, 2).mean(axis=(1, 3))
    assert np.abs(np.asarray(small) - coarse)[6:26, 8:24].mean() < 2e-3


@pytest.mark.parametrize("wrong", [{"relief": 0.0}, {"scale": (0.1, -0.1, 0.1)}])
def test_sizes_that_no_head_has_are_refused(wrong):
    with pytest.raises(FacesemError, match="must be above 0"):
        HeadFraming(**wrong)
