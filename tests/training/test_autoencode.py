import types

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facesem_jax.training.autoencode import (
    AutoencodeConfig,
    Faces,
    LinearReadout,
    autoencode_loss,
    psnr,
    reconstruction_loss,
)

KEY = jax.random.key(0)
QUIET = AutoencodeConfig(noise=0.0)


@pytest.fixture(scope="module")
def faces():
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (3, 8, 8, 3))
    return Faces(
        jnp.asarray(images, jnp.float32), jnp.asarray(rng.normal(size=(3, 5)), jnp.float32)
    )


def _model(readout=None):
    """Encodes to the pixels themselves and draws them back."""
    return types.SimpleNamespace(
        encoder=lambda images: images.reshape(images.shape[0], -1),
        synthesis=lambda w: w.reshape(-1, 8, 8, 3),
        readout=readout or LinearReadout(192, 5),
    )


def test_psnr_of_known_errors():
    images = jnp.zeros((2, 4, 4, 3))
    np.testing.assert_allclose(psnr(images + 0.2, images), 20, rtol=1e-5)
    # Decibels are averaged over images, not errors.
    drawn = images.at[0].add(0.2).at[1].add(0.02)
    np.testing.assert_allclose(psnr(drawn, images), 30, rtol=1e-4)
    # Beyond [-1, 1] nothing is shown.
    np.testing.assert_allclose(psnr(images + 1.8, images + 0.8), 20, rtol=1e-4)


def test_reconstruction_loss_of_a_constant_and_of_a_ramp():
    images = jnp.zeros((1, 8, 8, 3))
    np.testing.assert_allclose(reconstruction_loss(images + 0.5, images, 3.0), 0.5, rtol=1e-5)
    ramp = images + jnp.arange(8.0)[None, None, :, None] - 3.5
    without = reconstruction_loss(ramp, images, 0.0)
    np.testing.assert_allclose(reconstruction_loss(ramp, images, 3.0), without + 3, rtol=1e-5)


def test_a_perfect_autoencoder_pays_for_size_and_anchor_alone(faces):
    total, terms = autoencode_loss(_model(), faces, KEY, QUIET)
    np.testing.assert_allclose(terms["w_square"], jnp.mean(faces.images**2), rtol=1e-5)
    np.testing.assert_allclose(terms["anchor"], jnp.mean(faces.targets**2), rtol=1e-5)
    expected = QUIET.size_penalty * terms["w_square"] + QUIET.anchor * terms["anchor"]
    np.testing.assert_allclose(total, expected, rtol=1e-5)


def test_the_anchor_vanishes_where_z_can_be_read_linearly(faces):
    kernel, *_ = np.linalg.lstsq(faces.images.reshape(3, -1), faces.targets - 1, rcond=None)
    readout = LinearReadout(192, 5)
    readout.kernel[...] = jnp.asarray(kernel, jnp.float32)
    readout.bias[...] = jnp.ones(5)
    _, terms = autoencode_loss(_model(readout), faces, KEY, QUIET)
    assert terms["anchor"] < 1e-8


def test_noise_on_w_has_its_deviation_and_its_seed(faces):
    config = AutoencodeConfig(noise=0.02)
    _, terms = autoencode_loss(_model(), faces, KEY, config)
    # The synthesis passes the noise on to the pixels; clipping removes some at the ends.
    np.testing.assert_allclose(terms["psnr"], 10 * np.log10(4 / 0.02**2), atol=0.3)
    _, again = autoencode_loss(_model(), faces, KEY, config)
    _, other = autoencode_loss(_model(), faces, jax.random.key(1), config)
    assert terms["psnr"] == again["psnr"] != other["psnr"]


def test_the_readout_starts_at_zero_and_is_affine():
    readout = LinearReadout(4, 2)
    w = jnp.ones((3, 4))
    chex.assert_shape(readout(w), (3, 2))
    np.testing.assert_array_equal(readout(w), 0)
    readout.kernel[...] = jnp.arange(8.0).reshape(4, 2)
    readout.bias[...] = jnp.array([1.0, -1.0])
    np.testing.assert_allclose(readout(w)[0], [13, 15])
