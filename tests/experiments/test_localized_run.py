"""`experiments.localized` from end to end, on a pair of random networks."""

import json

import numpy as np
import pytest

from experiments import localized
from experiments.jacobian_stage import JacobianSettings, jacobian_stage
from experiments.localized import main
from experiments.localized_options import Options
from facesem_jax.checkpoint import checkpoint_digest
from facesem_jax.direction_files import load_directions
from facesem_jax.errors import FacesemError
from facesem_jax.loading import load_decomposer, load_generator
from facesem_jax.semantics.semantic_function import (
    ENVIRONMENT_NAMES,
    ENVIRONMENT_UNITS,
    local_semantics,
)

pytestmark = [pytest.mark.usefixtures("quick_compilation"), pytest.mark.whole_run]
W_DIM, SIZE, P = 16, 32, 4


def _options(pair, output, **changes):
    numbers = {
        "samples": 8,
        "components": P,
        "regression_samples": 64,
        "exact_samples": 2,
        "strip_faces": 1,
        "restarts": 1,
    }
    return Options(str(pair), str(pair), output=output, **(numbers | changes))


def _read(output):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    metrics = json.loads((output / "metrics.json").read_text(), parse_constant=refuse)
    with np.load(output / "components.npz") as data:
        return metrics, dict(data)


@pytest.fixture(scope="module")
def finished(pair, tmp_path_factory):
    output = tmp_path_factory.mktemp("run") / "out"
    main(_options(pair, output))
    return output


@pytest.fixture(scope="module")
def found(finished):
    return _read(finished)


def test_the_three_files_are_there_and_nothing_else(finished):
    names = sorted(p.name for p in finished.iterdir())
    assert names == ["components.npz", "metrics.json", "report.html"]
    assert [p.name for p in finished.parent.iterdir()] == ["out"]
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert page.lstrip().lower().startswith("<!doctype html>")


def test_arrays_have_their_documented_shapes(found):
    _, arrays = found
    assert arrays["U"].shape == (P, SIZE, SIZE, 4)
    assert arrays["V"].shape == (P, W_DIM)
    assert arrays["mean_jacobian"].shape == (SIZE, SIZE, 4, W_DIM)
    assert arrays["scale"].shape == (SIZE, SIZE, 4)
    assert arrays["labels"].shape == (P,)
    assert arrays["spreads"].shape == (P,) and (arrays["spreads"] > 0).all()
    for name in ENVIRONMENT_NAMES:
        assert arrays[f"environment/{name}"].shape == (W_DIM,)
        assert np.linalg.norm(arrays[f"environment/{name}"]) > 0
    assert all(np.isfinite(a).all() for k, a in arrays.items() if k != "labels")


def test_directions_are_unit_and_maps_vanish_on_the_border(found):
    _, arrays = found
    np.testing.assert_allclose(np.linalg.norm(arrays["V"], axis=1), 1, atol=1e-5)
    inside = np.zeros((SIZE, SIZE), bool)
    inside[3:-3, 3:-3] = True
    assert (arrays["scale"][~inside] == 0).all() and (arrays["scale"][inside] > 0).all()
    assert (arrays["U"][:, ~inside] == 0).all()
    objective = arrays["objective"]
    assert len(objective) > 1
    assert (np.diff(objective) <= 1e-5 * objective[:-1]).all()


def test_the_results_are_directions(finished, found):
    directions = load_directions(finished)
    np.testing.assert_array_equal(directions.vectors, found[1]["V"])
    assert directions.labels == tuple(found[1]["labels"])
    assert directions.about["generator_digest"] == found[0]["generator_digest"]


def test_numbers_follow_from_the_arrays(found):
    metrics, arrays = found
    scale = arrays["scale"]
    J = (scale[..., None] * arrays["mean_jacobian"]).reshape(-1, W_DIM)
    np.testing.assert_allclose(np.sum(J**2), W_DIM, rtol=1e-4)
    U = arrays["U"].reshape(P, -1)
    left = np.sum((J - U.T @ arrays["V"]) ** 2) / np.sum(J**2)
    np.testing.assert_allclose(metrics["explained_variance"], 1 - left, atol=1e-4)
    assert metrics["explained_variance"] > 0.3
    np.testing.assert_allclose(
        metrics["sparsity"], (U[:, scale.ravel() > 0] == 0).mean(), atol=1e-6
    )
    cosines = np.abs(arrays["V"] @ arrays["V"].T) - np.eye(P)
    np.testing.assert_allclose(metrics["max_abs_cosine"], cosines.max(), atol=1e-4)
    assert metrics["live_components"] == np.any(U != 0, axis=1).sum() == P
    energy = arrays["U"] ** 2
    assert [c["label"] for c in metrics["components"]] == arrays["labels"].tolist()
    for row, own in zip(metrics["components"], energy, strict=True):
        area = own.sum(axis=-1)
        assert 0 < row["effective_area"] <= 1
        # The participation ratio never exceeds the share of pixels that are not zero.
        assert row["effective_area"] <= (area > 0).mean() + 1e-6


