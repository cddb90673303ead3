import base64
import dataclasses
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from experiments import report_html
from experiments.localized_report import render_report
from experiments.localized_results import ComponentTable, Faces, LocalizedResults, Strip

HOSTILE = '<script>alert("x")</script>'
SIZE = 16


def _results():
    rng = np.random.default_rng(0)

    def images(*shape):
        return rng.uniform(-1, 1, (*shape, SIZE, SIZE, 3))

    live = np.array([True, True, True, False, False])
    U = rng.normal(size=(5, SIZE, SIZE, 4)) * live[:, None, None, None]
    labels = ["nose-1", HOSTILE, "mouth-1", "dead-1", "dead-2"]
    components = ComponentTable(
        U=U,
        V=np.eye(5, 8),
        labels=labels,
        regions=["nose", "left eye", "mouth", "dead", "dead"],
        confidence=np.array([0.9, 0.8, 0.7, 0, 0]),
        shares=np.array([0.5, 0.2, 0.1, 0, 0]),
        effective_area=np.array([0.123, 0.2, 0.3, 0, 0]),
        edit_locality=np.array([0.654, 0.5, np.nan, np.nan, np.nan]),
        support_area=np.array([0.111, 0.1, 0.1, 0, 0]),
        view_leakage_degrees=np.array([1.57, 0.2, np.nan, np.nan, np.nan]),
        light_leakage=np.array([0.013, 0.2, 0.3, np.nan, np.nan]),
        live=live,
    )
    faces = Faces(
        images=images(3),
        reconstruction=images(3),
        albedo=images(3),
        depth=rng.uniform(0.95, 1.05, (3, SIZE, SIZE)),
        normals=np.broadcast_to([0.0, 0, 1], (3, SIZE, SIZE, 3)),
        canonical=images(3),
        view=np.array([[1.0, -12.34, 3], [np.nan, 5, 6], [7, 8, 9]]),
        light=np.full((3, 4), 0.25),
    )
    amounts = np.array([-2.0, 0, 2])
    metrics = {
        "settings": {"alpha": 0.02, "note": HOSTILE, "target": None},
        "seconds": {"jacobian": 10.0, "factorise": 2.5},
        "versions": {"jax": "0.0.1"},
        "device": "cpu",
        "jacobian": {"cost_ratio": 21.5},
        "explained_variance": 0.951,
        "sparsity": float("nan"),
        "max_abs_cosine": 0.68,
        "stop_reason": "tolerance & patience",
        "environment": {
            "yaw": {
                "unit": "degrees",
                "r2": 0.876,
                "cosine": 0.987,
                "edit_asked": 20.0,
                "edit_measured": 17.5,
            }
        },
        "mantel": {"r": None, "p": 1.0},
    }
    return LocalizedResults(
        metrics=metrics,
        samples=images(6),
        faces=faces,
        mean_albedo=images(),
        environment=[Strip("yaw", "degrees", amounts * 10, images(2, 3), amounts * 9)],
        components=components,
        strips=[Strip(label, "w", amounts, images(2, 3)) for label in labels[:2]],
        distances=np.ones((3, 3)) - np.eye(3),
        order=np.array([1, 0, 2]),
        objective=np.array([9.0, 5, 4]),
    )


@pytest.fixture(scope="module")
def page():
    return render_report(_results())


