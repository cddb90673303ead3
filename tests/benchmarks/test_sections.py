"""What the sections say of given figures."""

import copy

import numpy as np
import pytest

from benchmarks import app, growth, jacobian, large_jacobian, localized, rasterizer
from benchmarks.zbuffers import numpy_zbuffer
from facesem_jax.decomposer.rasterizer import grid_faces, rasterize


def spread(median):
    return {"median": median, "min": median / 2, "max": median * 2, "rounds": 3}


def way(ratio, error=1e-6, **more):
    return {"label": "it", "seconds": spread(ratio), "ratio": spread(ratio), "error": error} | more


JACOBIAN = {
    "skipped": None,
    "failed": {},
    "agreement": {"PyTorch, weights modulated": 1e-6},
    "w_dim": 128,
    "outputs": 16384,
    "threads": 2,
    "forward": {"batch": 16, "seconds": spread(0.003)},
    "cost_ratio": {"ours": spread(0.9), "stream": spread(0.8)},
    "ways": {
        "ours": way(1.0, peak_bytes=2**30, before_bytes=2**29, buffer_bytes=2**28),
        "stream": way(0.9, None),
        "central": way(2.0, 1e-3, step=0.01),
        "plain": way(20.0),
        "forward_weights": way(5.0),
        "reverse_weights": way(100.0),
    },
}


def goals(text):
    return [line for line in text.splitlines() if line.startswith("- Goal")]


def test_jacobian_goals_met():
    text = jacobian.markdown(JACOBIAN)
    assert [("**Met**" in line) for line in goals(text)] == [True, True, True]
    assert "central differences with the best step of a few, 0.01" in text
    assert "| 1.00 | 0.50 | 0.25 |" in text


def test_jacobian_goals_not_met():
    data = copy.deepcopy(JACOBIAN)
    data["ways"]["forward_activations"] = way(1.5)
    data["ways"]["central"] = way(0.9)
    data["ways"]["ours"]["error"] = 1e-2
    found = goals(jacobian.markdown(data))
    assert all("**Not met**" in line for line in found) and len(found) == 3
    # The nearest of all, and the nearest of the codebases' own reading.
    assert "1.5 times" in found[0] and "5 times" in found[0]


def test_jacobian_without_torch():
    data = copy.deepcopy(JACOBIAN)
    data["skipped"] = "PyTorch is not installed: its ways are left out."
    for name in ("forward_weights", "reverse_weights"):
        del data["ways"][name]
    text = jacobian.markdown(data)
    assert len(goals(text)) == 2 and "PyTorch is not installed" in text


def test_relative_error():
    exact = np.array([[3.0, 0.0], [0.0, 4.0]])
    assert jacobian.relative_error(
        exact + np.array([[0.0, 0.5], [0.0, 0.0]]), exact
    ) == pytest.approx(0.1)


def large(ratio, peak, tangents=512):
    return {
        "chunk": 8,
        "batch": 4,
        "w_dim": 512,
        "tangents": [8, 32],
        "forward": spread(0.5),
        "per_tangent": spread(0.4),
        "scaled": spread(200.0),
        "scaled_ratio": spread(0.9),
        "outputs": 16384,
        "child": {
            "tangents": tangents,
            "before_bytes": 2**30,
            "buffer_bytes": 2**30,
            "peak_bytes": peak,
            "seconds": ratio * tangents * 0.5,
            "forward": 0.5,
        },
    }


def test_the_whole_large_jacobian_decides():
    met, not_met = (goals(large_jacobian.markdown(large(r, 5 * 2**30))) for r in (0.8, 1.2))
    assert "**Met**: 0.8 times" in met[0] and "**Met**" in met[1]
    assert "**Not met**: 1.2 times" in not_met[0]
    part = goals(large_jacobian.markdown(large(1.2, 7 * 2**30, tangents=16)))
    assert "**Met**: 0.9 times that (scaled up" in part[0]
    assert "**Not met**: 7.00 GiB (for a part" in part[1]


def test_growth_leaves_out_what_cannot_be_measured():
    fit = {"exponent": 1.05, "constant": 1.0, "worst": 1.1}
    part = {"seconds": {"32": spread(1.0), "64": spread(2.0)}, "fit": fit}
    data = {"cores": 2, "width": 32, "parts": {"w_dim": part, "devices": {"skipped": "No mesh."}}}
    text = growth.markdown(data)
    assert "| 32 to 64 | 1.05 | 1.10 |" in text and "- virtual devices: No mesh." in text


def test_planted_matrix_has_the_scale_that_alpha_expects():
    J = growth.planted(64, 16, 4)
    assert J.shape == (64, 16) and np.linalg.norm(J) ** 2 == pytest.approx(16, rel=1e-5)


METRICS = {
    "settings": {
        "quick": False,
        "strip_faces": 5,
        "regression_samples": 1000,
        "exact_samples": 10,
        "components": 32,
    },
    "environment": dict.fromkeys("abc"),
    "live_components": 4,
    "jacobian": {"samples": 6},
    "iterations": 50,
}


def test_floors_count_the_passes():
    passes = {"images": 1.0, "local": 100.0, "environment": 10000.0}
    found = localized.floors(METRICS, passes, product=0.5, w_dim=8)
    assert found["samples"] == 48 + 800
    assert found["jacobian"] == 6 * 8 * 100
    assert found["factorisation"] == 25
    environment = (1000 + 4 * 10 + 128 * (1 + 3 * 7)) * 10000
    assert found["pose and light"] == environment + 3 * 7 * 5
    assert found["edits"] == 2 * 8 * 5 * 10100 + 4 * 7 * 5 + 256 * 100


def test_shares_of_the_floor():
    data = {
        "stages": {"load": 1.0, "jacobian": 8.0, "files": 1.0},
        "floors": {"jacobian": 6.0},
        "passes": {"local": 0.003},
        "product": 0.001,
        "cost_ratio": 0.9,
        "samples": 96,
        "iterations": 100,
    }
    text = localized.markdown(data)
    assert "| jacobian | 8 | 6 | 75% |" in text and "| **all** | 10 | 6 | 60% |" in text
    assert "| load | 1 | – | – |" in text


def test_numpy_zbuffer_draws_what_the_rasteriser_draws():
    vertices, faces = rasterizer.meshes(20, 1)[0], grid_faces(20, 20)
    # One large triangle behind the grid, seen at its borders.
    far = np.array([[-40, -40, 9], [90, -40, 8], [-40, 90, 10]], np.float32)
    faces = np.concatenate([faces, [[400, 401, 402]]]).astype(np.int32)
    vertices = np.concatenate([vertices, far])
    ours = np.asarray(rasterize(vertices, faces, 20).depth)
    theirs = numpy_zbuffer(vertices, faces, 20)
    assert (ours > 7).any() and (ours > 0).all()
    # On an outline a rounding decides between the grid and the triangle.
    assert np.mean(np.abs(ours - theirs) > 1e-4) < 0.01


def test_the_app_is_judged_by_the_start_without_a_cache():
    data = {
        "empty": {"served": 8.0, "first": 11.0, "answers": []},
        "filled": {"served": 5.0, "first": 6.0, "answers": [0.5, 0.08, 0.09, 0.1]},
    }
    text = app.markdown(data)
    assert [("**Met**" in line) for line in goals(text)] == [False, True]
    assert "median 95 ms, the first 500 ms, the slowest other 100 ms" in text
