import os
import pathlib

import pytest

from experiments.output_files import check_outputs, make_directory, write_files
from facesem_jax.errors import FacesemError


def test_files_are_written_and_replaced(tmp_path):
    (tmp_path / "a.png").write_bytes(b"old")
    write_files({tmp_path / "a.png": b"new", tmp_path / "b.npy": b"more"})
    assert (tmp_path / "a.png").read_bytes() == b"new"
    assert (tmp_path / "b.npy").read_bytes() == b"more"
    assert (tmp_path / "a.png").stat().st_mode & 0o777 == 0o644
    assert len(list(tmp_path.iterdir())) == 2


def test_a_failure_leaves_all_as_it_was(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(b"old")
    before = os.fdopen
    opened = []

    def full(handle, mode):
        file = before(handle, mode)
        opened.append(file)
        if len(opened) == 2:
            file.close()
            raise OSError(28, "No space left on device")
        return file

    monkeypatch.setattr("experiments.output_files.os.fdopen", full)
    with pytest.raises(FacesemError, match=r"b.npy cannot be written \(No space left"):
        write_files({tmp_path / "a.png": b"new", tmp_path / "b.npy": b"more"})
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.png", b"old")]


def test_a_link_stays_one(tmp_path):
    (tmp_path / "real.png").write_bytes(b"old")
    (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
    write_files({tmp_path / "link.png": b"new"})
    assert (tmp_path / "link.png").is_symlink()
    assert (tmp_path / "real.png").read_bytes() == b"new"


def test_outputs_are_checked_before_the_work(tmp_path):
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"mine")
    (tmp_path / "folder.png").mkdir()
    check_outputs({".png": tmp_path / "OUT.PNG", ".npy": None}, [photo])
    for outputs, message in (
        ({".png": tmp_path / "out.jpg"}, r"must end in \.png"),
        ({".png": tmp_path / "folder.png"}, "is a directory"),
        ({".png": tmp_path / "no" / "out.png"}, "there is no"),
        ({".png": photo}, "would replace a file that is read"),
        ({".png": tmp_path / "no" / ".." / "photo.png"}, "would replace|there is no"),
    ):
        with pytest.raises(FacesemError, match=message):
            check_outputs(outputs, [photo])
    assert photo.read_bytes() == b"mine"


def test_a_read_only_directory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.output_files.os.access", lambda *_: False)
    with pytest.raises(FacesemError, match="read-only"):
        check_outputs({".png": pathlib.Path(tmp_path / "out.png")})


def test_a_directory_is_made_or_refused_in_one_line(tmp_path):
    make_directory(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(FacesemError, match="cannot be made a directory"):
            make_directory(path)
