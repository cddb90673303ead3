import numpy as np
import pytest

from experiments import augment_sets
from experiments.augment import Options, summarise
from experiments.augment_report import render_report
from facesem_jax.errors import FacesemError

D = 6


def _faces(count, seed=0, spread=1.0):
    """Flat faces whose brightness is their label, which w holds linearly."""
    rng = np.random.default_rng(seed)
    labels = spread * rng.uniform(-1, 1, count)
    latents = 0.3 * rng.normal(size=(count, D))
    latents[:, 0] = 2 * labels
    images = np.repeat(labels, 64 * 3).reshape(count, 8, 8, 3) / 4
    return augment_sets.Labelled(images, latents, labels)


def _draw(ws):
    return np.repeat(ws[:, 0] / 2, 64 * 3).reshape(len(ws), 8, 8, 3) / 4


AXIS = np.eye(D)[0]
WAY = augment_sets.Extrapolation(3 * AXIS, AXIS / 3, _draw)


def test_extrapolated_faces_are_what_their_labels_say():
    narrow = _faces(50, spread=0.2)
    images, labels = augment_sets.extrapolated(narrow, 400, 1.0, WAY, np.random.default_rng(0))
    np.testing.assert_allclose(images[:, 0, 0, 0] * 4, labels, atol=1e-6)
    assert labels.min() < -0.9 and labels.max() > 0.9


def test_copies_mirror_every_other_face_and_its_label():
    narrow = _faces(20)
    narrow.images[:, :, :4] += 0.1
    images, labels = augment_sets.copies(narrow, 200, np.random.default_rng(0))
    brighter_left = images[:, :, 0].mean((1, 2)) > images[:, :, -1].mean((1, 2))
    np.testing.assert_array_equal(brighter_left, np.arange(200) % 2 == 1)
    known = np.sort(narrow.labels)
    assert np.isin(np.where(np.arange(200) % 2, labels, -labels), known).all()


def test_even_rows_are_even_and_do_not_repeat():
    labels = np.random.default_rng(0).normal(size=4000)
    rows = augment_sets.even_rows(labels, 2.0, 800, np.random.default_rng(1))
    assert len(set(rows.tolist())) == 800
    counts = np.histogram(labels[rows], bins=16, range=(-2, 2))[0]
    assert counts.sum() == 800 and counts.max() - counts.min() <= 1
    few = augment_sets.even_rows(labels[:40], 2.0, 800, np.random.default_rng(1))
    assert len(few) == np.sum(np.abs(labels[:40]) < 2)


@pytest.mark.parametrize("way", augment_sets.WAYS)
def test_sets_begin_with_the_narrow_faces(way):
    pool = _faces(300, seed=1)
    rows = np.flatnonzero(np.abs(pool.labels) < 0.2)[:10]
    images, labels = augment_sets.training_set(way, rows, pool, 1.0, WAY, [3])
    np.testing.assert_array_equal(images[:10], pool.images[rows])
    assert len(images) == len(labels) == (10 if way == "nothing" else 30)
    wide = np.abs(labels).max() > 0.8
    assert wide == (way in ("extrapolated", "balanced"))
    again, _ = augment_sets.training_set(way, rows, pool, 1.0, WAY, [3])
    np.testing.assert_array_equal(images, again)


def test_the_ceiling_has_no_face_twice():
    # Nearly all of the pool is wanted: none of the narrow faces may fill a gap.
    pool = _faces(31, seed=1)
    _, labels = augment_sets.training_set("balanced", np.arange(10), pool, 1.0, WAY, [3])
    assert len(labels) == 30 and len(set(labels.tolist())) == 30


def test_an_unknown_way_is_refused():
    with pytest.raises(FacesemError, match="unknown way"):
        augment_sets.training_set("more", np.arange(4), _faces(8), 1.0, WAY, [0])


def test_gains_come_with_intervals_that_hold_them():
    rng = np.random.default_rng(0)
    size = np.tile([0.2, 0.7, 1.2, 1.7], 100)
    base = 1 + 0.1 * rng.normal(size=(3, 400))
    errors = base - np.where(size > 1.5, 0.5, 0.0) + 0.01 * rng.normal(size=(3, 400))
    found = summarise(errors, base, size, 0)
    assert found["faces"] == 400 and found["gain"] == pytest.approx(0.125, abs=0.01)
    inner, outer = found["bins"][0], found["bins"][-1]
    assert outer["low"] < 0.5 < outer["high"] and outer["gain"] == pytest.approx(0.5, abs=0.01)
    assert inner["low"] < 0 < inner["high"]


def test_the_page_states_who_wins():
    part = {"faces": 4, "mean": 3.0, "std": 0.1, "gain": 1.0, "low": 0.5, "high": 1.5}
    ways = {way: part | {"bins": [part] * 4} for way in augment_sets.WAYS}
    numbers = {
        "unit": "degrees",
        "std": 20.0,
        "narrow": 10.0,
        "wide": 40.0,
        "test_faces": 100,
        "sizes": {"32": ways, "512": ways},
        "labels": {"found": 0.9, "slope": 0.8, "error": 4.0, "correlation": 0.95},
    }

    class Results:
        metrics = {"labels": {"yaw": numbers}}  # noqa: RUF012
        shown = {"yaw": (np.zeros((2, 3, 8, 8, 3)), np.array([-40.0, 0, 40]))}  # noqa: RUF012

    page = render_report(Results())
    assert "extrapolated ones lower the error" in page and "slope 0.8" in page


@pytest.mark.parametrize(("name", "value"), [("seeds", 0), ("sizes", (4,)), ("pool", 10)])
def test_numbers_out_of_range_are_refused(name, value):
    with pytest.raises(FacesemError, match=name):
        Options(**{name: value}).checked()
    assert Options(quick=True).checked().seeds == 2
