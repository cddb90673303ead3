import json
import re
import subprocess
import sys
import types

import numpy as np
import pytest
from flax import nnx

from experiments import localized
from experiments.jacobian_stage import JacobianSettings, jacobian_stage
from experiments.localized import main
from experiments.localized_options import Options, joined_crop
from facesem_jax.checkpoint import checkpoint_digest
from facesem_jax.command_line import run_command
from facesem_jax.decomposer.crop import CROPS
from facesem_jax.direction_files import load_directions
from facesem_jax.errors import FacesemError
from facesem_jax.generators.config import StyleGAN2Config
from facesem_jax.generators.stylegan2 import StyleGAN2
from facesem_jax.loading import load_decomposer, load_generator
from facesem_jax.semantics.semantic_function import (
    ENVIRONMENT_NAMES,
    ENVIRONMENT_UNITS,
    local_semantics,
)

pytestmark = pytest.mark.usefixtures("quick_compilation")
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


@pytest.fixture(scope="module")
def small_generator(random_module, save_generator, tmp_path_factory):
    config = StyleGAN2Config(16, (4, 4, 4), z_dim=8, w_dim=8, mapping_layers=1)
    build = lambda: StyleGAN2(config, rngs=nnx.Rngs(0))  # noqa: E731
    directory = tmp_path_factory.mktemp("small") / "generator"
    save_generator(directory, random_module(build, unit_kernels=True))
    return directory


def _arguments(pair, output):
    return ["--generator", pair, "--decomposer", pair, "--output", output, "--components", P]


def _run(monkeypatch, capsys, *arguments):
    """Exit code and lines of stderr of the command line, in this process."""
    monkeypatch.setattr(sys, "argv", ["localized", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        run_command(main, Options)
    captured = capsys.readouterr()
    assert captured.out == ""
    return stop.value.code, captured.err.strip().splitlines()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--generator", "no-such"], "No generator called 'no-such'.*known: alpha64, beta64"),
        (["--decomposer", "no-such"], "No decomposer called 'no-such'.*known: alpha64, beta64"),
        (["--generator", "EMPTY"], r"EMPTY is no facesem-jax checkpoint.*description\.json"),
        (["--generator", "PAIR/decomposer"], "holds a decomposer .*a generator is wanted"),
        (["--components", "17"], "num_components is 17, more than w_dim = 16"),
        (["--components", "0"], "components is 0; expected at least 1"),
        (["--samples", "0"], "samples is 0"),
        (["--regression-samples", "63"], "regression_samples is 63; expected at least 64"),
        (["--alpha", "-1"], "alpha is -1.0; expected a finite number"),
        (["--beta", "nan"], "beta is nan; expected a finite number"),
        (["--crop", "moon"], "unknown crop 'moon'; known are identity"),
        (["--crop", "0.5,0.5,0.9,0.9"], "leaves the image"),
        (["--crop", "1,2,x,4"], "four fractions"),
        (["--generator", "SMALL"], "makes 16x16 images .* reads 32x32.*--crop ffhq"),
        (["--output", "FILE"], "FILE is a file; name a directory"),
        (["--output", "FILE/below"], "cannot be written"),
        (["--output", "EMPTY"], r"holds other files \(notes.txt\)"),
        (
            ["--target-sparsity", "0.5", "--target-explained-variance", "0.5"],
            "Give target_sparsity or target_explained_variance, not both",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_clear_line_and_leaves_nothing(
    arguments, message, pair, small_generator, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("facesem_jax.loading.bundled_names", lambda: ("alpha64", "beta64"))
    (tmp_path / "FILE").write_text("mine")
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "EMPTY" / "notes.txt").write_text("mine")
    places = {"PAIR": pair, "SMALL": small_generator}
    for name in ("FILE", "EMPTY"):
        places[name] = tmp_path / name
    for name, place in places.items():
        arguments = [a.replace(name, str(place)) for a in arguments]
    before = sorted(tmp_path.rglob("*"))
    defaults = _arguments(pair, tmp_path / "out")
    code, lines = _run(monkeypatch, capsys, *defaults, *arguments)
    assert code == 2
    assert len(lines) == 1 and lines[0].startswith("error: ")
    for name in ("FILE", "EMPTY"):
        lines[0] = lines[0].replace(str(tmp_path / name), name)
    assert re.search(message, lines[0]), lines[0]
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments", [["--target-sparsity", "1.5"], ["--target-sparsity", "0"], ["--seed", "-1"]]
)
def test_bad_numbers_are_refused_before_the_work(arguments, pair, tmp_path, monkeypatch, capsys):
    def refuse(*_, **__):
        raise AssertionError("the work began")

    monkeypatch.setattr(localized.stages, "in_batches", refuse)
    defaults = _arguments(pair, tmp_path / "out")
    code, lines = _run(monkeypatch, capsys, *defaults, *arguments)
    assert code == 2 and len(lines) == 1
    assert arguments[0].removeprefix("--").replace("-", "_") in lines[0]


def test_the_command_runs_as_a_module(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "experiments.localized", "--generator", "no-such",
         "--output", "new/out"],
        cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: No generator called 'no-such'")
    assert not list(tmp_path.rglob("out*"))


def test_quick_reduces_and_never_raises_a_number():
    full, quick = Options(quick=True).checked(), Options(quick=True, samples=3, components=5)
    assert full.samples < Options().samples
    assert full.regression_samples < Options().regression_samples
    assert full.restarts == 1
    # Too many components must stay too many, to be refused as in a full run.
    assert Options(quick=True, components=400).checked().components == 400
    quick = quick.checked()
    assert (quick.samples, quick.components, quick.alpha) == (3, 5, Options().alpha)
    assert Options().checked() == Options()


def test_a_crop_is_asked_for_only_where_the_sizes_differ():
    def sized(**config):
        return types.SimpleNamespace(config=types.SimpleNamespace(**config))

    decomposer = sized(image_size=64)
    assert joined_crop(sized(resolution=64), decomposer, None) is None
    assert joined_crop(sized(resolution=256), decomposer, CROPS["ffhq"]) == CROPS["ffhq"]
    with pytest.raises(FacesemError, match=r"256x256 .* 64x64.*--crop identity"):
        joined_crop(sized(resolution=256), decomposer, None)


def test_fewer_than_three_live_directions_have_no_mantel_test():
    live = np.array([True, False, True])
    table = types.SimpleNamespace(live=live, V=np.eye(3), U=np.zeros((3, 8, 8, 4)))
    distances, order, test = localized.relations(table, 0)
    assert distances.shape == (2, 2) and order.tolist() == [0, 1]
    assert test == {"r": None, "p": None}


def test_large_images_are_drawn_fewer_at_once():
    def held(resolution):
        generator = types.SimpleNamespace(config=types.SimpleNamespace(resolution=resolution))
        semantics = types.SimpleNamespace(generator=generator)
        return {localized.stages.images_at_once(f) for f in (generator, semantics)}

    assert [held(r) for r in (32, 64, 128, 256, 512, 1024)] == [{64}, {64}, {64}, {16}, {4}, {1}]
