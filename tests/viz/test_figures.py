import io

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from facesem_jax.errors import FacesemError
from facesem_jax.viz import component_figure, figures, overlays, png


def _decode(data):
    return np.asarray(Image.open(io.BytesIO(data)))


def test_distance_figure_orders_rows_columns_and_labels():
    distances = np.array([[0, 0.2, 1], [0.2, 0, 0.6], [1, 0.6, 0]])
    figure = figures.distance_figure(distances, np.array([2, 0, 1]), ["a", "$b", "c"])
    axes = figure.axes[0]
    np.testing.assert_array_equal(
        axes.images[0].get_array(), [[0, 1, 0.6], [1, 0, 0.2], [0.6, 0.2, 0]]
    )
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [t.get_text() for t in labels] == ["c", "a", "$b"]
    scale = axes.images[0]
    assert to_hex(scale.to_rgba(0.0)) == figures.LIGHT.accent
    assert to_hex(scale.to_rgba(1.0)) == figures.LIGHT.paper
    assert _decode(png.figure_png(figure, 48)).ndim == 3  # "$b" is drawn, not parsed


def test_distance_figure_grows_with_the_components():
    sizes = [
        figures.distance_figure(np.zeros((n, n)), np.arange(n), ["x"] * n).get_size_inches()[0]
        for n in (8, 30, 80)
    ]
    assert sizes[0] < sizes[1] < sizes[2]


@pytest.mark.parametrize(
    ("order", "labels"), [([0, 0], ["a", "b"]), ([0, 1], ["a"]), ([0], ["a", "b"])]
)
def test_distance_figure_refuses_what_does_not_fit(order, labels):
    with pytest.raises(FacesemError, match=r"order|distances"):
        figures.distance_figure(np.zeros((2, 2)), np.array(order), labels)


def test_objective_figure_counts_iterations_from_one():
    axes = figures.objective_figure(np.array([5.0, 4.0, 3.5])).axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), [1, 2, 3])
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [5, 4, 3.5])
    assert axes.get_xscale() == "log"


def test_response_figure_shows_asked_measured_and_identity():
    asked, measured = np.array([-10.0, 0, 10]), np.array([-8.0, 0, np.nan])
    axes = figures.response_figure(asked, measured, "degrees").axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), asked)
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), measured)
    assert axes.get_xlabel() == "asked, degrees"
    pure = figures.response_figure(asked, measured, "1").axes[0]
    assert pure.get_ylabel() == "measured"
    with pytest.raises(FacesemError, match="measured has shape"):
        figures.response_figure(asked, measured[:2], "1")


def test_figures_are_transparent_and_take_their_palette():
    figure = figures.objective_figure(np.array([2.0, 1.0]), figures.DARK)
    axes = figure.axes[0]
    assert axes.lines[0].get_color() == figures.DARK.accent
    assert axes.xaxis.label.get_color() == figures.DARK.ink
    data = png.figure_png(figure, 96)
    pixels = _decode(data)
    width, height = figure.get_size_inches()
    assert pixels.shape == (int(96 * height), int(96 * width), 4)
    assert pixels[0, 0, 3] == 0 and pixels[..., 3].max() == 255
    assert b"http" not in data


def test_picture_png_keeps_pixels_or_rounds_them():
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3)).astype(np.uint8)
    pixels[0, 0], pixels[0, 1] = 0, 255
    np.testing.assert_array_equal(_decode(png.picture_png(pixels)), pixels)
    rounded = _decode(png.picture_png(pixels, step=5)).astype(int)
    assert np.all(rounded % 5 == 0) and np.abs(rounded - pixels).max() == 2
    np.testing.assert_array_equal(rounded[0, :2, 0], [0, 255])


def test_picture_png_refuses_other_arrays():
    with pytest.raises(FacesemError, match="uint8"):
        png.picture_png(np.zeros((4, 4, 3)))
    with pytest.raises(FacesemError, match="shape"):
        png.picture_png(np.zeros((4, 4), np.uint8))
    with pytest.raises(FacesemError, match="uint8 pixels"):
        png.picture_png(np.zeros((0, 4, 3), np.uint8))
    with pytest.raises(FacesemError, match="divisor of 255"):
        png.picture_png(np.zeros((4, 4, 3), np.uint8), step=4)


def test_component_figure_shows_every_map_under_its_name():
    maps = np.random.default_rng(0).normal(size=(5, 6, 6, 4))
    albedo = np.linspace(-1, 1, 108).reshape(6, 6, 3)
    labels = [f"mouth-{i}" for i in range(4)] + ["$x"]
    figure = component_figure.component_figure(maps, labels, albedo, columns=2)
    cells = figure.subfigs
    assert len(cells) == 6 and [c.get_suptitle() for c in cells[:5]] == labels
    shown = [axes.images[0].get_array() for axes in cells[4].axes]
    np.testing.assert_array_equal(shown, overlays.component_pictures(maps[4], albedo))
    drawn = _decode(png.figure_png(figure, 48, transparent=False))
    assert drawn.shape[-1] == 3 or (drawn[..., 3] == 255).all()


@pytest.mark.parametrize(
    ("shape", "labels", "columns", "message"),
    [
        ((2, 6, 6, 4), ["a"], 2, "maps"),
        ((0, 6, 6, 4), [], 2, "no component"),
        ((1, 6, 6, 4), ["a"], 0, "columns"),
    ],
)
def test_component_figure_refuses_what_does_not_fit(shape, labels, columns, message):
    with pytest.raises(FacesemError, match=message):
        component_figure.component_figure(np.zeros(shape), labels, np.zeros((6, 6, 3)), columns)
