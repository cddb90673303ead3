"""The Jacobians' options: subspace, approximations, checkpoints, files, devices, processes."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from experiments.jacobian_stage import JacobianSettings, jacobian_stage
from experiments.localized import main
from experiments.localized_options import Options, load_pair
from experiments.localized_stages import silent
from facesem_jax.errors import FacesemError
from facesem_jax.semantics.semantic_function import local_semantics

pytestmark = [pytest.mark.usefixtures("quick_compilation"), pytest.mark.whole_run]
W_DIM, SIZE, K = 16, 32, 6


def _options(pair, output, **changes):
    numbers = {
        "samples": 6,
        "components": 4,
        "regression_samples": 64,
        "exact_samples": 2,
        "strip_faces": 1,
        "restarts": 1,
        "quick": True,
    }
    return Options(str(pair), str(pair), output=output, **(numbers | changes))


def _read(output):
    with np.load(output / "components.npz") as data:
        return json.loads((output / "metrics.json").read_text()), dict(data)


@pytest.fixture(scope="module")
def whole(pair, tmp_path_factory):
    """A plain run with checkpoints and every Jacobian on disk."""
    folder = tmp_path_factory.mktemp("whole")
    extra = {"resume": folder / "state", "save_jacobians": folder / "all.npy"}
    main(_options(pair, folder / "out", **extra))
    return folder


@pytest.fixture(scope="module")
def stage(pair):
    """The Jacobian stage alone, on latents of its own."""
    local = local_semantics(*load_pair(str(pair), str(pair), "identity"), size=SIZE)
    ws = np.random.default_rng(0).normal(size=(6, W_DIM)).astype(np.float32)

    def run(**settings):
        return jacobian_stage(local, ws, JacobianSettings(**settings), silent)

    return run


def test_single_jacobians_average_to_the_mean(whole):
    metrics, arrays = _read(whole / "out")
    single = np.load(whole / "all.npy", mmap_mode="r")
    assert single.shape == (6, SIZE, SIZE, 4, W_DIM)
    mean = arrays["mean_jacobian"]
    np.testing.assert_allclose(single.mean(axis=0), mean, atol=1e-5 * np.abs(mean).max())
    assert metrics["jacobian"]["tangents"] == W_DIM and metrics["jacobian"]["relative_error"] == 0
    assert metrics["subspace"] is None and "basis" not in arrays


@pytest.fixture(scope="module")
def checkpointed(stage, tmp_path_factory):
    """The stage's mean Jacobian, and the directory of its checkpoints."""
    directory = tmp_path_factory.mktemp("checkpointed") / "state"
    mean, cost = stage(checkpoints=directory)
    assert cost["relative_error"] == 0
    return mean, directory


def test_a_finished_state_gives_the_same_result_again(checkpointed, stage):
    first, directory = checkpointed
    again, _ = stage(checkpoints=directory)
    np.testing.assert_array_equal(first, again)


def test_the_state_of_another_run_is_refused(whole, pair):
    with pytest.raises(FacesemError, match="another run"):
        main(_options(pair, whole / "other", resume=whole / "state", samples=7))
    assert not (whole / "other").exists()


def test_a_subspace_gives_directions_of_w_within_it(whole, pair, tmp_path):
    main(_options(pair, tmp_path / "out", subspace=K))
    metrics, arrays = _read(tmp_path / "out")
    basis, V = arrays["basis"], arrays["V"]
    assert basis.shape == (W_DIM, K) and V.shape == (4, W_DIM)
    np.testing.assert_allclose(basis.T @ basis, np.eye(K), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(V, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(V @ basis @ basis.T, V, atol=1e-5)
    mean = _read(whole / "out")[1]["mean_jacobian"] @ basis
    np.testing.assert_allclose(arrays["mean_jacobian"], mean, atol=1e-5 * np.abs(mean).max())
    assert metrics["jacobian"]["tangents"] == metrics["subspace"]["dimension"] == K
    assert K / W_DIM < metrics["subspace"]["variance_share"] < 1


def test_approximations_report_their_error(checkpointed, stage):
    exact, _ = checkpointed

    def run(**changes):
        mean, cost = stage(**changes)
        return cost["relative_error"], np.linalg.norm(mean - exact) / np.linalg.norm(exact)

    reported, found = run(products="bfloat16", synthesis_resolution=16)
    assert 0.01 < found < 3 and found / 3 < reported < found * 3


def test_errors(pair, tmp_path):
    def refused(message, **changes):
        with pytest.raises(FacesemError, match=message):
            main(_options(pair, tmp_path / "out", **changes))
        assert not (tmp_path / "out").exists()

    refused("subspace is 0", subspace=0)
    refused("dimension 17; expected 1 to w_dim = 16", subspace=17)
    refused("num_components is 4", subspace=3)
    refused(r"the layers have \[4, 8, 16, 32\]", synthesis_resolution=24, crop="identity")
    refused("--resume .* inside the output", resume=tmp_path / "out" / "state")
    refused("--save-jacobians .* inside", save_jacobians=tmp_path / "out" / "a.npy")
    taken = tmp_path / "taken.npy"
    taken.write_text("mine")
    refused("taken.npy", save_jacobians=taken)
    assert taken.read_text() == "mine"


def test_two_processes_of_two_devices_find_the_same(whole, pair, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = _options(pair, tmp_path / "out")
    numbers = ("samples", "components", "regression_samples", "exact_samples", "strip_faces")
    command = [sys.executable, "-m", "experiments.localized", "--quick", "--restarts", "1"]
    for name in (*numbers, "generator", "decomposer", "output"):
        command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    command += ["--coordinator", f"127.0.0.1:{port}", "--num-processes", "2", "--mesh", "2", "2"]
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    both = [
        subprocess.Popen(
            [*command, "--process-id", str(i)],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for i in range(2)
    ]  # fmt: skip
    try:
        said = [p.communicate(timeout=900) for p in both]
    finally:
        for p in both:
            p.kill()
    assert [p.returncode for p in both] == [0, 0], said
    assert ["live components" in output for output, _ in said] == [True, False]
    metrics, arrays = _read(tmp_path / "out")
    expected = _read(whole / "out")[1]["mean_jacobian"]
    scale = np.abs(expected).max()
    np.testing.assert_allclose(arrays["mean_jacobian"], expected, atol=1e-5 * scale)
    assert metrics["jacobian"]["devices"] == 4
