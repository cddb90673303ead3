import io
import re
import tarfile

import numpy as np
import pytest
from PIL import Image

from experiments import photos
from experiments.photo_table import PHOTOGRAPHS, Photograph, photograph_bytes
from experiments.photos_report import PhotoResult, render_report
from facesem_jax.errors import FacesemError

SHA_OF_HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


def test_every_photograph_says_where_it_comes_from():
    assert len(PHOTOGRAPHS) == len({p.name for p in PHOTOGRAPHS}) == 10
    assert len({p.sha256 for p in PHOTOGRAPHS}) == 10
    for p in PHOTOGRAPHS:
        assert re.match("public domain|MIT|CC BY(-SA)? [23].0$", p.licence)
        assert p.credit and re.fullmatch("[0-9a-f]{64}", p.sha256)
        # Creative Commons asks for the source beside the author.
        assert "https://" in p.credit or not p.licence.startswith("CC")
    assert len(set(photos.FILES)) == len(photos.FILES) == 22


def test_a_file_is_found_in_a_source_archive_if_its_digest_agrees(tmp_path):
    def photograph(sha, path="a/b.jpg"):
        return Photograph("x", "some-package", "1.0", "", path, "MIT", "me", sha)

    with tarfile.open(tmp_path / "some_package-1.0.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo("some_package-1.0/a/b.jpg")
        info.size = 5
        archive.addfile(info, io.BytesIO(b"hello"))
    (tmp_path / "some_package-2.0.tar.gz").write_bytes(b"damaged")
    assert photograph_bytes(photograph(SHA_OF_HELLO), tmp_path) == b"hello"
    assert photograph_bytes(photograph("0" * 64), tmp_path) is None
    assert photograph_bytes(photograph(SHA_OF_HELLO, "a/c.jpg"), tmp_path) is None
    assert photograph_bytes(photograph(SHA_OF_HELLO), None) is None


def test_an_installed_package_is_read():
    hopper = next(p for p in PHOTOGRAPHS if p.name == "hopper")
    picture = Image.open(io.BytesIO(photograph_bytes(hopper, None)))
    assert picture.size == (512, 600)


def test_an_enlarged_frame_keeps_its_middle():
    frame = np.array([[30.0, -5, 7], [5, 30, 9]])
    large = photos.enlarged_frame(frame, 1.9)
    middle = [0.5, 0.5]
    np.testing.assert_allclose(
        large[:, :2] @ middle + large[:, 2], frame[:, :2] @ middle + frame[:, 2]
    )
    np.testing.assert_allclose(large[:, :2], 1.9 * frame[:, :2])


def test_the_page_shows_numbers_and_credits():
    space = {"psnr": 20.25, "mahalanobis": 2.0, "steps": 33, "seconds": 4.0}
    numbers = {"encoder": space, "w": space, "w_plus": space | {"psnr": 23.25}}
    numbers["changed_share"] = {"yaw": 0.125}
    pixels = np.zeros((8, 8, 3), np.float32)
    views = {"yaw": np.zeros((3, 6, 6, 3), np.uint8)}
    result = PhotoResult(PHOTOGRAPHS[0], pixels, np.stack([pixels] * 3), views, numbers)
    page = render_report({"edits": {"yaw": 12.0}}, [result])
    assert "rises by 3 dB" in page and "12.5\u00a0%" in page and "NASA" in page
    assert page.count("<img") == 2 and "<script" not in page
    assert result.edit_sheet.shape == (1, 3, 6, 6, 3)
    assert result.inversion_row.shape == (1, 4, 192, 192, 3)


def test_bad_options_are_refused(tmp_path, monkeypatch):
    with pytest.raises(FacesemError, match="steps is 0"):
        photos.Options(steps=0).checked()
    with pytest.raises(FacesemError, match="no directory"):
        photos.Options(sources=tmp_path / "none").checked()
    assert photos.Options(quick=True).checked().steps == 40
