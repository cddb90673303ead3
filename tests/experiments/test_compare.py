import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import compare, compare_measures
from experiments.compare_methods import REGIONS, region_masks
from experiments.compare_results import COLUMNS, summarise, winners
from facesem_jax.errors import FacesemError
from facesem_jax.semantics.semantic_function import environment_semantics, local_semantics

pytestmark = pytest.mark.usefixtures("quick_compilation")
SIZE, W_DIM = 32, 8


@jax.tree_util.register_static
class Bands:
    """A generator whose picture has eight bands, each the brightness of one entry of w."""

    config = types.SimpleNamespace(resolution=SIZE, w_dim=W_DIM, z_dim=W_DIM)

    def mapping(self, z):
        return z

    def synthesis(self, w):
        bands = jnp.repeat(0.2 * w, SIZE // W_DIM, axis=1)
        return jnp.broadcast_to(bands[:, :, None, None], (w.shape[0], SIZE, SIZE, 3))


@jax.tree_util.register_static
class Reader:
    """A decomposer that reads the picture as albedo, and yaw off its first band."""

    config = types.SimpleNamespace(image_size=SIZE)

    def albedo(self, images):
        return images

    def depth(self, images):
        return 1 + 0.01 * images.mean(axis=-1)

    def view(self, images):
        return images[:, :6, 0, 0] * jnp.array([0.0, 1.0, 0.0, 0, 0, 0])

    def light(self, images):
        return images[:, -4:, 0, 0]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setattr(compare, "load_pair", lambda *_: (Bands(), Reader(), None))
    patch.setattr(compare, "checkpoint_digest", lambda _: "abc")
    output = tmp_path_factory.mktemp("run") / "out"
    numbers = {"jacobian_samples": 2, "region_samples": 1, "samples": 64, "components": 8}
    try:
        compare.main(
            compare.Options(directions=4, faces=3, observers=False, output=output, **numbers)
        )
    finally:
        patch.undo()
    return output


@pytest.mark.whole_run
def test_all_methods_but_those_for_other_generators_are_measured(finished):
    metrics = json.loads((finished / "metrics.json").read_text())
    assert "SeFa" in metrics["left_out"]
    assert "StyleGAN" in metrics["left_out"]["SeFa"]
    for name in ("local (ours)", "PCA of J*", "ICA of J*", "GANSpace", "random"):
        row = metrics["methods"][name]
        assert row["directions"] == 4 and row["reached"] == 1
        assert {"locality", "purity", "view", "light", "seconds"} <= set(row)
    assert "identity" in metrics["absent"] and "yaw" in metrics["absent"]
    page = (finished / "report.html").read_text()
    assert "SeFa is left out" in page and "mediapipe==0.10.14" in page


@pytest.mark.whole_run
def test_bands_are_more_local_than_mixtures(finished):
    rows = json.loads((finished / "metrics.json").read_text())["methods"]
    ours, floor = rows["local (ours)"], rows["random"]
    assert ours["locality"]["mean"] > floor["locality"]["mean"]
    # Four orthogonal directions of eight that count alike.
    assert floor["latent_share"]["mean"] == pytest.approx(0.5, abs=0.2)
    with np.load(finished / "directions.npz") as data:
        vectors = data["local (ours)/vectors"]
    assert np.abs(vectors).max(axis=1).min() > 0.95  # One band each.


def test_every_edit_changes_the_pictures_equally_much():
    f = environment_semantics(Bands(), Reader(), size=SIZE)
    faces = np.random.default_rng(0).normal(size=(3, W_DIM)).astype(np.float32)
    vectors = np.stack([np.eye(W_DIM)[0], np.ones(W_DIM) / np.sqrt(W_DIM)])
    found = compare_measures.calibrated(f, faces, vectors, np.full(2, 2.0), 0.1)
    # A band is an eighth of the picture: rms 0.2 t / sqrt(8) for either direction.
    np.testing.assert_allclose(found.steps, 0.1 * np.sqrt(8) / 0.2, rtol=0.02)


def test_leaks_are_in_spreads():
    faces = np.zeros((2, W_DIM), np.float32)
    f = environment_semantics(Bands(), Reader(), size=SIZE)
    local = local_semantics(Bands(), Reader(), size=SIZE)
    spreads = np.ones(len(f.names))
    spreads[f.names.index("yaw")] = 2.0
    found = compare_measures.measure(
        local,
        f,
        np.ones((SIZE, SIZE, 4)),
        spreads,
        faces,
        np.eye(W_DIM)[:2],
        0.05,
        [lambda images: {"seen": images[:, 1, 0, 0]}],
        None,
        compare_measures.silent,
        "",
    )
    yaw = np.degrees(0.2 * found.steps[0])
    np.testing.assert_allclose(found.view[0], yaw / 2 / np.sqrt(3), rtol=1e-4)
    np.testing.assert_allclose(found.view[1], 0, atol=1e-4)
    np.testing.assert_allclose(found.observed["seen"][0], 0.2 * found.steps[0], rtol=1e-4)
    assert (found.locality[0] > 0.3).all()


def test_every_region_has_a_place():
    masks = region_masks(64)
    assert tuple(masks) == REGIONS and all(m.any() for m in masks.values())
    eyes = masks["eye"]
    np.testing.assert_array_equal(eyes, eyes[:, ::-1])


def _row(mean, low=None, high=None):
    return {"mean": mean} | ({} if low is None else {"low": low, "high": high})


def test_winners_are_told_from_those_they_tie_with():
    rows = {
        "a": {"locality": _row(0.5, 0.45, 0.55), "seconds": _row(10.0)},
        "b": {"locality": _row(0.48, 0.4, 0.56), "seconds": _row(1.0)},
        "c": {"locality": _row(0.3, 0.25, 0.35), "seconds": _row(2.0)},
        "told": {"locality": _row(0.9, 0.8, 1.0), "seconds": _row(0.1)},
    }
    found = winners(rows, {"a", "b", "c"})
    assert found["locality"] == {"best": "a", "tied": ["b"]}
    assert found["seconds"] == {"best": "b", "tied": []}
    assert "yaw" not in found and set(found) <= set(COLUMNS)


def test_summaries_are_over_faces():
    measured = types.SimpleNamespace(
        locality=np.full((2, 3), 0.5),
        purity=np.full((2, 3), 0.4),
        view=np.ones((2, 3)),
        light=np.ones((2, 3)),
        observed={"identity": np.full((2, 3), np.nan)},
        regions=["mouth", "eyes"],
        reached=np.array([True, False]),
    )
    directions = types.SimpleNamespace(vectors=np.eye(4)[:2], names=("x-1", "x-2"))
    found = types.SimpleNamespace(directions=directions, seconds=2.0, needs="weights")
    row = summarise({"x": found}, {"x": measured}, np.eye(4), np.eye(4), 0)["x"]
    assert row["locality"] == {"mean": 0.5, "low": 0.5, "high": 0.5}
    assert row["jacobian_share"]["mean"] == 0.5 and row["reached"] == 0.5
    assert np.isnan(row["identity"]["mean"]) and row["max_cosine"]["mean"] == 0


@pytest.mark.parametrize(("name", "value"), [("directions", 0), ("faces", 1), ("change", 0.0)])
def test_numbers_out_of_range_are_refused(name, value):
    with pytest.raises(FacesemError, match=name):
        compare.Options(**{name: value}).checked()
    assert compare.Options(quick=True).checked().directions == 4
