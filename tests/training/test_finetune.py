import types

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from facesem_jax.errors import FacesemError
from facesem_jax.generators.config import StyleGAN2Config
from facesem_jax.generators.encoder import Encoder, EncoderConfig
from facesem_jax.generators.stylegan2 import StyleGAN2
from facesem_jax.training.autoencode import Faces
from facesem_jax.training.discriminator import Discriminator, DiscriminatorConfig
from facesem_jax.training.finetune import (
    FinetuneConfig,
    GeneratorPlayer,
    discriminator_loss,
    player_loss,
    player_optimizer,
)

pytestmark = pytest.mark.usefixtures("quick_compilation")
KEY = jax.random.key(0)
QUIET = FinetuneConfig(noise=0.0)


@pytest.fixture(scope="module")
def faces():
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.uniform(-1, 1, (4, 8, 8, 3)), jnp.float32)
    return Faces(images, jnp.asarray(rng.normal(size=(4, 5)), jnp.float32))


@pytest.fixture(scope="module")
def players(random_module):
    config = StyleGAN2Config(
        8, (4, 4), z_dim=5, w_dim=6, mapping_layers=1, mapping_lr_multiplier=1.0
    )

    def build():
        generator = StyleGAN2(config, rngs=nnx.Rngs(0))
        encoder = Encoder(EncoderConfig(8, (4, 4), 6, groups=2), rngs=nnx.Rngs(1))
        return GeneratorPlayer(generator.mapping, encoder, generator.synthesis)

    critic = DiscriminatorConfig(8, (4,))
    return (
        random_module(build, unit_kernels=True),
        random_module(lambda: Discriminator(critic, rngs=nnx.Rngs(2)), unit_kernels=True),
    )


class PixelMapping:
    """Maps z to pixels; the latents of these tests are the images themselves."""

    z_dim = 192

    def __init__(self, scale=1.0):
        self.scale = scale

    def __call__(self, z):
        return self.scale * z


def _pixel_player(gain=1.0):
    return types.SimpleNamespace(
        mapping=PixelMapping(),
        encoder=lambda images: images.reshape(images.shape[0], -1),
        synthesis=lambda w: gain * w.reshape(-1, 8, 8, 3),
    )


class MeanCritic:
    """The mean over an image, times 1000."""

    def features(self, images):
        return [images]

    def __call__(self, images):
        return 1000 * jnp.mean(images, axis=(1, 2, 3))


def test_a_perfect_reconstruction_pays_for_the_verdict_alone(faces):
    total, terms = player_loss(_pixel_player(), faces, MeanCritic(), False, KEY, QUIET)
    np.testing.assert_allclose([terms["reconstruction"], terms["features"]], 0, atol=1e-6)
    np.testing.assert_allclose(total, QUIET.adversarial * terms["verdict"], rtol=1e-5)
    assert terms["verdict"] > 1
    worse, terms = player_loss(_pixel_player(0.5), faces, MeanCritic(), False, KEY, QUIET)
    np.testing.assert_allclose(terms["features"], jnp.mean(jnp.abs(faces.images)) / 2, rtol=1e-5)
    assert worse > total - QUIET.adversarial * terms["verdict"]


@pytest.mark.whole_run
def test_the_path_term_comes_on_regularised_steps_alone(faces):
    def total(regularise):
        player = _pixel_player()
        # Each face has a length of its own: the gain depends on the latent.
        player.synthesis = lambda w: jnp.sin(3 * w.reshape(-1, 8, 8, 3))
        wide = Faces(jnp.tile(faces.images, (2, 1, 1, 1)), jnp.tile(faces.targets, (2, 1)))
        return player_loss(player, wide, MeanCritic(), regularise, KEY, QUIET)[0]

    assert total(True) > total(False)


