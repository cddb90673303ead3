import json

import numpy as np
import pytest

from facesem_jax.array_files import npz_bytes, read_arrays
from facesem_jax.direction_files import directions_bytes, load_directions
from facesem_jax.errors import FacesemError
from facesem_jax.loading import bundled_names
from facesem_jax.semantics.semantic_function import ENVIRONMENT_NAMES

D, P = 8, 2


def _arrays():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(P, D))
    return {
        "U": rng.normal(size=(P, 4, 4, 4)).astype(np.float32),
        "V": (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32),
        "labels": np.array(["mouth-1", "nose-1"]),
        "spreads": np.array([0.5, 1.5], np.float32),
        "mean_jacobian": np.zeros((4, 4, 4, D), np.float32),
        "environment/yaw": rng.normal(size=D).astype(np.float32),
        "environment/roll": rng.normal(size=D).astype(np.float32),
    }


def _metrics():
    rows = [
        {"label": "mouth-1", "region": "mouth", "explained_variance_share": 0.4},
        {"label": "nose-1", "region": "nose", "explained_variance_share": None},
    ]
    return {
        "settings": {"generator": "tiny", "seed": 3, "output": "here"},
        "versions": {"jax": "1"},
        "generator_digest": "abc",
        "components": rows,
        "environment": {"yaw": {"r2": 0.8}, "roll": {"r2": 0.6}},
    }


@pytest.fixture
def run(tmp_path):
    """A directory as `experiments.localized` leaves it."""
    (tmp_path / "components.npz").write_bytes(npz_bytes(_arrays()))
    (tmp_path / "metrics.json").write_text(json.dumps(_metrics()))
    return tmp_path


def test_a_run_is_read(run):
    found = load_directions(run)
    arrays = _arrays()
    assert found.names == ("yaw", "roll") and found.labels == ("mouth-1", "nose-1")
    np.testing.assert_array_equal(found.gradients[0], arrays["environment/yaw"])
    np.testing.assert_array_equal(found.vectors, arrays["V"])
    np.testing.assert_array_equal(found.maps, arrays["U"])
    assert found.regions == ("mouth", "nose")
    np.testing.assert_allclose(found.shares, [0.4, np.nan])
    np.testing.assert_allclose(found.r2, [0.8, 0.6])
    assert found.about["generator_digest"] == "abc"
    assert found.about["settings"] == {"generator": "tiny", "seed": 3}


def test_the_arrays_alone_suffice(run):
    (run / "metrics.json").unlink()
    found = load_directions(run / "components.npz")
    assert found.regions == () and found.shares is None and found.about == {}


@pytest.mark.parametrize("maps", [True, False])
def test_what_is_written_is_read(run, maps):
    before = load_directions(run)
    content = directions_bytes(before, maps=maps)
    assert content == directions_bytes(before, maps=maps)
    (run / "kept.npz").write_bytes(content)
    after = load_directions(run / "kept.npz")
    for name in ("names", "labels", "regions", "about"):
        assert getattr(after, name) == getattr(before, name)
    for name in ("gradients", "vectors", "spreads", "shares", "r2"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
    if maps:
        np.testing.assert_allclose(after.maps, before.maps, rtol=1e-3)
        assert read_arrays(run / "kept.npz")["U"].dtype == np.float16
    else:
        assert after.maps is None


def test_directions_beside_a_model_are_found(run, tmp_path):
    content = directions_bytes(load_directions(run))
    model = tmp_path / "model"
    model.mkdir()
    (model / "directions.npz").write_bytes(content)
    assert load_directions(model).labels == ("mouth-1", "nose-1")
    (tmp_path / "none").mkdir()
    with pytest.raises(FacesemError, match=r"holds neither .*experiments.localized"):
        load_directions(tmp_path / "none")
    with pytest.raises(FacesemError, match=r"No directions called 'no-such'.*known: digiface64"):
        load_directions("no-such")


def _without(name):
    return {k: v for k, v in _arrays().items() if k != name}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (_without("V"), "'V' is missing"),
        (_without("spreads"), "'spreads' is missing.*run that again"),
        (_arrays() | {"V": np.ones((P, D), int)}, "holds int64"),
        (_arrays() | {"V": np.ones(D, np.float32)}, r"V has shape \(8,\)"),
        (_arrays() | {"V": np.full((P, D), np.nan, np.float32)}, "vectors holds NaN"),
        (_arrays() | {"labels": np.array(["a"])}, "vectors has shape"),
        (_arrays() | {"labels": np.array(["a", "a"])}, "'a' occurs twice"),
        (_arrays() | {"environment/yaw": np.ones(3, np.float32)}, "environment/yaw has shape"),
        (_arrays() | {"environment/smile": np.ones(D, np.float32)}, "'smile' is no global"),
        (_arrays() | {"about": np.array("{")}, "'about' is no JSON"),
        (_arrays() | {"about": np.array("[]")}, "'about' is no JSON object"),
    ],
)
def test_bad_contents_are_one_clear_error(tmp_path, arrays, message):
    path = tmp_path / "bad.npz"
    path.write_bytes(npz_bytes(arrays))
    with pytest.raises(FacesemError, match=message) as error:
        load_directions(path)
    assert "\n" not in str(error.value) and "holds no directions" in str(error.value)


@pytest.mark.parametrize("metrics", ["{", "[]", "{}", json.dumps(_metrics() | {"components": []})])
def test_numbers_of_another_run_are_refused(run, metrics):
    (run / "metrics.json").write_text(metrics)
    with pytest.raises(FacesemError, match=r"metrics\.json does not belong to these directions"):
        load_directions(run)


@pytest.mark.parametrize("name", bundled_names())
def test_the_bundled_directions_belong_to_their_generator(name):
    from facesem_jax.checkpoint import checkpoint_digest, read_description
    from facesem_jax.loading import resolve

    found = load_directions(name)
    generator = resolve(name, "generator")
    assert found.w_dim == read_description(generator).config["w_dim"]
    assert found.about["generator_digest"] == checkpoint_digest(generator)
    assert set(found.names) == set(ENVIRONMENT_NAMES)
    assert found.direction("mouth-1").region == "mouth"
    assert "seed" in found.about["settings"] and "jax" in found.about["versions"]
    assert (found.r2 > 0.5).all() and (found.spreads > 0).all()
    # Most of every map is exactly zero, which is what makes the file small.
    assert 0.5 < np.mean(found.maps == 0) < 0.99
    assert (generator.parent / "directions.npz").stat().st_size < 1.5e6
