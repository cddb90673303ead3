import numpy as np
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.viz import environment_figures as figures
from facesem_jax.viz.figures import LIGHT


def test_sample_curve_shows_both_ways():
    axes = figures.sample_curve_figure(
        [10, 100], np.array([0.2, 0.6]), np.array([0.1, 0.0]), [4, 8], np.array([0.5, 0.55])
    ).axes[0]
    assert axes.get_xscale() == "log"
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [0.2, 0.6])
    np.testing.assert_array_equal(axes.lines[1].get_xdata(), [4, 8])
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(0.1) and band[:, 1].max() == pytest.approx(0.6)


def test_response_band_shows_the_linear_prediction():
    amounts = np.array([-10.0, 0, 10])
    axes = figures.response_band_figure(amounts, 0.8 * amounts, np.ones(3), 0.9, "degrees").axes[0]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), 0.9 * amounts)
    np.testing.assert_allclose(axes.lines[1].get_ydata(), 0.8 * amounts)
    assert axes.get_ylabel() == "measured, degrees"


def test_leakage_is_written_into_its_cells_legibly():
    matrix = np.array([[1.0, -0.1], [0.25, 0.9]])
    axes = figures.leakage_figure(matrix, ["yaw", "light_x"]).axes[0]
    assert [t.get_text() for t in axes.texts] == ["1.00", "−0.10", "0.25", "0.90"]
    assert [t.get_color() for t in axes.texts] == [LIGHT.paper, LIGHT.ink, LIGHT.ink, LIGHT.paper]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["yaw", "light x"]


@pytest.mark.parametrize(
    "draw",
    [
        lambda: figures.sample_curve_figure([1, 2], np.zeros(3), np.zeros(2), [1], np.zeros(1)),
        lambda: figures.response_band_figure(np.zeros(3), np.zeros(2), np.zeros(3), 1.0, "1"),
        lambda: figures.leakage_figure(np.zeros((2, 3)), ["a", "b"]),
    ],
)
def test_what_does_not_fit_is_refused(draw):
    with pytest.raises(FacesemError):
        draw()
