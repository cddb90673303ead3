import numpy as np
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.viz import augment_figures as figures


def test_every_way_has_a_line_with_its_name():
    errors = {"nothing": [3.0, 2.0], "copies": [2.5, 1.0]}
    axes = figures.error_by_size_figure([32, 512], errors, "degrees").axes[0]
    assert [line.get_label() for line in axes.lines] == ["nothing", "copies"]
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), [2.5, 1.0])
    assert [t.get_text() for t in axes.get_xticklabels()] == ["32", "512"]
    assert axes.get_xscale() == "log" and axes.get_ylabel() == "mean absolute error, degrees"


def test_bins_stand_at_their_middles():
    axes = figures.error_by_value_figure({"nothing": [1.0, 2, 3, 4]}, 40, "$x", "1").axes[0]
    np.testing.assert_allclose(axes.lines[0].get_xdata(), [5, 15, 25, 35])
    assert axes.get_ylim()[0] == 0 and axes.get_xlim() == (0, 40)


def test_ways_that_differ_in_length_are_refused():
    with pytest.raises(FacesemError, match="copies"):
        figures.error_by_size_figure([1, 2], {"nothing": [1, 2], "copies": [1]}, "1")
