import dataclasses
import json

import jax
import numpy as np
import pytest

from experiments import decomposer_ablation as ablation
from experiments.ablation_faces import AMOUNT, HeldOut, edited_pairs
from experiments.ablation_measures import measure, relative_change, summary
from experiments.ablation_report import cell
from experiments.ablation_variants import VARIANTS, decomposer_config, loss_config
from experiments.face_sources import LatentSource
from facesem_jax.errors import FacesemError
from facesem_jax.training.face_stream import stream_latents

pytestmark = pytest.mark.usefixtures("quick_compilation")
SIZE, FACES, DIM = 32, 24, 4


@pytest.fixture(scope="module")
def faces():
    rng = np.random.default_rng(0)
    return HeldOut(
        images=rng.uniform(-1, 1, (FACES, SIZE, SIZE, 3)).astype(np.float32),
        latents=rng.standard_normal((FACES, DIM)).astype(np.float32),
        landmarks={k: rng.standard_normal(FACES) for k in ("pitch", "yaw", "roll")},
        edited=rng.uniform(-1, 1, (2, 4, 2, SIZE, SIZE, 3)).astype(np.float32),
    )


@pytest.fixture
def stubs(monkeypatch, tiny_decomposer, faces):
    """No stream and no training: every job gives the tiny decomposer; returns the jobs done."""
    done = []

    def train(name, seed, budget, encoder, directory):
        del budget, encoder
        directory.mkdir(parents=True)
        if name == "plain":
            raise FacesemError("step 3: {'loss': nan}; training diverged.")
        done.append((name, seed))
        return tiny_decomposer, 1.5

    monkeypatch.setattr(ablation, "held_out", lambda *_: faces)
    monkeypatch.setattr(ablation, "load_encoder", lambda _: None)
    monkeypatch.setattr(ablation, "train_variant", train)
    return done


def _options(output, **changes):
    return ablation.Options(output=output, variants=("full", "plain", "flip"), seeds=2, **changes)


def test_every_part_is_left_out_once():
    full = loss_config(VARIANTS["full"], 800)
    assert (full.hold_steps, full.ramp_steps, full.rotation_steps) == (320, 200, 400)
    assert full.exchange > 0 and full.perceptual > 0 and full.confidence and full.window
    named = {"flip": "symmetry", "perceptual": "perceptual", "coupling": "exchange"}
    named |= {"curriculum": "rotation_steps", "known": "turn_consistency"}
    for name, field in named.items():
        assert getattr(loss_config(VARIANTS[name], 800), field) == 0, name
    assert not loss_config(VARIANTS["confidence"], 800).confidence
    for name in ("prior", "release", "plain"):
        assert loss_config(VARIANTS[name], 800).release(1) == 1, name
    for name, variant in VARIANTS.items():
        has_prior = decomposer_config(variant, SIZE).depth_prior is not None
        assert has_prior == (name not in ("prior", "plain")), name
        changed = dataclasses.asdict(loss_config(variant, 800)) != dataclasses.asdict(full)
        assert changed == (name != "full"), name


@pytest.mark.whole_run
def test_a_stopped_ablation_goes_on_with_the_jobs_that_are_missing(stubs, tmp_path, capsys):
    ablation.main(_options(tmp_path))
    assert stubs == [("full", 0), ("flip", 0), ("full", 1), ("flip", 1)]
    ablation.job_path(tmp_path, "flip", 1).unlink()
    ablation.main(_options(tmp_path))
    assert stubs[4:] == [("flip", 1)]
    # More seeds may follow; other settings may not.
    ablation.main(dataclasses.replace(_options(tmp_path), seeds=3))
    assert stubs[5:] == [("full", 2), ("flip", 2)]
    with pytest.raises(FacesemError, match="other settings \\(steps\\)"):
        ablation.main(_options(tmp_path, steps=100))
    assert not list((tmp_path / "running").iterdir())
    assert "full: 3 seeds, convex" in capsys.readouterr().out


@pytest.mark.whole_run
def test_the_results_are_of_all_jobs(stubs, tmp_path):
    del stubs
    ablation.main(_options(tmp_path))
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert list(metrics["variants"]) == ["full", "flip", "plain"]
    assert metrics["variants"]["full"]["error"]["spread"] == 0
    plain = metrics["variants"]["plain"]
    assert plain["diverged"] == plain["seeds"] == 2 and plain["convex_seeds"] == 0
    page = (tmp_path / "report.html").read_text()
    table = (tmp_path / "table.md").read_text().splitlines()
    assert len(table) == 5 and table[4].startswith("| plain Unsup3D | – | 0 of 2 |")
    assert page.count("<img") == 2 and "no flip" in page and "0 of 2" in page


