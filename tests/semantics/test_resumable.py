import errno
import os
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import stream_processes as toy

from facesem_jax.errors import FacesemError
from facesem_jax.semantics import moments, resumable
from facesem_jax.semantics.resumable import fingerprint, stream_resumable
from facesem_jax.semantics.sample_jacobian import SampleJacobian

DERIVATIVE = SampleJacobian(toy.maps())


def run(directory, ws=None, derivative=DERIVATIVE, **options):
    options = {"batch_size": 2, "seconds": 0} | options
    ws = toy.latents() if ws is None else ws
    return stream_resumable(derivative, ws, directory=directory, **options)


def stop_after(steps, done):
    """Takes steps up to a sample, then lets the stream go as an exception would."""
    for step in steps:
        if step.done == done:
            return steps.close()
    raise AssertionError(f"no step ended at {done}")


def assert_equal(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.fixture(scope="module")
def uninterrupted():
    *_, last = moments.stream_moments(DERIVATIVE, toy.latents(), batch_size=2)
    return last.moments


@pytest.mark.parametrize("done", [2, 14, 26])
def test_resumed_moments_are_those_of_an_uninterrupted_run(tmp_path, uninterrupted, done):
    stop_after(run(tmp_path / "run"), done)
    first, *_, last = run(tmp_path / "run")
    assert (first.done, last.done, last.total) == (done, 27, 27)
    assert_equal(last.moments, uninterrupted)


def test_a_finished_run_gives_its_result_at_once(tmp_path, uninterrupted):
    list(run(tmp_path / "run", seconds=1e9))
    (only,) = run(tmp_path / "run")
    assert (only.done, only.first) == (27, 27)
    assert_equal(only.moments, uninterrupted)


def test_checkpoints_come_no_oftener_than_asked(tmp_path):
    stop_after(run(tmp_path / "run", seconds=1e9), 26)
    assert next(run(tmp_path / "run")).done == 2


@pytest.mark.whole_run
def test_a_killed_run_resumes_to_the_last_bit(tmp_path):
    count = 400  # Far more than it gets to: a checkpoint takes longer than a step.
    process = toy.start("resumable", tmp_path, count)
    for line in process.stdout:
        if int(line) >= 8:
            break
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "samples.npy").exists()
    ws = toy.latents(count)
    options = {"samples_path": tmp_path / "samples.npy", "seconds": 1e9}
    first, *_, last = run(tmp_path / "run", ws, **options)
    assert 8 <= first.done < count
    whole = moments.stream_moments(DERIVATIVE, ws, batch_size=2, keep_samples=True)
    rows = []
    for step in whole:
        rows += list(step.samples[: step.done - step.first])
    assert_equal(last.moments, step.moments)
    np.testing.assert_array_equal(np.load(tmp_path / "samples.npy"), np.stack(rows))


def changed_run(what):
    f = toy.maps()
    return {
        "samples": {"ws": toy.latents() + 1},
        "more samples": {"ws": toy.latents(28)},
        "weights": {"derivative": SampleJacobian(toy.maps(seed=1))},
        "chunks": {"derivative": SampleJacobian(f, chunk_size=3)},
        "basis": {"derivative": SampleJacobian(f, basis=jnp.eye(toy.SIZE)[:, :4])},
        "batches": {"batch_size": 4},
    }[what]


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    directory = tmp_path_factory.mktemp("begun") / "run"
    stop_after(run(directory), 4)
    return directory


@pytest.mark.parametrize(
    "what", ["samples", "more samples", "weights", "chunks", "basis", "batches"]
)
def test_another_runs_checkpoint_is_refused(begun, what):
    with pytest.raises(FacesemError, match=r"another run .* remove it to begin again, or choose"):
        next(run(begun, **changed_run(what)))


def undigested(step):
    (step.parents[1] / resumable.FILES).unlink()


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    "damage",
    [
        lambda step: cut(step / "about" / "metadata"),
        lambda step: cut(step / "moments" / "manifest.ocdbt"),
        lambda step: [cut(p) for p in (step / "moments").rglob("d/*")],
        lambda step: flip(max((step / "moments").rglob("d/*"), key=lambda p: p.stat().st_size)),
        lambda step: shutil.rmtree(step / "moments" / "d"),
        lambda step: [undigested(step), cut(step / "about" / "metadata")],
        lambda step: [undigested(step), (step / "about" / "metadata").write_text("{}")],
    ],
)
def test_a_damaged_checkpoint_is_one_clear_error(tmp_path, damage):
    stop_after(run(tmp_path / "run"), 2)
    (step,) = (p for p in (tmp_path / "run" / "moments").iterdir() if p.name == "2")
    damage(step)
    with pytest.raises(FacesemError, match=r"(damaged|missing).* remove .* to begin again"):
        next(run(tmp_path / "run"))


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_run_killed_before_it_wrote_the_digests_resumes(tmp_path):
    stop_after(run(tmp_path / "run"), 2)
    older = (tmp_path / "run" / resumable.FILES).read_bytes()
    stop_after(run(tmp_path / "run"), 4)
    (tmp_path / "run" / resumable.FILES).write_bytes(older)
    assert next(run(tmp_path / "run")).done == 4


