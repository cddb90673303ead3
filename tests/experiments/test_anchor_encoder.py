import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from changed_parts import changed_parts
from flax import nnx

from experiments import anchor_encoder
from experiments.anchor_encoder import Options, fitted_readout, main
from facesem_jax import load_encoder
from facesem_jax.errors import FacesemError
from facesem_jax.generators.config import StyleGAN2Config
from facesem_jax.generators.encoder import Encoder, EncoderConfig
from facesem_jax.generators.stylegan2 import Synthesis
from facesem_jax.training.autoencode import AutoencodeConfig, Autoencoder, Faces, LinearReadout

pytestmark = pytest.mark.usefixtures("quick_compilation")
TARGETS, W_DIM = 5, 6


def pictures(seed, size):
    def batch(step):
        key = jax.random.fold_in(jax.random.key(seed), step)
        shade = jax.random.uniform(key, (size, 1, 1, 3), minval=-1)
        return Faces(shade * jnp.linspace(0.5, 1, 8)[None, :, None, None] * jnp.ones((8, 1)), None)

    return batch, 1


@jax.tree_util.register_static
class Anchor:
    """The mean colour, and two sums of it."""

    projection = types.SimpleNamespace(matrix=np.zeros((1, TARGETS)))

    def weighted(self, **_):
        return self

    def __call__(self, x):
        colour = x.mean(axis=(1, 2))
        return jnp.concatenate([colour, colour[:, :1] + colour[:, 1:]], axis=1)


@pytest.fixture
def networks(random_module):
    config = EncoderConfig(8, (4, 4), W_DIM, groups=2)
    encoder = random_module(lambda: Encoder(config, rngs=nnx.Rngs(0)))
    config = StyleGAN2Config(8, (4, 4), z_dim=5, w_dim=W_DIM, mapping_layers=1)
    synthesis = random_module(lambda: Synthesis(config, rngs=nnx.Rngs(1)), unit_kernels=True)
    return Autoencoder(encoder, synthesis, LinearReadout(W_DIM, TARGETS))


@pytest.fixture
def stubs(monkeypatch, networks):
    monkeypatch.setattr(anchor_encoder, "stream_batches", pictures)
    monkeypatch.setattr(anchor_encoder, "semantic_anchor", lambda *_: Anchor())
    few = functools.partial(fitted_readout, count=64)
    monkeypatch.setattr(anchor_encoder, "fitted_readout", few)
    copy = jax.tree.map(jnp.array, networks)
    monkeypatch.setattr(anchor_encoder, "init_autoencoder", lambda *_: copy)


def test_the_readout_is_the_ridge_of_noisy_latents(networks):
    def batch(step):
        images = pictures(0, 32)[0](step).images
        return Faces(images, Anchor()(images))

    options = Options(batch_size=32, autoencode=AutoencodeConfig(noise=0.3))
    readout = fitted_readout(networks.encoder, batch, options, 256)
    assert readout.shape == (TARGETS, W_DIM + 1)
    w = np.concatenate([networks.encoder(batch(20_000_000 + k).images) for k in range(8)])
    y = np.concatenate([batch(20_000_000 + k).targets for k in range(8)])
    centred = w - w.mean(axis=0)
    normal = centred.T @ centred / len(w) + 0.09 * np.eye(W_DIM)
    expected = np.linalg.solve(normal, centred.T @ (y - y.mean(axis=0)) / len(w))
    np.testing.assert_allclose(readout[:, :-1].T, expected, rtol=1e-3, atol=1e-4)
    read = w @ readout[:, :-1].T + readout[:, -1]
    np.testing.assert_allclose(read.mean(axis=0), y.mean(axis=0), atol=1e-4)


@pytest.mark.whole_run
def test_the_encoder_alone_learns_and_is_written_once(stubs, networks, tmp_path):
    options = Options(
        tmp_path / "run", steps=60, batch_size=16, learning_rate=1e-2,
        autoencode=AutoencodeConfig(anchor=20.0),
    )  # fmt: skip
    main(options)
    found = load_encoder(tmp_path / "run" / "encoder")
    assert changed_parts(networks.encoder, found)
    images = pictures(9, 256)[0](0).images
    y = np.asarray(Anchor()(images))

    def unexplained(encoder):
        w = np.asarray(encoder(images))
        x = np.concatenate([w, np.ones((len(w), 1))], axis=1)
        return np.mean((y - x @ np.linalg.lstsq(x, y, rcond=None)[0]) ** 2) / y.var()

    assert unexplained(found) < unexplained(networks.encoder)
    with pytest.raises(FacesemError, match="is there already"):
        main(options)


@pytest.mark.parametrize("wrong", ["steps", "batch_size", "angles", "mouth"])
def test_numbers_that_cannot_be_are_refused(wrong):
    with pytest.raises(FacesemError, match="at least"):
        Options(**{wrong: -1})
