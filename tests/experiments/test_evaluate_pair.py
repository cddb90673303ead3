import io
import json

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from experiments import agreement as a
from experiments import evaluate_pair, face_measures
from experiments.evaluation_report import print_report
from experiments.face_sources import FaceSet
from experiments.run_record import write_json
from experiments.training_snapshot import snapshot_decomposer
from facesem_jax.errors import FacesemError


def test_agreement_on_an_exact_line():
    reference = np.linspace(-40, 40, 81)
    found = a.agreement(0.5 * reference - 3, reference)
    assert found.count == 81
    np.testing.assert_allclose(
        [found.correlation, found.rank_correlation, found.slope, found.offset], [1, 1, 0.5, -3]
    )
    np.testing.assert_allclose(found.spread, 0.5 * found.reference_spread)
    assert a.agreement(-reference, reference).correlation == pytest.approx(-1)
    assert a.agreement(-reference, reference).slope == pytest.approx(-1)


def test_agreement_equals_scipys_on_noisy_data_and_skips_nan():
    rng = np.random.default_rng(0)
    x = rng.normal(size=200) * 20
    y = 0.4 * x + rng.normal(size=200) * 5
    found = a.agreement(np.append(y, [np.nan, 1e6]), np.append(x, [3.0, np.nan]))
    line = stats.linregress(x, y)
    assert found.count == 200
    np.testing.assert_allclose(found.correlation, line.rvalue)
    np.testing.assert_allclose(found.slope, line.slope)
    np.testing.assert_allclose(found.rank_correlation, stats.spearmanr(x, y).statistic)


def test_saturation_lowers_pearson_but_not_the_ranks():
    x = np.linspace(-60, 60, 121)
    found = a.agreement(8 * np.tanh(x / 8), x)
    assert found.rank_correlation == pytest.approx(1)
    assert found.correlation < 0.95


def test_agreement_without_data_is_nan():
    assert np.isnan(a.agreement(np.ones(2), np.ones(2)).correlation)
    constant = a.agreement(np.full(9, 0.1), np.arange(9.0))
    assert np.isnan(constant.correlation)
    assert constant.slope == pytest.approx(0)
    assert np.isnan(a.agreement(np.arange(9.0), np.ones(9)).slope)


def test_within_and_bands_show_saturation():
    reference = np.linspace(-44, 44, 89)
    measured = np.clip(reference, -10, 10)
    inner = a.within(measured, reference, 9)
    assert (inner.count, round(inner.slope, 6)) == (19, 1)
    assert a.within(measured, reference, 45).slope < 0.4
    first, second, third = a.bands(measured, reference, (0, 10, 20, 45))
    assert (first.count, second.count, third.count) == (19, 20, 50)
    assert first.gain == pytest.approx(1)
    assert second.gain == pytest.approx(10 / 14.5)
    assert third.gain == pytest.approx(10 / 32)


def test_the_slope_between_two_that_err_is_even_where_the_least_squares_line_bends():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=200_000) * 20
    spread = 2 + 0.2 * np.abs(truth)
    m, r = (truth + rng.normal(size=len(truth)) * spread for _ in range(2))
    m *= 1.2
    narrow, wide = (a.slope_between(m, r, limit) for limit in (15, 45))
    np.testing.assert_allclose([narrow, wide], 1.2, rtol=0.01)
    gains = [band.gain for band in a.bands(m, r, (0, 10, 40, 50))]
    assert gains[0] > 1.15 and gains[2] < 1.08
    # The roles change, the line does not.
    np.testing.assert_allclose(a.slope_between(r, m, 15 * m.std() / r.std()), 1 / narrow)
    # What truly bends is seen to.
    bent = 20 * np.tanh(m / 20)
    found = [a.slope_between(bent, r, limit) for limit in (5, 45)]
    assert found[1] < 0.85 * found[0]
    assert np.isnan(a.slope_between(m, np.zeros(len(m)), 15))
    assert np.isnan(a.slope_between(m[:2], r[:2], 15))
    assert a.slope_between(np.zeros(len(r)), r, 15) == 0


def test_bands_give_a_flipped_sign_a_negative_gain():
    reference = np.linspace(-20, 20, 41)
    assert a.bands(-0.5 * reference, reference, (0, 21))[0].gain == pytest.approx(-0.5)
    assert np.isnan(a.bands(reference, reference, (50, 60))[0].gain)


def test_worst_ranked_finds_the_planted_disagreements():
    reference = np.linspace(-40, 40, 50)
    measured = 5 * np.tanh(reference / 10)
    measured[10], measured[45] = 4.9, -2.0
    reference[0], measured[1] = np.nan, np.nan
    assert a.worst_ranked(measured, reference, 2).tolist() == [10, 45]


def test_luminance_and_its_left_right_difference():
    images = np.full((2, 8, 8, 3), -1.0)
    images[0, :, :4] = 1.0
    images[1, ..., 1] = 1.0
    found = face_measures.luminance_measurements(images)
    np.testing.assert_allclose(found["left_right"], [2, 0], atol=1e-12)
    np.testing.assert_allclose(found["luminance"], [0, 2 * 0.7152 - 1], atol=1e-12)


def bump(x0=0.0, y0=0.0, sign=-1.0) -> np.ndarray:
    y, x = np.mgrid[:64, :64] - 31.5
    return 1.1 + sign * 0.2 * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / 400)


