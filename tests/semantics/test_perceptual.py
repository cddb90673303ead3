import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from facesem_jax.errors import FacesemError
from facesem_jax.generators.encoder import Encoder, EncoderConfig
from facesem_jax.semantics.inversion import InversionSettings, fit_latent_prior, invert
from facesem_jax.semantics.perceptual import perceptual_distance, unit_stages

CONFIG = EncoderConfig(16, (4, 4, 8), 6, groups=2)

pytestmark = pytest.mark.usefixtures("quick_compilation")
_stages = jax.jit(lambda encoder, x: encoder.stages(x))
_distance = jax.jit(perceptual_distance)
_value_and_gradient = jax.jit(
    lambda encoder, x, y: jax.value_and_grad(lambda x: perceptual_distance(encoder, x, y).sum())(x)
)


@pytest.fixture(scope="module")
def encoder(random_module):
    return random_module(lambda: Encoder(CONFIG, rngs=nnx.Rngs(0)))


@pytest.fixture(scope="module")
def images():
    return jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (2, 16, 16, 3)), jnp.float32)


def test_it_is_the_equation(encoder, images):
    first, second = _stages(encoder, images), _stages(encoder, images[::-1])
    assert [y.shape[1:] for y in first] == [(16, 16, 4), (8, 8, 4), (4, 4, 8)]
    expected = 0.0
    for a, b in zip(first, second, strict=True):
        a, b = (np.asarray(y, np.float64) for y in (a, b))
        a, b = (y / np.linalg.norm(y, axis=-1, keepdims=True) for y in (a, b))
        expected = expected + np.sum((a - b) ** 2, axis=-1).mean(axis=(1, 2)) / 3
    found = _distance(encoder, images, images[::-1])
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert (found > 0).all() and (found < 4).all()


@pytest.mark.whole_run
def test_equal_images_have_distance_and_gradient_zero(encoder, images):
    # Not compiled as a whole: one program may round the two sides differently.
    value, gradient = jax.value_and_grad(lambda x: perceptual_distance(encoder, x, images).sum())(
        images
    )
    assert float(value) == 0 and float(jnp.abs(gradient).max()) == 0


def test_a_pixel_without_features_has_a_finite_gradient(encoder):
    black = np.zeros((2, 16, 16, 3), np.float32)
    _, gradient = _value_and_gradient(encoder, black, black + np.float32(0.5))
    assert np.isfinite(gradient).all()


def test_the_stages_lead_to_the_encoders_w(encoder, images):
    features = np.asarray(_stages(encoder, images)[-1]).reshape(2, -1)
    expected = features @ np.asarray(encoder.head[...]) + np.asarray(encoder.bias[...])
    np.testing.assert_allclose(encoder(images), expected, atol=1e-4)
    with pytest.raises(FacesemError):
        unit_stages(encoder, images[:, :8])


@pytest.mark.whole_run
def test_an_inversion_comes_nearer_in_the_distance_it_weighs(encoder):
    matrix = jnp.asarray(np.random.default_rng(1).normal(size=(6, 768)) * 0.1, jnp.float32)

    class Linear(nnx.Module):
        def __init__(self):
            self.matrix = nnx.Param(matrix)

        def synthesis(self, w):
            return (w @ self.matrix[...]).reshape(-1, 16, 16, 3)

    rng = np.random.default_rng(2)
    prior = fit_latent_prior(jnp.asarray(rng.normal(size=(64, 6)), jnp.float32))
    # Not the generator's own image: some of the difference stays.
    target = Linear().synthesis(jnp.ones((1, 6))) + 0.3 * rng.normal(size=(1, 16, 16, 3))
    target = jnp.asarray(target, jnp.float32)
    found = []
    for weight in (0.0, 5.0):
        settings = InversionSettings(steps=150, prior_weight=0, perceptual_weight=weight)
        done = invert(Linear(), target, prior.mean[None], prior, settings, encoder=encoder)
        drawn = Linear().synthesis(done.w)
        found.append(float(_distance(encoder, drawn, target)[0]))
    assert found[1] < 0.98 * found[0]
    without = invert(Linear(), target, prior.mean[None], prior, settings)
    plain = InversionSettings(steps=150, prior_weight=0)
    again = invert(Linear(), target, prior.mean[None], prior, plain)
    np.testing.assert_array_equal(without.w, again.w)
