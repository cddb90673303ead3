import json

import pytest

from benchmarks import results
from benchmarks.tables import goal, number, table, with_spread


def entry(value, device="CPU: test"):
    return {
        "when": "2026-01-01 00:00 UTC",
        "quick": value == "quick",
        "seconds": 12.3,
        "load_before": 0.1,
        "machine": {
            "device": device,
            "cpu": "test",
            "cores": 2,
            "memory_gib": 8.0,
            "system": "Linux",
            "versions": {"python": "3.11", "jax": "1"},
        },
        "data": {"value": value},
    }


SECTIONS = {
    "one": lambda data: f"## One\n\nvalue {data['value']}\n",
    "two": lambda data: f"## Two\n\nvalue {data['value']}\n",
}


def test_one_section_is_replaced_and_the_others_are_kept():
    first = results.merged({}, "one", "cpu", entry("a"))
    both = results.merged(first, "two", "cpu", entry("b"))
    again = results.merged(both, "one", "cpu", entry("c"))
    assert again["one"]["cpu"]["data"] == {"value": "c"}
    assert again["two"] == both["two"]
    assert both["one"]["cpu"]["data"] == {"value": "a"}


def test_devices_stand_beside_each_other():
    kept = results.merged({}, "one", "CPU: test", entry("a"))
    kept = results.merged(kept, "one", "some GPU", entry("b", "some GPU"))
    text = results.report(kept, SECTIONS)
    assert "## One (CPU: test)" in text and "## One (some GPU)" in text
    assert text.index("value a") < text.index("value b")


def test_report_has_date_machine_versions_and_what_is_missing():
    text = results.report({"one": {"cpu": entry("quick")}}, SECTIONS)
    circumstances = next(line for line in text.splitlines() if line.startswith("*"))
    for part in ("2026-01-01 00:00 UTC", "CPU: test", "2 cores", "jax 1", "quick run"):
        assert part in circumstances
    assert "Not measured yet: `python -m benchmarks --only two`" in text


def test_files_survive_a_round_trip(tmp_path):
    path = tmp_path / "new" / "results.json"
    assert results.read(path) == {}
    kept = results.merged({}, "one", "cpu", entry("a"))
    results.write(path, results.to_json(kept))
    assert results.read(path) == kept
    assert [p.name for p in path.parent.iterdir()] == ["results.json"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "results.json"
    results.write(path, "{}")
    with pytest.raises(UnicodeEncodeError):
        results.write(path, "\ud800")
    assert path.read_text() == "{}" and len(list(tmp_path.iterdir())) == 1


def test_nan_does_not_reach_the_file():
    with pytest.raises(ValueError):
        results.to_json({"one": {"cpu": {"data": float("nan")}}})


def test_goals_say_met_or_why_not():
    assert "**Met**" in goal("fast", True, "3 times", "never shown")
    assert "never shown" not in goal("fast", True, "3 times", "never shown")
    line = goal("fast", False, "2 times", "Because.")
    assert "**Not met**: 2 times. Because." in line


def test_tables():
    assert table(["a", "b"], [["x", 1]]) == "| a | b |\n| --- | ---: |\n| x | 1 |"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1.2345, "1.23"),
        (1234.5, "1230"),
        (99999.0, "100000"),
        (123456.0, "1.23e+05"),
        (0.00012, "1.20e-04"),
        (None, "–"),
    ],
)
def test_numbers(value, text):
    assert number(value) == text


def test_numbers_with_spread():
    value = {"median": 0.5, "min": 0.25, "max": 2.0, "rounds": 3}
    assert with_spread(value) == "0.5 (0.25 to 2)"
    assert json.loads(json.dumps(value)) == value
