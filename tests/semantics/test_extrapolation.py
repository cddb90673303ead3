import numpy as np
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.semantics.extrapolation import extrapolate, semantic_per_label


def test_the_slope_is_unbiased_in_a_set_selected_by_its_label():
    rng = np.random.default_rng(0)
    labels = rng.normal(size=20_000)
    s = 0.7 * labels + rng.normal(size=20_000)
    near = np.abs(labels) < 0.5
    found = semantic_per_label(s[near, None], labels[near], np.ones(1))
    assert found == pytest.approx(0.7, abs=0.05)
    with pytest.raises(FacesemError, match="does not follow"):
        semantic_per_label(-s[near, None], labels[near], np.ones(1))


def test_labels_that_follow_w_linearly_come_out_as_asked():
    rng = np.random.default_rng(1)
    v = rng.normal(size=5)
    w, targets = rng.normal(size=(30, 5)), rng.uniform(-3, 3, 30)
    labels = 2 * (w @ v)  # The label's unit is half the semantic's.
    slope = semantic_per_label(w, labels, v)
    moved = extrapolate(w, labels, targets, v / (v @ v), slope)
    np.testing.assert_allclose(2 * (moved @ v), targets, atol=1e-10)
    # Nothing but the direction's own coordinate has changed.
    across = np.eye(5) - np.outer(v, v) / (v @ v)
    np.testing.assert_allclose((moved - w) @ across, 0, atol=1e-10)


def test_wrong_shapes():
    w = np.zeros((3, 2))
    with pytest.raises(FacesemError, match="labels"):
        semantic_per_label(w, np.zeros(2), np.zeros(2))
    with pytest.raises(FacesemError, match="targets"):
        extrapolate(w, np.zeros(3), np.zeros(4), np.zeros(2), 1.0)
    with pytest.raises(FacesemError, match="do not vary"):
        semantic_per_label(w, np.zeros(3), np.zeros(2))


@pytest.mark.parametrize("label", [0.3, 1.1, 0.7])
def test_equal_labels_are_refused(label):
    w = np.random.default_rng(0).normal(size=(400, 3)) + 5
    with pytest.raises(FacesemError, match="do not vary"):
        semantic_per_label(w, np.full(400, label), np.ones(3))