class _Page(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.open, self.words, self.images, self.ids, self.links = [], [], [], [], []
        self.tags, self.balanced = set(), True
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.add(tag)
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.links += [attrs["href"]] if "href" in attrs else []
        if tag == "img":
            self.images.append(attrs)
        if tag not in ("img", "meta", "source", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        self.balanced &= bool(self.open) and self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_is_well_formed_and_refers_only_to_itself(page):
    parsed = _Page(page)
    assert parsed.balanced and not parsed.open
    assert "script" not in parsed.tags and "link" not in parsed.tags
    assert "http://" not in page and "https://" not in page and "url(" not in page
    assert len(set(parsed.ids)) == len(parsed.ids)
    assert parsed.links and all(link.startswith("#") for link in parsed.links)
    assert {link[1:] for link in parsed.links} <= set(parsed.ids)
    assert all(image["src"].startswith("data:image/png;base64,") for image in parsed.images)
    assert all(image["alt"] for image in parsed.images)


def test_strips_are_grouped_by_region():
    results = _results()
    table = results.components
    strips = [Strip(label, "w", np.array([-1.0, 0, 1]), results.strips[0].images) for label in
              (table.labels[0], table.labels[1], table.labels[0])]  # fmt: skip
    page = render_report(dataclasses.replace(results, strips=strips))
    places = [page.index(f'id="strip-{i}"') for i in range(3)]
    heads = [page.index(f'id="region-{k}"') for k in range(2)]
    assert table.regions[0] != table.regions[1]
    # Both strips of the first region stand below its head, before the next region's.
    assert heads[0] < places[0] < places[2] < heads[1] < places[1]
    assert 'id="region-2"' not in page


def test_every_live_label_appears_and_hostile_text_is_escaped(page):
    words = "".join(_Page(page).words)
    for label in ("nose-1", HOSTILE, "mouth-1"):
        assert label in words
    assert "<script" not in page and "tolerance &amp; patience" in page
    assert "dead-1" not in page
    assert "2 of 5 components are dead" in page


def _sizes(parsed):
    for image in parsed.images:
        data = base64.b64decode(image["src"].split(",", 1)[1])
        yield image["alt"], Image.open(io.BytesIO(data)).size, image


def test_pictures_decode_to_their_native_sizes(page):
    sizes = {alt: (size, image) for alt, size, image in _sizes(_Page(page))}
    expected = {
        "6 generated faces": (6 * SIZE, SIZE),
        "albedo map of nose-1": (SIZE, SIZE),
        "depth map of mouth-1": (SIZE, SIZE),
        "Difference between the largest amount and 0 along nose-1": (SIZE, 2 * SIZE),
        "2 faces moved along nose-1 by −2, 0, 2 in W": (3 * SIZE, 2 * SIZE),
        "2 faces moved along yaw by −20, 0, 20 degrees": (3 * SIZE, 2 * SIZE),
    }
    for alt, size in expected.items():
        assert sizes[alt][0] == size
        assert sizes[alt][1]["class"] == "pixels"
    decomposition = next(size for alt, (size, _) in sizes.items() if "Decomposition" in alt)
    assert decomposition == (3 * SIZE, 6 * SIZE)
    # Plots carry twice the pixels that they are drawn at.
    (width, _), plot = sizes["Measured against asked change of yaw"]
    assert abs(width - 2 * int(plot["width"])) <= 2


def test_numbers_stand_with_their_units(page):
    assert "95.1\u00a0%" in page  # explained variance
    assert "20° → 17.5°" in page
    assert "−12.3°" in page  # yaw of the first face
    assert re.search(r"65.4\u00a0% \(11.1\u00a0%\)", page)  # locality beside an even change
    assert "1.57°" in page and "0.876" in page and "21.5" in page
    assert "<dt>effective area</dt><dd>12.3\u00a0%</dd>" in page
    assert '<th scope="row">total</th><td>12.5</td>' in page


def test_missing_and_nan_become_a_dash(page):
    assert '<th scope="row">Sparsity</th><td>–</td>' in page
    assert '<th scope="row">Mantel correlation r</th><td>–</td>' in page
    assert '<th scope="row">target</th><td>–</td>' in page
    assert '<span class="value">–</span>' in page  # a face's pitch
    words = " ".join(_Page(page).words)
    assert not re.search(r"\b(nan|NaN|None|null)\b", words)


def test_a_page_of_nothing_still_renders():
    results = _results()
    table = results.components
    dead = dataclasses.replace(table, U=0 * table.U, live=np.zeros(5, bool))
    empty = render_report(
        dataclasses.replace(
            results,
            metrics={},
            samples=results.samples[:0],
            environment=[],
            components=dead,
            strips=[],
            distances=np.zeros((0, 0)),
            order=np.zeros(0, int),
            objective=np.zeros(0),
        )
    )
    assert "Of 5 local components, 0 are live." in empty
    assert "5 of 5 components are dead" in empty
    for words in ("No samples.", "No strips.", "No live components.", "No iterations."):
        assert words in empty


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.12345, "0.123"),
        (-2.0, "−2"),
        (1234.5, "1234"),
        (np.float32(0.5), "0.5"),
        (0, "0"),
        (None, "–"),
        ("x", "–"),
        ([1], "–"),
        (np.float32("nan"), "–"),
        (np.inf, "–"),
    ],
)
def test_number(value, expected):
    assert report_html.number(value) == expected


def test_percent_has_no_negative_zero():
    assert report_html.percent(-0.0001) == "0.0\u00a0%"
    assert report_html.percent(-0.25, 0) == "−25\u00a0%"