def test_metrics_have_the_documented_keys(found, pair):
    metrics, arrays = found
    assert set(metrics) >= {
        "settings", "seconds", "versions", "device", "jacobian", "explained_variance", "sparsity",
        "max_abs_cosine", "components", "environment", "mantel", "restart_objectives",
    }  # fmt: skip
    assert metrics["settings"]["generator"] == str(pair)
    assert (metrics["settings"]["samples"], metrics["settings"]["alpha_used"]) == (8, 0.02)
    assert min(metrics["seconds"].values()) >= 0
    assert metrics["generator_digest"] == checkpoint_digest(pair / "generator")
    cost = metrics["jacobian"]
    assert cost["samples"] == 8
    np.testing.assert_allclose(
        cost["cost_ratio"],
        cost["seconds_per_sample"] / (W_DIM * cost["forward_seconds"]),
        rtol=1e-6,
    )
    np.testing.assert_allclose(metrics["restart_objectives"], arrays["objective"][-1:], rtol=1e-5)
    shares = ("edit_locality", "support_area", "region_confidence", "explained_variance_share")
    for row in metrics["components"]:
        assert row["live"] and row["region"] in row["label"].replace("-", " ")
        assert all(0 <= row[name] <= 1 for name in shares), row
        assert row["view_leakage_degrees"] > 0 and row["light_leakage"] > 0
    assert set(metrics["environment"]) == set(ENVIRONMENT_NAMES)
    for name, row in metrics["environment"].items():
        assert row["unit"] == ENVIRONMENT_UNITS[name]
        assert row["r2"] <= 1 and -1 <= row["cosine"] <= 1 and row["spread"] > 0
        asked = 20 if name in ("pitch", "yaw", "roll") else 2 * row["spread"]
        np.testing.assert_allclose(row["edit_asked"], asked, rtol=1e-6)
    assert -1 <= metrics["mantel"]["r"] <= 1 and 0 < metrics["mantel"]["p"] <= 1


def test_the_same_seed_gives_the_same_arrays_and_replaces_the_results(
    finished, found, pair, tmp_path, capsys
):
    for name in localized.FILES:
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out" / name).write_text("old")
    main(_options(pair, tmp_path / "out"))
    assert f"page: {tmp_path / 'out' / 'report.html'}" in capsys.readouterr().out
    metrics, arrays = _read(tmp_path / "out")
    assert set(arrays) == set(found[1])
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, found[1][name], err_msg=name)
    assert metrics["components"] == found[0]["components"]
    assert metrics["environment"] == found[0]["environment"]


def test_one_batch_of_samples_suffices(finished, found, pair, capsys):
    local = local_semantics(load_generator(pair), load_decomposer(pair), size=SIZE)
    latents = np.random.default_rng(0).normal(size=(4, W_DIM)).astype(np.float32)
    options = _options(pair, finished)
    jacobian, cost = jacobian_stage(local, latents, JacobianSettings(), lambda x, *_: x)
    assert jacobian.shape == (SIZE, SIZE, 4, W_DIM)
    assert cost["samples"] == 4
    json.dumps(cost, allow_nan=False)
    localized.summary(found[0] | {"jacobian": cost}, options)
    assert "Jacobian" in capsys.readouterr().out


def test_an_alpha_that_kills_every_component_is_a_result_or_a_clear_error(pair, tmp_path):
    try:
        main(_options(pair, tmp_path / "out", alpha=50.0))
    except FacesemError as error:
        assert "alpha" in str(error)
        assert not any(tmp_path.iterdir())
    else:
        assert _read(tmp_path / "out")[0]["live_components"] == 0