def test_an_unknown_variant_is_refused(tmp_path):
    with pytest.raises(FacesemError, match="no variant 'half'"):
        ablation.main(ablation.Options(variants=("half",), output=tmp_path))


@pytest.mark.whole_run
def test_a_damaged_job_is_named(stubs, tmp_path):
    del stubs
    ablation.main(_options(tmp_path))
    ablation.job_path(tmp_path, "full", 0).write_text("{")
    with pytest.raises(FacesemError, match="A job of full cannot be read"):
        ablation.main(_options(tmp_path))


@pytest.mark.whole_run
def test_the_measures_of_a_decomposer(tiny_decomposer, faces):
    found = measure(tiny_decomposer, faces)
    draw = jax.jit(lambda decomposer, x: decomposer.render(decomposer(x)))
    drawn, mask = draw(tiny_decomposer, faces.images)
    errors = [
        np.abs(np.clip(d, -1, 1) - x)[np.asarray(m)].mean()
        for d, x, m in zip(drawn, faces.images, mask, strict=True)
    ]
    np.testing.assert_allclose(found["error"], np.mean(errors), rtol=1e-4)
    assert 0 <= found["convex_faces"] <= 1 and -1 <= found["yaw"] <= 1
    np.testing.assert_allclose(found["yaw_r2"], found["yaw"] ** 2)
    for name in ("albedo_pose", "albedo_light", "depth_pose", "depth_light"):
        # Pictures of noise: those of one "face" are as far apart as any two.
        assert 0.3 < found[name] < 3, name
    blind = measure(tiny_decomposer, dataclasses.replace(faces, landmarks={}))
    assert "yaw" not in blind and blind["error"] == found["error"]
    assert summary([blind])["yaw_sign"] is None


def test_the_change_of_a_map_is_a_share_of_what_tells_faces_apart():
    rng = np.random.default_rng(0)
    first, weight = rng.normal(size=(500, 4, 4)), np.ones((4, 4))
    assert relative_change(np.stack([first, first], 1), weight) == 0
    apart = np.stack([first, rng.normal(size=first.shape)], 1)
    np.testing.assert_allclose(relative_change(apart, weight), 1, atol=0.05)
    half = np.stack([first, first], 1)
    half[:, 1, 0, 0] += 1
    expected = 1 / 16 / np.abs(first - np.roll(first, 1, 0)).mean()
    np.testing.assert_allclose(relative_change(half, weight), expected)
    weight[0, 0] = 0
    assert relative_change(half, weight) == 0
    assert relative_change(np.ones((5, 2, 4, 4)), np.ones((4, 4))) is None


def test_seeds_are_counted_and_averaged():
    jobs = [
        {"error": 0.1, "convex_faces": 0.9, "yaw": 0.7, "depth_pose": 0.2},
        {"error": 0.3, "convex_faces": 0.4, "yaw": -0.6, "depth_pose": None},
        {},
    ]
    row = summary(jobs)
    assert (row["seeds"], row["diverged"]) == (3, 1)
    assert row["convex_seeds"] == row["yaw_sign"] == 1 / 3
    np.testing.assert_allclose([row["error"]["mean"], row["error"]["spread"]], [0.2, 0.1])
    assert row["depth_pose"] == {"mean": 0.2, "spread": None}
    assert cell(row, "yaw_sign") == "1 of 3" and cell(row, "error") == "0.2 ± 0.1"
    assert cell(row, "depth_pose") == "0.2"
    assert cell(row, "albedo_pose") == "–"


@pytest.mark.whole_run
def test_edited_pairs_differ_along_the_direction_alone():
    source = LatentSource(
        lambda index, count: stream_latents(3, index, count, DIM),
        lambda z: z[:, :, None, None] / 10,
        "z",
        DIM,
    )
    found = edited_pairs(source, np.eye(DIM)[[1, 2]], 5)[..., 0, 0] * 10
    z = stream_latents(3, 0, 5, DIM)
    for k, axis in enumerate((1, 2)):
        others = np.arange(DIM) != axis
        np.testing.assert_allclose(found[k, :, 0, axis], AMOUNT, atol=1e-5)
        np.testing.assert_allclose(found[k, :, 1, axis], -AMOUNT, atol=1e-5)
        for side in (0, 1):
            np.testing.assert_allclose(found[k, :, side, others].T, z[:, others], atol=1e-5)


def test_an_unknown_generator_leaves_nothing(tmp_path):
    for changes in ({"generator": "nope"}, {"decomposer": "nope"}):
        with pytest.raises(FacesemError, match="called 'nope'"):
            ablation.main(ablation.Options(output=tmp_path / "out", **changes))
    assert not list(tmp_path.iterdir())
