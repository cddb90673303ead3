import numpy as np
import pytest
import stream_processes as toy

from facesem_jax.errors import FacesemError
from facesem_jax.semantics import sample_file
from facesem_jax.semantics.resumable import stream_resumable
from facesem_jax.semantics.sample_file import SampleFile
from facesem_jax.semantics.sample_jacobian import SampleJacobian

DERIVATIVE = SampleJacobian(toy.maps())


def run(path, ws=None, batch_size=4):
    ws = toy.latents() if ws is None else ws
    return stream_resumable(DERIVATIVE, ws, samples_path=path, batch_size=batch_size)


@pytest.mark.parametrize("batch_size", [4, 27])  # With and without padding.
def test_samples_are_the_derivatives_in_order(tmp_path, batch_size):
    path = tmp_path / "new" / "samples.npy"
    for step in run(path, batch_size=batch_size):
        assert path.exists() == (step.done == 27)
    written = np.load(path, mmap_mode="r")
    assert (written.shape, written.dtype) == ((27, 4, 4, 3, 8), np.float32)
    for i in (0, 13, 26):
        np.testing.assert_allclose(written[i], DERIVATIVE(toy.latents()[i]), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(written.mean(0), step.moments.mean, rtol=1e-5, atol=1e-6)
    assert [p.name for p in path.parent.iterdir()] == ["samples.npy"]


def test_nothing_is_left_of_a_run_that_fails(tmp_path):
    ws = toy.latents()
    ws[20] = np.nan
    with pytest.raises(FacesemError, match="index 20"):
        list(run(tmp_path / "samples.npy", ws))
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_kept(tmp_path):
    path = tmp_path / "samples.npy"
    path.write_bytes(b"mine")
    with pytest.raises(FacesemError, match="exists; remove it or choose another"):
        next(run(path))
    assert path.read_bytes() == b"mine"


def test_a_full_disk_is_told_at_once(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sample_file.os, "posix_fallocate", full, raising=False)
    with pytest.raises(FacesemError, match=r"No space left on device.* takes 1.00 GiB"):
        SampleFile(tmp_path / "samples.npy", (2**18, 2**10), np.float32)
    assert list(tmp_path.iterdir()) == []


def test_the_room_is_taken_from_the_start(tmp_path):
    with SampleFile(tmp_path / "samples.npy", (64, 2**10), np.float64) as file:
        assert file.partial.stat().st_blocks * 512 >= 64 * 2**13


def test_a_removed_file_is_one_clear_error(tmp_path):
    stream = run(tmp_path / "samples.npy")
    next(stream)
    (tmp_path / ".samples.npy.partial").unlink()
    with pytest.raises(FacesemError, match="cannot be written"):
        next(stream)


@pytest.mark.parametrize("shape", [(4, 3), (4, 2, 1)])
def test_rows_of_another_shape_are_not_gone_on_with(tmp_path, shape):
    np.save(tmp_path / "rows.npy", np.zeros(shape, np.float32))
    with pytest.raises(FacesemError, match="does not hold the 2 samples"):
        SampleFile(tmp_path / "all.npy", (4, 2), np.float32, partial=tmp_path / "rows.npy", done=2)
