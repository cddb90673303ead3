import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from facesem_jax.generators.config import StyleGAN2Config
from facesem_jax.generators.encoder import Encoder, EncoderConfig
from facesem_jax.generators.stylegan2 import Synthesis
from facesem_jax.training.whitening import whiten_latents, whitening

pytestmark = pytest.mark.usefixtures("quick_compilation")

W_DIM = 5


@jax.jit
def _call(module, x):
    return module(x)


@pytest.fixture(scope="module")
def networks(random_module):
    encoder = random_module(
        lambda: Encoder(EncoderConfig(8, (4, 4), W_DIM, groups=2), rngs=nnx.Rngs(0))
    )
    encoder.bias[...] = jnp.arange(W_DIM, dtype=jnp.float32)
    config = StyleGAN2Config(8, (4, 4), z_dim=4, w_dim=W_DIM)
    synthesis = random_module(lambda: Synthesis(config, rngs=nnx.Rngs(0)), unit_kernels=True)
    return encoder, synthesis


@pytest.fixture(scope="module")
def images():
    return jax.random.uniform(jax.random.key(0), (64, 8, 8, 3), minval=-1, maxval=1)


def _correlated(rng, n=2000):
    mixing = rng.normal(size=(W_DIM, W_DIM))
    return jnp.asarray(rng.normal(size=(n, W_DIM)) @ mixing + 3, jnp.float32)


def test_whitening_brings_the_covariance_to_the_identity():
    samples = _correlated(np.random.default_rng(0))
    mean, matrix, inverse = whitening(samples)
    white = (samples - mean) @ matrix
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(W_DIM), atol=1e-3)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-4)
    np.testing.assert_allclose(matrix @ inverse, np.eye(W_DIM), atol=1e-4)


def test_directions_without_variance_are_not_blown_up():
    samples = _correlated(np.random.default_rng(1)).at[:, 2].set(7.0)
    _, matrix, inverse = whitening(samples, floor=1e-2)
    top = np.linalg.eigvalsh(np.cov(samples.T, bias=True))[-1]
    np.testing.assert_allclose(np.linalg.norm(matrix, 2), 1 / np.sqrt(1e-2 * top), rtol=1e-3)
    np.testing.assert_allclose(matrix @ inverse, np.eye(W_DIM), atol=1e-4)


def test_whitened_networks_draw_the_same_pictures(networks, images):
    encoder, synthesis = networks
    before = jax.tree.map(jnp.array, nnx.state(networks))
    encodings = _call(encoder, images)
    drawn = _call(synthesis, encodings)
    white_encoder, white_synthesis = whiten_latents(encoder, synthesis, encodings)
    white = _call(white_encoder, images)
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(W_DIM), atol=1e-3)
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-4)
    scale = float(jnp.std(drawn))
    assert scale > 1e-2
    np.testing.assert_allclose(_call(white_synthesis, white), drawn, atol=1e-4 * max(scale, 1))
    chex.assert_trees_all_equal(nnx.state(networks), before)
    assert float(jnp.abs(encodings - white).max()) > 0.1
