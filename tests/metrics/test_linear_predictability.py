import numpy as np
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.metrics import linear_predictability


def test_linear_predictability_of_linear_noisy_and_unrelated_values():
    rng = np.random.default_rng(0)
    ws = rng.normal(size=(1200, 16))
    signal = ws @ rng.normal(size=16)
    noise = rng.normal(size=1200)
    values = {
        "linear": 5 * signal + 30,
        "half": signal / signal.std() + noise / noise.std(),
        "unrelated": rng.normal(size=1200),
        "even": signal**2,
    }
    values["linear"][::7] = np.nan
    r2 = {k: v.mean for k, v in linear_predictability(ws, values).items()}
    assert r2["linear"] > 0.999
    assert r2["half"] == pytest.approx(0.5, abs=0.08)
    assert -0.15 < r2["unrelated"] < 0.05
    assert r2["even"] < 0.1


def test_linear_predictability_refuses_too_few_samples():
    with pytest.raises(FacesemError, match="2 of 100 samples"):
        values = np.full(100, np.nan)
        values[:2] = 1
        linear_predictability(np.zeros((100, 3)), {"y": values})


def test_several_columns_have_one_share_and_intervals_cover_it():
    rng = np.random.default_rng(1)
    ws = rng.normal(size=(2000, 8))
    seen, noise = 3 * ws[:, 0], rng.normal(size=2000)
    found = linear_predictability(ws, {"both": np.stack([seen, noise], axis=1), "none": 0 * noise})
    # Variances 9, explained, and 1, not.
    assert found["both"].mean == pytest.approx(0.9, abs=0.02)
    assert found["both"].low < found["both"].mean < found["both"].high < 0.95
    assert found["none"] == (0, 0, 0)


def test_shapes_are_checked():
    with pytest.raises(FacesemError, match="y has shape"):
        linear_predictability(np.zeros((9, 3)), {"y": np.zeros(8)})
    with pytest.raises(FacesemError, match="heldout is 0"):
        linear_predictability(np.zeros((9, 3)), {"y": np.zeros(9)}, heldout=0.0)


def test_a_latent_that_is_not_finite_is_left_out():
    w = np.random.default_rng(0).normal(size=(400, 3))
    values = {"x": w[:, 0].copy()}
    w[3] = np.nan
    assert linear_predictability(w, values)["x"].mean > 0.999
    with pytest.raises(FacesemError, match="no value"):
        linear_predictability(w, {})


def test_a_large_offset_costs_no_digits():
    w = np.random.default_rng(0).normal(size=(400, 3))
    assert linear_predictability(w, {"x": 1e7 + w[:, 0]})["x"].mean > 0.999
