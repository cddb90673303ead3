import json
import re

import numpy as np
import pytest

from experiments.environment import FILES, Options, main
from experiments.environment_stages import sample_counts
from facesem_jax.errors import FacesemError
from facesem_jax.semantics.semantic_function import ENVIRONMENT_NAMES

pytestmark = pytest.mark.usefixtures("quick_compilation")
K, W_DIM = len(ENVIRONMENT_NAMES), 16


@pytest.fixture(scope="module")
def finished(pair, tmp_path_factory):
    output = tmp_path_factory.mktemp("run") / "out"
    numbers = {"samples": 300, "exact_samples": 20, "heldout": 64, "edited": 4, "points": 2}
    main(Options(str(pair), str(pair), strip_faces=1, output=output, **numbers))
    return output


@pytest.fixture(scope="module")
def arrays(finished):
    with np.load(finished / "environment.npz") as data:
        return dict(data)


@pytest.mark.whole_run
def test_the_files_are_there_and_nothing_else(finished):
    assert sorted(p.name for p in finished.iterdir()) == sorted(FILES)
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>") and page.count("<h2>") == 6
    written = re.sub(r"data:[^\"]*", "", page)
    assert "http:" not in written and "https:" not in written and "nan" not in written.lower()


@pytest.mark.whole_run
def test_plain_and_decorrelated_steps_do_what_their_names_say(arrays):
    v = arrays["v_regression"]
    assert v.shape == (K, W_DIM)
    np.testing.assert_allclose(np.sum(arrays["plain/steps"] * v, axis=1), 1, rtol=1e-4)
    np.testing.assert_allclose(arrays["decorrelated/steps"] @ v.T, np.eye(K), atol=2e-3)


@pytest.mark.whole_run
def test_curves_and_edits_fit_each_other(arrays):
    assert arrays["counts"].tolist() == [100, 300]
    assert arrays["exact_counts"].tolist() == [8, 16, 20]
    assert arrays["score"].shape == arrays["cosine"].shape == (2, K)
    for kind in ("plain", "decorrelated"):
        amounts, response = arrays[f"{kind}/amounts"], arrays[f"{kind}/response"]
        assert amounts.shape == response.shape == (K, 5)
        np.testing.assert_array_equal(response[:, 2], 0)
        yaw = ENVIRONMENT_NAMES.index("yaw")
        np.testing.assert_allclose(amounts[yaw], [-45, -22.5, 0, 22.5, 45])


@pytest.mark.whole_run
def test_small_edits_along_a_regression_move_its_semantic(arrays):
    leakage = arrays["plain/leakage"]
    assert (np.diag(leakage) > 0).mean() > 0.5


@pytest.mark.whole_run
def test_metrics_say_per_semantic_what_it_costs(finished):
    metrics = json.loads((finished / "metrics.json").read_text())
    assert set(metrics["semantics"]) == set(ENVIRONMENT_NAMES)
    row = metrics["semantics"]["yaw"]
    assert row["unit"] == "degrees" and 0 <= row["exact_score"] <= 1
    if row["samples_needed"] is not None:
        expected = row["samples_needed"] * metrics["forward_seconds"]
        assert row["seconds_needed"] == pytest.approx(expected)


def test_counts_grow_to_the_last():
    assert sample_counts(100_000) == [100, 316, 1000, 3162, 10_000, 31_623, 100_000]
    assert sample_counts(100) == [100]
    assert sample_counts(320) == [100, 316, 320]


@pytest.mark.parametrize(("name", "value"), [("samples", 99), ("edited", 1), ("points", 0)])
def test_numbers_out_of_range_are_refused(name, value):
    with pytest.raises(FacesemError, match=name):
        Options(**{name: value}).checked()


def test_quick_takes_fewer_of_everything():
    quick, full = Options(quick=True).checked(), Options()
    assert quick.samples < full.samples and quick.edited < full.edited
    assert Options(quick=True, samples=200).checked().samples == 200