def test_the_discriminator_sees_reconstructions_as_fakes(faces):
    loss, terms = discriminator_loss(MeanCritic(), faces, _pixel_player(), False, KEY, QUIET)
    # Half of the fakes are the reals.
    np.testing.assert_allclose(terms["real"], 1000 * jnp.mean(faces.images), rtol=1e-4)
    z = jax.random.normal(jax.random.split(jax.random.split(KEY)[0])[0], (4, 192))
    np.testing.assert_allclose(
        terms["fake"], 500 * (jnp.mean(z) + jnp.mean(faces.images)), rtol=1e-3
    )
    penalised, _ = discriminator_loss(MeanCritic(), faces, _pixel_player(), True, KEY, QUIET)
    # |grad|^2 / 2 of 1000 times a mean over 192 values.
    expected = QUIET.r1 * QUIET.interval * 1e6 / 192 / 2
    np.testing.assert_allclose(penalised - loss, expected, rtol=1e-3)


@pytest.mark.whole_run
def test_gradients_of_the_networks_are_finite_and_reach_every_part(faces, players):
    player, discriminator = players
    config = FinetuneConfig(encoder_rate=0.1)

    @jax.jit
    def gradients(player, discriminator, faces):
        graph, params, buffers = nnx.split(player, nnx.Param, ...)

        def loss(params):
            own = nnx.merge(graph, params, buffers)
            return player_loss(own, faces, discriminator, True, KEY, config)[0]

        def critic(params):
            own = nnx.merge(nnx.graphdef(discriminator), params)
            return discriminator_loss(own, faces, player, True, KEY, config)[0]

        return jax.grad(loss)(params), jax.grad(critic)(nnx.state(discriminator))

    own, others = gradients(player, discriminator, faces)
    chex.assert_tree_all_finite((own, others))
    for part in ("mapping", "encoder", "synthesis"):
        assert max(float(jnp.abs(x).max()) for x in jax.tree.leaves(own[part])) > 0
    assert all(float(jnp.abs(x).max()) > 0 for x in jax.tree.leaves(others))


@pytest.mark.whole_run
def test_a_frozen_encoder_gets_no_gradient(faces):
    def loss(scale, rate):
        player = _pixel_player()
        player.encoder = lambda images: scale * images.reshape(images.shape[0], -1)
        config = FinetuneConfig(encoder_rate=rate)
        return player_loss(player, faces, MeanCritic(), False, KEY, config)[0]

    assert float(jax.grad(loss)(0.5, 0.0)) == 0
    assert abs(float(jax.grad(loss)(0.5, 0.1))) > 0


def test_every_part_has_its_own_rate():
    config = FinetuneConfig(mapping_rate=0.25, encoder_rate=0.0)
    optimizer = player_optimizer(1e-2, config)
    params = {k: {"a": jnp.ones(3)} for k in ("mapping", "encoder", "synthesis")}
    gradient = jax.tree.map(lambda x: 2.0 * x, params)
    updates, _ = optimizer.update(gradient, optimizer.init(params), params)
    # Adam's first step is the rate itself, against the gradient's sign.
    for name, rate in (("mapping", 0.25e-2), ("encoder", 0.0), ("synthesis", 1e-2)):
        np.testing.assert_allclose(updates[name]["a"], -rate, rtol=1e-5)


def test_discriminator_shapes_and_groups(faces, players):
    _, discriminator = players
    judge = jax.jit(lambda d, x: d(x))
    logits = judge(discriminator, faces.images)
    chex.assert_shape(logits, (4,))
    chex.assert_shape(discriminator.features(faces.images), [(4, 4, 4, 4)])
    # The batch's standard deviation enters: an image among its copies is judged otherwise.
    copies = judge(discriminator, jnp.repeat(faces.images[:1], 4, axis=0))
    np.testing.assert_allclose(copies, copies[0], atol=1e-5)
    assert abs(float(copies[0] - logits[0])) > 1e-4
    order = jnp.array([2, 0, 3, 1])
    np.testing.assert_allclose(judge(discriminator, faces.images[order]), logits[order], atol=1e-5)
    chex.assert_shape(judge(discriminator, faces.images[:3]), (3,))
    with pytest.raises(FacesemError, match="images has shape"):
        discriminator(jnp.zeros((1, 16, 16, 3)))