def test_convex_depth_tells_a_face_from_a_hollow_one():
    assert face_measures.convex_depth(np.stack([bump(), bump(sign=1.0)])).tolist() == [True, False]


def test_depth_curvature_is_that_of_a_paraboloid_however_it_is_tilted():
    y, x = (np.mgrid[:48, :64] - np.array([23.5, 31.5])[:, None, None]) / 64
    bowl = 1 + 0.3 * x - 0.2 * y + 2 * (x**2 + y**2) / 2
    found = face_measures.depth_curvature(np.stack([bowl, 2 - bowl, 1 + 0.1 * x]))
    np.testing.assert_allclose(found, [2, -2, 0], atol=1e-10)
    assert (
        face_measures.depth_curvature(bump()[None])
        > 0
        > face_measures.depth_curvature(bump(sign=1.0)[None])
    )


def test_nearest_points_as_shares_of_the_frame():
    points = face_measures.nearest_points(np.stack([bump(-0.5, -0.5), bump(20.5, -0.5)]))
    np.testing.assert_allclose(points, [[0.4921875, 0.4921875], [0.8203125, 0.4921875]])
    assert face_measures.in_central_third(points).tolist() == [True, False]


def measurements(n=240):
    """A decomposer that halves every angle, on linear latents."""
    rng = np.random.default_rng(0)
    w = rng.normal(size=(n, 4))
    angles = {k: 12 * w[:, i] for i, k in enumerate(("pitch", "yaw", "roll"))}
    landmarks = angles | {"found": np.arange(n) % 10 > 0, "mouth_opening": w[:, 3] * 0.05}
    landmarks = {
        k: v if k == "found" else np.where(landmarks["found"], v, np.nan)
        for k, v in landmarks.items()
    }
    decomposed = {k: 0.5 * v for k, v in angles.items()}
    for i, name in enumerate(("ambient", "diffuse", "light_x", "light_y")):
        decomposed[name] = w[:, i]
    decomposed["depth"] = np.broadcast_to(bump(), (n, 64, 64))
    images = rng.uniform(-1, 1, (n, 8, 8, 3))
    return FaceSet(images, w, "w"), decomposed, landmarks


def test_report_has_the_numbers_and_prints():
    report = evaluate_pair.evaluate(*measurements())
    assert report["found"] == 0.9
    assert report["agreement"]["yaw"]["slope"] == pytest.approx(0.5)
    assert report["yaw_within"]["15"]["slope"] == pytest.approx(0.5)
    assert report["yaw_between"] == pytest.approx({"15": 0.5, "30": 0.5, "45": 0.5})
    assert report["linear_r2"]["values"]["landmark_mouth_opening"] > 0.99
    assert report["linear_r2"]["values"]["left_right"] < 0.2
    assert (report["depth"]["convex"], report["depth"]["nearest_central"]) == (1, 1)
    out = io.StringIO()
    print_report(report | {"decomposer": "d", "source": "s"}, Console(file=out, width=120))
    assert all(words in out.getvalue() for words in ("90.0%", "0.500", "0.50 within 15°"))


def test_a_reading_stands_beside_what_it_reads():
    report = evaluate_pair.evaluate(*measurements())
    for band in report["yaw_reading"]:
        if band["count"]:
            assert band["low"] <= band["reference"] < band["high"]
            assert band["reading"] == pytest.approx(band["reference"] / 2)
    assert sum(band["count"] for band in report["yaw_reading"]) == 216


def test_the_picture_error_is_that_of_the_covered_pixels():
    images = np.zeros((2, 4, 4, 3))
    covered = np.zeros((2, 4, 4), bool)
    covered[:, :2] = True
    drawn = np.where(covered[..., None], 0.5, -1.0) * np.ones(3)
    found = evaluate_pair.picture_error(images, {"reconstruction": drawn, "covered": covered})
    assert found == {"error": 0.5, "covered": 0.5, "whole": 0.75}


def test_images_without_faces_are_refused():
    faces, decomposed, landmarks = measurements()
    landmarks = landmarks | {"found": np.arange(240) < 3}
    with pytest.raises(FacesemError, match="in 3 of 240 images"):
        evaluate_pair.evaluate(faces, decomposed, landmarks)


def test_mirror_consistency_puts_the_signs_right():
    rng = np.random.default_rng(0)
    yaw, pitch, light = rng.normal(size=(3, 100))
    straight = {"yaw": yaw, "pitch": pitch, "light_x": light}
    mirrored = {"yaw": -yaw, "pitch": pitch, "light_x": light}
    found = evaluate_pair.mirror_consistency(straight, mirrored)
    assert found == pytest.approx({"yaw": 1, "pitch": 1, "light_x": -1})


def test_json_has_null_for_nan(tmp_path):
    write_json(tmp_path / "e.json", {"a": [float("nan"), 1.5], "b": {"c": None}})
    assert json.loads((tmp_path / "e.json").read_text()) == {"a": [None, 1.5], "b": {"c": None}}
    assert [p.name for p in tmp_path.iterdir()] == ["e.json"]


def test_a_directory_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(FacesemError, match="holds no checkpoint"):
        snapshot_decomposer(tmp_path)
