import numpy as np
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.viz import sheets


def test_shrink_averages_blocks():
    images = np.arange(2 * 5 * 4 * 3, dtype=float).reshape(2, 5, 4, 3)
    small = sheets.shrink(images, 3)
    assert small.shape == (2, 2, 2, 3)
    np.testing.assert_allclose(small[1, 1, 0], images[1, 2:4, 0:2].mean(axis=(0, 1)))
    np.testing.assert_array_equal(sheets.shrink(images, 5), images)


@pytest.mark.parametrize(
    ("count", "columns"), [(1, 1), (8, 8), (12, 6), (14, 7), (48, 8), (13, 8), (0, 1)]
)
def test_columns_fill_rows_where_they_can(count, columns):
    assert sheets.sheet_columns(count) == columns


def test_sample_sheet_in_reading_order_with_grey_rest():
    samples = np.array([-1, 0.0, 1])[:, None, None, None] * np.ones((3, 4, 4, 3))
    sheet = sheets.sample_sheet(samples, 2)
    assert sheet.shape == (8, 8, 3)
    assert sheet[0, 0, 0] == 0 and sheet[4, 0, 0] == 255 and np.all(sheet[4:, 4:] == 128)
    assert sheets.sample_sheet(samples, 3, largest=2).shape == (2, 6, 3)


def test_depth_range_covers_the_depths_in_hundredths():
    assert sheets.depth_range(np.full((1, 4, 4), 1.0)) == (1.0, 1.01)
    near, far = sheets.depth_range(np.linspace(0.934, 1.058, 4000).reshape(1, 40, 100))
    assert (near, far) == (0.93, 1.06)


def test_decomposition_sheet_has_its_rows_in_order():
    flat = np.ones((2, 4, 4, 3))
    frontal = np.zeros((2, 4, 4, 3))
    frontal[..., 2] = 1
    sheet = sheets.decomposition_sheet(
        -flat, flat, 0 * flat, np.full((2, 4, 4), 0.9), frontal, flat
    )
    assert sheet.shape == (6 * 4, 2 * 4, 3)
    assert len(sheets.DECOMPOSITION_ROWS) == 6
    np.testing.assert_array_equal(sheet[::4, 0, 0][[0, 1, 2, 3, 5]], [0, 255, 128, 255, 255])
    assert sheet[16, 0, 0] == 178  # 0.7 / |(0.6, 0.4, 0.7)| of 255: the relief
    with pytest.raises(FacesemError, match="depth has shape"):
        sheets.decomposition_sheet(flat, flat, flat, np.ones((2, 4, 5)), frontal, flat)
    with pytest.raises(FacesemError, match="albedo has shape"):
        sheets.decomposition_sheet(flat, flat, flat[:1], np.ones((2, 4, 4)), frontal, flat)


def test_strip_sheet_rows_are_faces_and_columns_amounts():
    images = np.full((2, 3, 4, 4, 3), -1.0)
    images[1, 2] = 1
    sheet = sheets.strip_sheet(images)
    assert sheet.shape == (8, 12, 3)
    assert np.all(sheet[4:, 8:] == 255) and sheet.astype(int).sum() == 16 * 3 * 255
    np.testing.assert_array_equal(sheets.column(np.zeros((3, 4, 5, 3), np.uint8)).shape, (12, 5, 3))
