import os
import sys
import types

import pytest

from benchmarks import newcomer


def _distribution(name, directory, sizes):
    directory.mkdir(exist_ok=True)
    for file, size in sizes.items():
        (directory / file).write_bytes(b"x" * size)
    return types.SimpleNamespace(
        metadata={"Name": name},
        files=[*sizes, "gone"],
        locate_file=lambda file: directory / file,
    )


def test_sizes_are_those_of_the_files_that_are_there(tmp_path):
    found = newcomer.distribution_sizes(
        [
            _distribution("A_Package", tmp_path / "a", {"one": 1_000_000, "two": 500_000}),
            _distribution("b", tmp_path / "b", {"three": 250_000}),
            types.SimpleNamespace(metadata={"Name": "no-record"}, files=None),
        ]
    )
    assert found == {"a-package": 1.5, "b": 0.25, "no-record": 0}


def test_this_environment_has_jaxlib_among_its_largest():
    sizes = newcomer.distribution_sizes()
    assert sizes["jaxlib"] > 50 and sizes["jaxlib"] > sizes["optax"]


def test_the_rest_is_added_up():
    rows = newcomer.size_rows({"a": 1.0, "b": 5.0, "c": 2.0, "d": 0.5}, shown=2)
    assert rows == [["b", "5.0"], ["c", "2.0"], ["2 others", "1.5"], ["**all**", "8.5"]]


def test_a_failing_process_is_an_error_with_its_last_line():
    arguments = ["-c", "raise ValueError('no such thing')"]
    with pytest.raises(RuntimeError, match="ValueError: no such thing"):
        newcomer.seconds_of(sys.executable, arguments, os.environ)
    assert newcomer.seconds_of(sys.executable, ["-c", ""], os.environ) > 0


@pytest.mark.parametrize("installed", [None, {"venv": 3.0, "pip": 40.0}])
def test_the_section_has_every_figure(installed):
    text = newcomer.markdown(
        {
            "installed": installed,
            "megabytes": {"jaxlib": 300.0, "scipy": 100.0},
            "imports": {"facesem_jax": {"first": 0.08, "next": 0.05}},
            "commands": {
                "facesem edit": {
                    "without": 5.0,
                    "first": 5.1,
                    "second": 2.5,
                    "entries": 47,
                    "megabytes": 1.2,
                }
            },
        }
    )
    assert "| **all** | 400.0 |" in text and "47 of 1.2 MB" in text
    assert ("fresh virtual environment takes 3" in text) == (installed is not None)
