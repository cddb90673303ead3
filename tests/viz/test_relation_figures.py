import numpy as np
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.viz import relation_figures as figures


def test_leaves_that_are_near_stand_side_by_side():
    places = np.array([0.0, 10.0, 0.5, 10.4])
    distances = np.abs(places[:, None] - places)
    axes = figures.tree_figure(distances, ["a", "$b", "c", "d"], "distance").axes[0]
    leaves = [t.get_text() for t in axes.get_yticklabels()]
    assert {frozenset(leaves[:2]), frozenset(leaves[2:])} == {
        frozenset({"a", "c"}),
        frozenset({"$b", "d"}),
    }
    assert axes.get_xlabel() == "distance"


def test_the_own_value_is_marked_among_the_null_values():
    axes = figures.null_figure(np.array([0.1, np.nan, -0.1]), 0.3).axes[0]
    assert axes.lines[0].get_xdata() == [0.3, 0.3]
    assert sum(bar.get_height() for bar in axes.patches) == 2
    assert not figures.null_figure(np.array([0.1]), None).axes[0].lines


def test_what_does_not_fit_is_refused():
    with pytest.raises(FacesemError):
        figures.tree_figure(np.zeros((2, 2)), ["a"], "x")
