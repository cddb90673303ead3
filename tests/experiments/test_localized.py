import re
import subprocess
import sys
import types

import numpy as np
import pytest
from flax import nnx

from experiments import localized
from experiments.localized import main
from experiments.localized_options import Options, joined_crop
from facesem_jax.command_line import run_command
from facesem_jax.decomposer.crop import CROPS
from facesem_jax.errors import FacesemError
from facesem_jax.generators.config import StyleGAN2Config
from facesem_jax.generators.stylegan2 import StyleGAN2

pytestmark = pytest.mark.usefixtures("quick_compilation")
P = 4


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
        (["--crop", "ffqh"], "unknown crop 'ffqh'; did you mean ffhq"),
        (["--truncation-psi", "nan"], "truncation_psi is nan; expected above 0"),
        (["--resume", "FILE"], "--resume .* is a file; name a directory"),
        (["--crop", "0.5,0.5,0.9,0.9"], "within the image"),
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


@pytest.mark.whole_run
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
