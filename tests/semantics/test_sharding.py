import json
import socket

import jax
import numpy as np
import pytest
import stream_processes as toy

from facesem_jax.errors import FacesemError
from facesem_jax.semantics import moments, sharding

FIELDS = ("mean", "mean_square", "variance")


@pytest.fixture(scope="module")
def alone():
    """The moments on one device."""
    (*_, last) = moments.stream_jacobian_moments(toy.maps(), toy.latents())
    return moments.finalise(last.moments)


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    path = tmp_path_factory.mktemp("eight") / "moments.npz"
    (output,) = toy.finish(toy.start("meshes", path, devices=8))
    return np.load(path), json.loads(output.splitlines()[-1])


@pytest.fixture(scope="module")
def joined(tmp_path_factory):
    """Two processes of two devices each."""
    folder = tmp_path_factory.mktemp("joined")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"localhost:{free.getsockname()[1]}"
    both = [toy.start("processes", coordinator, 2, i, folder, devices=2) for i in range(2)]
    # Gloo prints on stdout too.
    facts = [json.loads(output.splitlines()[-1]) for output in toy.finish(*both)]
    return folder, facts


def assert_same(found, key, expected):
    for name in FIELDS:
        x, y = found[f"{key}/{name}"], np.asarray(getattr(expected, name))
        assert np.abs(x - y).max() < 1e-5 * np.abs(y).max(), (key, name)


@pytest.mark.parametrize("mesh", [f"{s}x{t}" for s, t in toy.MESHES])
def test_eight_devices_give_the_numbers_of_one(eight, alone, mesh):
    assert eight[1][mesh]["done"] == toy.SAMPLES
    assert_same(eight[0], mesh, alone)


@pytest.mark.parametrize(("samples", "tangents"), toy.MESHES)
def test_the_state_is_split_along_the_tangents(eight, samples, tangents):
    shards = eight[1][f"{samples}x{tangents}"]["shards"]
    assert [s["shape"] for s in shards] == [[4, 4, 3, toy.SIZE // tangents]] * 8
    assert len({s["index"] for s in shards}) == tangents


def test_a_derivative_without_tangents_has_its_samples_split_over_all_devices(eight):
    y = np.sin(toy.latents().astype(np.float64)) ** 2
    np.testing.assert_allclose(eight[0]["any/mean"], y.mean(0), rtol=1e-5)
    np.testing.assert_allclose(eight[0]["any/variance"], y.var(0), rtol=1e-5)


def test_tangents_that_cannot_be_split_evenly_are_refused(eight):
    assert "6 tangents cannot be split over 4 devices" in eight[1]["uneven"]


@pytest.mark.whole_run
@pytest.mark.parametrize("process", [0, 1])
@pytest.mark.parametrize("mesh", [f"{s}x{t}" for s, t in toy.PROCESS_MESHES])
def test_two_processes_give_the_numbers_of_one(joined, alone, mesh, process):
    folder, facts = joined
    assert facts[process]["devices"] == 4
    assert_same(np.load(folder / f"process{process}.npz"), mesh, alone)


@pytest.mark.whole_run
def test_every_process_names_the_bad_sample(eight, joined):
    facts = [eight[1][f"{s}x{t}"] for s, t in toy.MESHES]
    facts += [f[f"{s}x{t}"] for f in joined[1] for s, t in toy.PROCESS_MESHES]
    for fact in facts:
        assert "1 sample(s) is not finite, the first at index 13 of ws" in fact["error"]


@pytest.mark.whole_run
@pytest.mark.parametrize(("samples", "tangents"), toy.PROCESS_MESHES)
def test_two_processes_resume_and_write_samples(joined, samples, tangents):
    folder, facts = joined
    for fact in facts:
        assert fact[f"{samples}x{tangents}"]["resumed"] == [min(2 * samples, 27)] * 2
    (whole,) = moments.stream_jacobian_moments(
        toy.maps(), toy.latents(), batch_size=toy.SAMPLES, keep_samples=True
    )
    written = np.load(folder / f"{samples}x{tangents}.npy")
    np.testing.assert_allclose(written, whole.samples, rtol=1e-5, atol=1e-6)


@pytest.mark.whole_run
def test_processes_that_see_different_checkpoints_all_stop(joined):
    for fact in joined[1]:
        assert "it must lie on a disk that all of them see" in fact["apart"]


def test_a_mesh_of_one_device_gives_the_numbers_of_none(alone):
    mesh = sharding.device_mesh()
    assert dict(mesh.shape) == {"samples": 1, "tangents": 1}
    (*_, last) = moments.stream_jacobian_moments(toy.maps(), toy.latents(), mesh=mesh)
    summary = moments.finalise(last.moments)
    assert_same({f"one/{n}": np.asarray(getattr(summary, n)) for n in FIELDS}, "one", alone)


def test_a_basis_of_a_wrong_shape():
    mesh = sharding.device_mesh()
    for basis in (np.ones(8, np.float32), np.ones((7, 2), np.float32)):
        with pytest.raises(FacesemError, match="basis has shape"):
            next(moments.stream_jacobian_moments(toy.maps(), toy.latents(), basis=basis, mesh=mesh))


@pytest.mark.parametrize(
    ("given", "shape"),
    [({}, (8, 1)), ({"samples": 2}, (2, 4)), ({"tangents": 2}, (4, 2)), ({"samples": 8}, (8, 1))],
)
def test_what_is_not_given_takes_the_other_devices(given, shape):
    devices = jax.devices() * 8  # Only counted here.
    mesh = sharding.device_mesh(**given, devices=devices)
    assert (mesh.shape["samples"], mesh.shape["tangents"]) == shape


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"samples": 3}, "3 devices along the samples cannot be made of 8"),
        ({"tangents": 0}, "0 devices along the tangents"),
        ({"samples": 2, "tangents": 2}, "2 x 2 devices .* needs 4, and there are 8"),
    ],
)
def test_bad_meshes(given, message):
    with pytest.raises(FacesemError, match=message):
        sharding.device_mesh(**given, devices=jax.devices() * 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("localhost:1", None, None), "give all three"),
        (("localhost", 2, 0), "expected host:port"),
        (("localhost:1", 2, 2), "process_id is 2 of 2"),
        (("localhost:1", 2, 0), "could not be joined"),  # Jax has computed here already.
    ],
)
def test_processes_that_cannot_be_joined(arguments, message):
    jax.block_until_ready(jax.numpy.ones(1))
    with pytest.raises(FacesemError, match=message):
        sharding.initialise_distributed(*arguments)
