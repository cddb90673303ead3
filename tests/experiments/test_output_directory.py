import os
import pathlib

import pytest

from experiments.output_directory import OutputDirectory
from facesem_jax.errors import FacesemError

FILES = ("numbers.json", "page.html")


def _write(target, text="new"):
    with OutputDirectory(target, FILES) as output:
        assert output.parent == target.parent
        for name in FILES:
            (output / name).write_text(text)


def _names(directory):
    return sorted(p.name for p in directory.iterdir())


@pytest.fixture
def target(tmp_path):
    return tmp_path / "results"


def test_files_appear_at_the_end_and_nothing_else(target, tmp_path):
    with OutputDirectory(target, FILES) as output:
        (output / "numbers.json").write_text("1")
        assert not target.exists()
    assert _names(tmp_path) == ["results"]
    assert _names(target) == ["numbers.json"]
    assert target.stat().st_mode & 0o777 == 0o755


def test_parents_are_made(tmp_path):
    _write(tmp_path / "a" / "b" / "results")
    assert _names(tmp_path / "a" / "b") == ["results"]


@pytest.mark.parametrize("error", [RuntimeError, FacesemError, KeyboardInterrupt])
def test_a_failed_run_leaves_nothing(target, tmp_path, error):
    with pytest.raises(error, match="broken"), OutputDirectory(target, FILES) as output:
        (output / "numbers.json").write_text("half")
        raise error("broken")
    assert not any(tmp_path.iterdir())


def test_a_failed_run_leaves_no_parents(tmp_path):
    with pytest.raises(RuntimeError), OutputDirectory(tmp_path / "a" / "b" / "results", FILES):
        raise RuntimeError
    assert not any(tmp_path.iterdir())


def test_earlier_results_are_replaced_by_a_success_and_kept_by_a_failure(target, tmp_path):
    _write(target, "old")
    with pytest.raises(RuntimeError), OutputDirectory(target, FILES) as output:
        (output / "numbers.json").write_text("half")
        raise RuntimeError
    assert (target / "numbers.json").read_text() == "old"
    with OutputDirectory(target, FILES) as output:
        (output / "page.html").write_text("new")
    assert _names(target) == ["page.html"]
    assert _names(tmp_path) == ["results"]


def test_foreign_files_are_refused_and_kept(target, tmp_path):
    target.mkdir()
    (target / "thesis.tex").write_text("mine")
    (target / "numbers.json").write_text("old")
    with pytest.raises(FacesemError, match=r"holds other files \(thesis.tex\).*--output"):
        _write(target)
    assert _names(target) == ["numbers.json", "thesis.tex"]
    assert _names(tmp_path) == ["results"]


def test_foreign_files_that_come_during_the_run_are_kept(target, tmp_path):
    with (
        pytest.raises(FacesemError, match=r"thesis\.tex"),
        OutputDirectory(target, FILES) as output,
    ):
        (output / "numbers.json").write_text("new")
        target.mkdir()
        (target / "thesis.tex").write_text("mine")
    assert (target / "thesis.tex").read_text() == "mine"
    assert _names(tmp_path) == ["results"]


def test_an_empty_directory_is_used(target):
    target.mkdir()
    _write(target)
    assert _names(target) == sorted(FILES)


def test_a_file_in_the_way_is_refused_and_kept(target, tmp_path):
    target.write_text("mine")
    with pytest.raises(FacesemError, match="is a file; name a directory"):
        _write(target)
    with pytest.raises(FacesemError, match="cannot be written"):
        _write(target / "below")
    assert target.read_text() == "mine"
    assert _names(tmp_path) == ["results"]


def test_a_parent_without_permission_is_named(target, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr("experiments.output_directory.tempfile.mkdtemp", refuse)
    with pytest.raises(FacesemError, match=r"cannot be written \(Permission denied\).*--output"):
        _write(target)
    assert not any(tmp_path.iterdir())


def test_a_directory_that_cannot_be_put_in_place_is_named_and_removed(
    target, tmp_path, monkeypatch
):
    def refuse(self, other):
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(pathlib.Path, "rename", refuse)
    with pytest.raises(FacesemError, match=r"could not be put into .*Permission denied"):
        _write(target)
    assert not any(tmp_path.iterdir())


def test_the_working_directory_can_be_the_output(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with OutputDirectory(pathlib.Path("."), FILES) as output:
        (output / "numbers.json").write_text("1")
    assert (tmp_path / "numbers.json").read_text() == "1"


def test_a_linked_directory_can_be_the_output(tmp_path):
    real = tmp_path / "disk" / "results"
    real.mkdir(parents=True)
    link = tmp_path / "results"
    link.symlink_to(real, target_is_directory=True)
    with OutputDirectory(link, FILES) as output:
        (output / "numbers.json").write_text("1")
    assert (link / "numbers.json").read_text() == "1"
    assert not [p for p in (*tmp_path.iterdir(), *real.parent.iterdir()) if p.name[0] == "."]
