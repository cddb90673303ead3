import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from facesem_jax.errors import FacesemError
from facesem_jax.generators.encoder import Encoder, EncoderConfig
from facesem_jax.training.perceptual_loss import (
    confident_feature_loss,
    early_features,
    feature_error,
)

RNG = np.random.default_rng(0)

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def encoder(random_module):
    config = EncoderConfig(32, (4, 4, 8, 8), 6, groups=2)
    return random_module(lambda: Encoder(config, rngs=nnx.Rngs(0)))


@pytest.fixture(scope="module")
def images():
    return jnp.asarray(RNG.uniform(-1, 1, (2, 32, 32, 3)), jnp.float32)


@pytest.mark.whole_run
def test_features_are_the_encoders_first_stages_at_any_size(encoder, images):
    found = early_features(encoder, images)
    assert [y.shape[1:] for y in found] == [(32, 32, 4), (16, 16, 4), (8, 8, 8)]
    for y, stage in zip(found, encoder.stages(images), strict=False):
        expected = stage / np.linalg.norm(stage, axis=-1, keepdims=True)
        np.testing.assert_allclose(y, expected, atol=1e-4)
    small = early_features(encoder, images[:, :16, :16])
    assert [y.shape[1] for y in small] == [16, 8, 4]
    with pytest.raises(FacesemError, match="divide by 4"):
        early_features(encoder, images[:, :18])
    with pytest.raises(FacesemError, match="expected"):
        encoder.stages(images[:, :16, :16])


def test_the_error_is_the_mean_over_blocks_and_stages():
    first = [RNG.normal(size=(2, s, s, 3)) for s in (8, 4, 2)]
    second = [RNG.normal(size=y.shape) for y in first]
    found = feature_error(*([jnp.asarray(y, jnp.float32) for y in x] for x in (first, second)))
    expected = np.zeros((2, 2, 2))
    for a, b in zip(first, second, strict=True):
        block = a.shape[1] // 2
        squared = ((a - b) ** 2).sum(-1).reshape(2, 2, block, 2, block)
        expected += squared.mean(axis=(2, 4)) / 3
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_best_scale_is_the_root_of_the_error():
    error, weight = jnp.full((1, 2, 2), 0.25), jnp.ones((1, 2, 2))
    loss = lambda sigma: confident_feature_loss(error, jnp.full((1, 2, 2), sigma), weight)  # noqa: E731
    np.testing.assert_allclose(loss(0.5), 0.5 + np.log(0.5), rtol=1e-5)
    np.testing.assert_allclose(jax.grad(loss)(0.5), 0, atol=1e-5)
    assert loss(0.4) > loss(0.5) < loss(0.6)


def test_places_without_weight_do_not_count():
    error = jnp.array([[[1.0, 9.0]]])
    sigma = jnp.ones((1, 1, 2))
    found = confident_feature_loss(error, sigma, jnp.array([[[1.0, 0.0]]]))
    np.testing.assert_allclose(found, 0.5, rtol=1e-5)
    with pytest.raises(FacesemError, match="sigma"):
        confident_feature_loss(error, jnp.ones((1, 2, 1)), jnp.ones((1, 1, 2)))
