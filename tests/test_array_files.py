import io
import pickle
import zipfile

import numpy as np
import pytest

from facesem_jax import array_files
from facesem_jax.array_files import npy_bytes, npz_bytes, read_array, read_arrays
from facesem_jax.errors import FacesemError

ARRAY = np.arange(12.0).reshape(3, 4)


def _header(shape):
    """A .npy file that claims a shape and holds nothing."""
    buffer = io.BytesIO()
    content = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, content)
    return buffer.getvalue()


def _zipped(**entries):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def _objects():
    buffer = io.BytesIO()
    np.save(buffer, np.array([{}, print], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def test_what_is_written_is_read(tmp_path):
    (tmp_path / "a.npy").write_bytes(npy_bytes(ARRAY))
    np.testing.assert_array_equal(read_array(tmp_path / "a.npy"), ARRAY)
    content = npz_bytes({"a": ARRAY, "names": np.array(["mouth-1"])})
    (tmp_path / "a.npz").write_bytes(content)
    found = read_arrays(tmp_path / "a.npz")
    np.testing.assert_array_equal(found["a"], ARRAY)
    assert found["names"].tolist() == ["mouth-1"]
    assert npz_bytes({"a": ARRAY, "names": np.array(["mouth-1"])}) == content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no readable file"),
        (b"not an array", "no readable file"),
        (pickle.dumps([1, 2, 3]), "no readable file"),
        (npy_bytes(ARRAY)[:-5], "no readable file|claims more"),
        (npy_bytes(ARRAY)[:20], "no readable file"),
        (_header((1000, 1000, 1000)), "claims more bytes than are there"),
        (_header((10**12, 10**12)), "claims more bytes than are there"),
        (_objects(), "Python objects"),
        (npy_bytes(np.array(["a"])), "real numbers are wanted"),
        (npy_bytes(ARRAY + 1j), "real numbers are wanted"),
        (npz_bytes({"a": ARRAY}), "is an archive of arrays"),
    ],
)
def test_a_bad_array_is_one_clear_error(tmp_path, content, message):
    path = tmp_path / "bad.npy"
    path.write_bytes(content)
    with pytest.raises(FacesemError, match=message) as error:
        read_array(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no readable file"),
        (npy_bytes(ARRAY), "no readable file"),
        (npz_bytes({"a": ARRAY})[:-30], "no readable file"),
        (npz_bytes({"a": ARRAY})[:60] + npz_bytes({"a": ARRAY})[70:], "no readable file"),
        (_zipped(a=_header((10**15,))), "claims more bytes than are there"),
        (_zipped(a=_objects()), "Python objects"),
        (_zipped(a=b"text"), "no readable file"),
    ],
)
def test_a_bad_archive_is_one_clear_error(tmp_path, content, message):
    path = tmp_path / "bad.npz"
    path.write_bytes(content)
    with pytest.raises(FacesemError, match=message) as error:
        read_arrays(path)
    assert "\n" not in str(error.value)


def test_a_file_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "large.npz"
    path.write_bytes(npz_bytes({"a": np.zeros(100_000)}))
    assert path.stat().st_size < 5000
    monkeypatch.setattr(array_files, "_MOST_BYTES", 500_000)
    with pytest.raises(FacesemError, match="unpacks to"):
        read_arrays(path)


@pytest.mark.parametrize("read", [read_array, read_arrays])
def test_a_missing_file_is_named(tmp_path, read):
    for path in (tmp_path / "none", tmp_path, tmp_path / ("x" * 5000)):
        with pytest.raises(FacesemError, match="There is no file"):
            read(path)