def test_what_a_killed_writer_left_is_removed(tmp_path, begun):
    stop_after(run(tmp_path / "run"), 2)
    left = tmp_path / "run" / "moments" / "4.orbax-checkpoint-tmp"
    left.mkdir()
    assert next(run(tmp_path / "run")).done == 2
    assert not left.exists()


def test_samples_that_an_interrupted_run_did_not_write_are_not_made_up(begun, tmp_path):
    with pytest.raises(FacesemError, match="does not hold the 4 samples"):
        next(run(begun, samples_path=tmp_path / "samples.npy"))


def test_samples_are_put_in_place_by_a_run_stopped_just_before(tmp_path):
    path = tmp_path / "samples.npy"
    list(run(tmp_path / "run", samples_path=path))
    for name in (path.name, "run/samples.npy.partial"):  # After, and before it was moved.
        path.replace(tmp_path / name)
        (only,) = run(tmp_path / "run", samples_path=path)
        assert only.done == 27 and np.load(path).shape == (27, 4, 4, 3, 8)


def test_samples_of_several_arrays_have_no_file(tmp_path):
    pair = jax.tree_util.Partial(lambda w: (w, w))
    with pytest.raises(FacesemError, match="not a single array"):
        next(run(None, derivative=pair, samples_path=tmp_path / "x.npy"))


def test_bad_arguments(tmp_path):
    with pytest.raises(FacesemError, match="seconds is nan"):
        next(run(tmp_path, seconds=float("nan")))
    (tmp_path / "file").touch()
    with pytest.raises(FacesemError, match="cannot be written"):
        next(run(tmp_path / "file"))


def test_fingerprint_sees_values_names_and_types():
    w = np.arange(4, dtype=np.float32)
    different = [
        fingerprint({"a": w}),
        fingerprint({"b": w}),
        fingerprint({"a": w.reshape(2, 2)}),
        fingerprint({"a": w.astype(np.float64)}),
        fingerprint({"a": w}, 2),
        fingerprint({"a": np.nextafter(w, 9)}),
    ]
    assert len(set(different)) == len(different)
    assert fingerprint({"a": jnp.asarray(w)}) == different[0]


def test_fingerprint_forgets_the_addresses_of_functions():
    def partial():
        def square(w):
            return w**2

        return jax.tree_util.Partial(square)

    one, other = partial(), partial()
    assert one.func is not other.func
    assert fingerprint(one) == fingerprint(other)
    assert fingerprint(one) != fingerprint(jax.tree_util.Partial(jnp.sin))


def test_rows_that_a_run_without_samples_passed_are_not_taken_for_written(tmp_path):
    samples = tmp_path / "samples.npy"
    stop_after(run(tmp_path / "run", samples_path=samples), 4)
    stop_after(run(tmp_path / "run"), 8)
    with pytest.raises(FacesemError, match="does not hold the 8 samples"):
        next(run(tmp_path / "run", samples_path=samples))
    assert not samples.exists()


def test_another_runs_samples_are_not_taken_for_ones_own(tmp_path):
    samples = tmp_path / "samples.npy"
    list(run(tmp_path / "run", samples_path=samples))
    # Its own, finished once more.
    assert len(list(run(tmp_path / "run", samples_path=samples))) == 1
    other = np.load(samples) * 0
    samples.unlink()
    np.save(samples, other)
    with pytest.raises(FacesemError, match="does not hold the 27 samples"):
        next(run(tmp_path / "run", samples_path=samples))
    list(run(tmp_path / "without"))
    with pytest.raises(FacesemError, match="does not hold the 27 samples"):
        next(run(tmp_path / "without", samples_path=samples))


def test_samples_move_to_another_disk(tmp_path, monkeypatch):
    rename = os.replace

    def other_disk(source, target):
        if source.name == resumable.PARTIAL_SAMPLES:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(source, target)

    monkeypatch.setattr("facesem_jax.semantics.sample_file.os.replace", other_disk)
    (tmp_path / "disk").mkdir()
    samples = tmp_path / "disk" / "samples.npy"
    list(run(tmp_path / "run", samples_path=samples))
    assert np.load(samples).shape[0] == 27 and [*samples.parent.iterdir()] == [samples]
    assert len(list(run(tmp_path / "run", samples_path=samples))) == 1


@pytest.mark.parametrize("text", ["{}", "[]", "null", '{"done": 4}', '{"done": 4, "files": []}'])
def test_a_damaged_list_of_files_is_one_clear_error(tmp_path, text):
    stop_after(run(tmp_path / "run"), 4)
    (tmp_path / "run" / resumable.FILES).write_text(text)
    with pytest.raises(FacesemError, match="no list of files"):
        next(run(tmp_path / "run"))
