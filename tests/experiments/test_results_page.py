import json

import pytest

from experiments.results_page import TABLES, Options, main, replaced
from facesem_jax.errors import FacesemError

SEMANTIC = {
    "unit": "degrees",
    "r2": 0.82,
    "cosine": 0.97,
    "samples_needed": 1396.2,
    "seconds_needed": 4.1,
    "exact_seconds": 25.0,
    "plain": {"gain": 0.94, "linear_to": 15.0, "leaks": 0.13},
    "decorrelated": {"gain": 0.9, "linear_to": 15.0, "leaks": -0.05},
}
METRICS = {
    "environment": {"semantics": {"light_x": SEMANTIC | {"samples_needed": None}, "yaw": SEMANTIC}},
    "relations": {
        "mantel": {"spatial": {"r": 0.27, "p": 0.0001}, "trees": {"r": None, "p": 1.0}},
        "rotations": {"r": 0.27, "p": 0.005, "count": 199, "null_mean": 0.05, "null_std": 0.06},
        "pixels": {"r": 0.36, "p": 0.001},
    },
    "compare": {
        "winners": {"locality": {"best": "ours", "tied": []}},
        "methods": {
            "ours": {"directions": 16, "locality": {"mean": 0.431}, "identity": {"mean": None}},
            "PCA": {"directions": 16, "locality": {"mean": 0.25}},
        },
    },
    "augment": {
        "labels": {
            "yaw": {
                "unit": "degrees",
                "sizes": {
                    "32": {
                        way: {"mean": 18.5, "gain": 1.5, "low": -0.5, "high": 3.5}
                        | {"bins": [{"mean": 30.25, "gain": 7.5, "low": 5, "high": 10}]}
                        for way in ("nothing", "extrapolated")
                    }
                },
            }
        }
    },
    "quality": {
        "patches": {"64": {"generator": 20.53, "floor": 3.0}},
        "coverage": {
            "generator": {"precision": 0.5, "recall": 0.25, "kernel": 0.0123},
            "floor": {"precision": 0.75, "recall": 0.7, "kernel": -0.0001},
        },
        "path": {"z": {"mean": 5.25}, "w": {"mean": 2.5}},
        "psnr": {"mean": 24.9},
        "r2": {
            "w": {"decomposer light_x": {"mean": 0.93}},
            "z": {"decomposer light_x": {"mean": None}},
        },
    },
    "synthetic_faces": {
        "steps_taken": {"unsupervised": 2600},
        "depth": {
            name: {"side_x100": side, "side_x100_sd": 0.25, "mad_degrees": 19.456}
            | {"mad_degrees_sd": 2.24}
            for name, side in (("unsupervised", 0.75), ("constant", 1.91), ("average", 0.993))
        },
        "published": {
            name: {"side_x100": 0.793, "mad_degrees": 16.51}
            for name in ("unsupervised", "supervised", "constant", "average")
        },
        "margin": {k: {"ratio": 0.755, "published": 0.398} for k in ("side", "mad")},
        "pose_and_light": {
            "yaw": {"error": 8.75, "chance": 16.1, "correlation": 0.81, "slope": 1.5},
            "light_direction": {"error": 15.2, "chance": 26.5},
        },
    },
}


def _page(path):
    marks = "\n".join(f"## {n}\n<!-- {n} begin -->\nold {n}\n<!-- {n} end -->" for n in TABLES)
    path.write_text(f"# Results\n{marks}\nThe end.\n")
    return path


def test_tables_of_the_runs_that_are_there_are_renewed(tmp_path):
    page = _page(tmp_path / "results.md")
    for name in ("environment", "augment"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(json.dumps(METRICS[name]))
    main(Options(tmp_path, page))
    text = page.read_text()
    assert "old environment" not in text and "old relations" in text
    assert text.startswith("# Results\n") and text.endswith("The end.\n")
    yaw = "| yaw | 0.82 | 0.97 | 1396 | 4.1 | 25 | 0.94 | 15° | 0.13 → −0.05 |"
    assert yaw in text and "| light x | 0.82 | 0.97 | never |" in text
    assert "| yaw, 32 faces, outermost | 30.2° | 30.2° | 7.5 [5, 10] |" in text
    main(Options(tmp_path, page))
    assert page.read_text() == text


def test_the_best_is_in_bold():
    table = TABLES["compare"](METRICS["compare"])
    assert "| ours (16) | **43.1** | – |" in table and "| PCA (16) | 25 | – |" in table


def test_every_table_has_cells_for_its_head():
    for name, table in TABLES.items():
        for part in table(METRICS[name]).split("\n\n"):
            lines = part.splitlines()
            assert len({line.count("|") for line in lines}) == 1 and len(lines) >= 3


def test_a_generator_has_its_floors_and_its_latents():
    table = TABLES["quality"](METRICS["quality"])
    for row in (
        "patches, 64×64 | 20.5 | 3",
        "precision | 0.5 | 0.75",
        "path length in w | 2.5 | –",
    ):
        assert f"| {row} |" in table
    assert "| kernel distance × 1000 | 12.3 | −0.1 |" in table
    assert "| decomposer light x | 0.93 | – |" in table


def test_what_was_not_trained_is_a_dash():
    table = TABLES["synthetic_faces"](METRICS["synthetic_faces"])
    shown = "| decomposer, without labels | 2,600 | 0.75 ± 0.25 | 19.5 ± 2.24 | 0.793 | 16.51 |"
    assert shown in table
    assert "| supervised with true depth |  | – | – | 0.793 | 16.51 |" in table
    assert "| decomposer over average |  | 0.755 | 0.755 | 0.398 | 0.398 |" in table
    assert "| light direction | 15.2 | 26.5 | – | – |" in table


@pytest.mark.parametrize("page", ["", "<!-- a end --><!-- a begin -->", "<!-- a begin -->" * 2])
def test_a_page_without_its_comments_is_refused(page):
    with pytest.raises(FacesemError, match="once each"):
        replaced(page, "a", "x")


def test_bad_runs_leave_the_page_as_it_was(tmp_path):
    page = _page(tmp_path / "results.md")
    before = page.read_text()
    with pytest.raises(FacesemError, match="holds no run"):
        main(Options(tmp_path, page))
    (tmp_path / "relations").mkdir()
    for content, message in (("{", "cannot be read"), ("[]", "no JSON object"), ("{}", "lacks")):
        (tmp_path / "relations" / "metrics.json").write_text(content)
        with pytest.raises(FacesemError, match=message):
            main(Options(tmp_path, page))
    assert page.read_text() == before
    with pytest.raises(FacesemError, match="cannot be read"):
        main(Options(tmp_path, tmp_path / "none.md"))
