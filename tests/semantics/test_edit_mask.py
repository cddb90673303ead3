import numpy as np
import pytest

from facesem_jax.decomposer import DecomposerConfig
from facesem_jax.decomposer.crop import CropBox
from facesem_jax.errors import FacesemError
from facesem_jax.semantics import edit_mask as em

pytestmark = pytest.mark.usefixtures("quick_compilation")

CONFIG = DecomposerConfig.compact(image_size=32)
DEPTH = np.full((32, 32), 1.0, np.float32)


def block(top=12, left=10, height=6, width=8, size=32):
    support = np.zeros((size, size), bool)
    support[top : top + height, left : left + width] = True
    return support


def test_the_support_is_where_a_map_is_strong():
    maps = np.zeros((2, 8, 8, 4))
    maps[0, 1, 1], maps[0, 2, 2] = [3, 0, 0, 4], [0.4, 0, 0, 0]  # Norms 5 and 0.4.
    maps[1, 5, 6, 3] = -0.01
    expected = np.zeros((8, 8), bool)
    expected[1, 1] = expected[5, 6] = True
    np.testing.assert_array_equal(em.canonical_support(maps, 0.1), expected)
    expected[2, 2] = True
    np.testing.assert_array_equal(em.canonical_support(maps, 0), expected)


def test_an_unmoved_face_shows_the_support_where_it_is():
    np.testing.assert_array_equal(
        em.support_in_view(block(), DEPTH, np.zeros(6, np.float32), CONFIG), block()
    )


def test_a_face_that_moves_takes_the_support_along():
    # At depth 1 a pixel is 2 tan(5 degrees) / 31 wide, with the camera's field of view of 10.
    pixel = 2 * np.tan(np.radians(CONFIG.fov_degrees / 2)) / 31
    view = np.array([0, 0, 0, 5 * pixel, -3 * pixel, 0], np.float32)
    found = em.support_in_view(block(), DEPTH, view, CONFIG)
    np.testing.assert_array_equal(found, block(top=9, left=15))


def test_the_mask_is_one_on_the_support_and_its_rim_and_zero_further_out():
    mask = em.soft_mask(block(), dilation=2, feather=4)
    assert mask.shape == (32, 32) and (mask[block()] == 1).all()
    row = mask[14, 17:]  # Distances 0, 1, 2, ... to the right of the block.
    half = 0.5 * 0.5 * (3 - 2 * 0.5)
    np.testing.assert_allclose(row[[0, 1, 2, 4, 6, 8]], [1, 1, 1, half, 0, 0], atol=1e-12)
    assert (np.diff(row) <= 0).all()


def test_masks_end_before_the_border():
    everywhere = em.soft_mask(np.ones((32, 32), bool))
    for mask in (everywhere, em.face_mask(32), em.border_window(32, 32)):
        edge = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
        assert (edge == 0).all() and mask[16, 16] == pytest.approx(1)
        assert mask.min() == 0 and mask.max() <= 1
        np.testing.assert_allclose(mask, mask[::-1, ::-1], atol=1e-12)
        assert np.abs(np.diff(mask, axis=0)).max() < 0.6
    assert not em.soft_mask(np.zeros((8, 8), bool)).any()


def test_an_edit_stays_inside_the_landmarks():
    corners = np.array([[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]])
    mask = em.inside_mask(corners, 32, feather=4)
    # Pixels 8 to 23 lie inside; the first of them is one pixel from the outside.
    np.testing.assert_allclose(mask[16, 7:13], [0, 0.15625, 0.5, 0.84375, 1, 1], atol=1e-12)
    assert mask[:8].max() == mask[24:].max() == 0
    assert (em.inside_mask(corners * 4 - 1.5, 32) == 1).all()


def test_a_mask_is_put_where_the_crop_lies():
    mask = em.soft_mask(block(size=32), 1, 3)
    np.testing.assert_allclose(em.mask_in_frame(mask, CropBox(0, 0, 1, 1), 32), mask, atol=1e-12)
    placed = em.mask_in_frame(mask, CropBox(0.25, 0.5, 0.5, 0.5), 64)
    np.testing.assert_allclose(placed[16:48, 32:], mask, atol=1e-12)
    assert placed[:15].max() == 0 and placed[:, :31].max() == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: em.canonical_support(np.zeros((1, 4, 4, 4))), "zero everywhere"),
        (lambda: em.canonical_support(np.ones((1, 4, 4, 4)), 1.0), "threshold is 1.0"),
        (lambda: em.canonical_support(np.ones((4, 4, 4))), "maps has shape"),
        (lambda: em.soft_mask(block(), feather=0), "feather 0"),
        (lambda: em.soft_mask(block(), dilation=np.nan), "dilation is nan"),
        (lambda: em.face_mask(0), "size is 0"),
        (lambda: em.inside_mask(np.zeros((2, 2)), 8), "2 landmarks"),
        (lambda: em.face_mask(8, 2.0), "feather is 2.0"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(FacesemError, match=message):
        call()


def test_landmarks_on_a_line_are_refused():
    line = np.stack([np.linspace(0.1, 0.9, 5)] * 2, axis=1)
    with pytest.raises(FacesemError, match="one line"):
        em.inside_mask(line, 16)
