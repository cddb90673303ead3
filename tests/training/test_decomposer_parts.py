"""Parts of the decomposer's loss that can be left out, and their schedules."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from facesem_jax.errors import FacesemError
from facesem_jax.generators.encoder import Encoder, EncoderConfig
from facesem_jax.training.decomposer_loss import decomposer_loss, photometric_window
from facesem_jax.training.decomposer_loss_config import DecomposerLossConfig
from facesem_jax.training.known_views import turned_views

pytestmark = pytest.mark.usefixtures("quick_compilation")
SIZE = 32
KEY = jax.random.key(0)
#: Nothing but the reconstruction.
BARE = DecomposerLossConfig(
    hold_steps=0,
    ramp_steps=1,
    mirrored=0.0,
    symmetry=0.0,
    mirror_consistency=0.0,
    render_consistency=0.0,
    turn_consistency=0.0,
    upright=0.0,
    independence=0.0,
    smoothness=0.0,
    gradient=0.0,
    coarse=0.0,
    confidence=False,
    window=None,
)


@pytest.fixture(scope="module")
def encoder(random_module):
    config = EncoderConfig(SIZE, (4, 4, 8, 8), 6, groups=2)
    return random_module(lambda: Encoder(config, rngs=nnx.Rngs(0)))


@pytest.fixture(scope="module")
def images():
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    waves = np.stack([np.cos(np.pi * (i * x + j * y) + i) for i in range(3) for j in range(3)], -1)
    faces = waves @ np.random.default_rng(0).normal(size=(4, 1, 9, 3)) / 4
    return jnp.asarray(np.tanh(faces), jnp.float32)


def _loss(decomposer, images, config, encoder=None, key=KEY, step=9):
    return jax.jit(lambda d, x, k: decomposer_loss(d, x, step, k, config, encoder))(
        decomposer, images, key
    )


def _changed(decomposer, net):
    other = nnx.clone(decomposer)
    kernel = getattr(other, net).down[0].conv.kernel
    kernel[...] = 2 * kernel[...]
    return other


def test_the_bare_loss_is_the_reconstructions(tiny_decomposer, images):
    total, terms = _loss(tiny_decomposer, images, BARE)
    np.testing.assert_allclose(total, np.sqrt(2) * terms["l1"], rtol=2e-2)
    for name in ("perceptual", "mirror", "render", "turned", "shared"):
        assert terms[name] == 0, name
    # No known views: nothing is left that a key could seed.
    assert _loss(tiny_decomposer, images, BARE, key=jax.random.key(1))[0] == total


def test_without_confidence_its_maps_have_no_influence(tiny_decomposer, images, encoder):
    other = _changed(tiny_decomposer, "confidence_net")
    config = dataclasses.replace(BARE, mirrored=1.0, perceptual=1.0)
    assert (
        _loss(other, images, config, encoder)[0]
        == _loss(tiny_decomposer, images, config, encoder)[0]
    )
    config = dataclasses.replace(config, confidence=True)
    found = [_loss(d, images, config, encoder)[0] for d in (other, tiny_decomposer)]
    assert abs(found[0] - found[1]) > 1e-3


def test_without_weight_the_encoder_has_no_influence(tiny_decomposer, images, encoder):
    with pytest.raises(FacesemError, match="needs an encoder"):
        decomposer_loss(tiny_decomposer, images, 9, KEY, dataclasses.replace(BARE, perceptual=1.0))
    without = _loss(tiny_decomposer, images, BARE)[0]
    assert _loss(tiny_decomposer, images, BARE, encoder)[0] == without
    for weight in (1.0, 3.0):
        config = dataclasses.replace(BARE, perceptual=weight)
        total, terms = _loss(tiny_decomposer, images, config, encoder)
        # At scale 1 it is half the distance, which is 4 at most.
        assert 0.01 < terms["perceptual"] < 2
        np.testing.assert_allclose(total - without, weight * terms["perceptual"], rtol=1e-4)


def test_the_perceptual_term_is_0_for_a_perfect_reconstruction(tiny_decomposer, images, encoder):
    config = dataclasses.replace(BARE, perceptual=1.0)
    drawn, _ = tiny_decomposer.render(tiny_decomposer(images))
    terms = _loss(tiny_decomposer, images, config, encoder)[1]
    # The reconstruction of another picture in the place of the image: nearer to itself.
    near = _loss(tiny_decomposer, jnp.clip(drawn, -1, 1), config, encoder)[1]
    assert near["perceptual"] < terms["perceptual"]
    assert near["l1"] < terms["l1"]


def test_nothing_is_exchanged_while_depth_is_held(tiny_decomposer, images):
    held = dataclasses.replace(BARE, hold_steps=20, ramp_steps=10)
    exchanged = dataclasses.replace(held, exchange=2.0)
    totals = {
        step: [float(_loss(tiny_decomposer, images, c, step=step)[0]) for c in (held, exchanged)]
        for step in (20, 25)
    }
    np.testing.assert_allclose(*totals[20], rtol=1e-6)
    assert totals[25][1] > totals[25][0] + 0.05


def test_rotations_grow_to_their_full_size():
    config = DecomposerLossConfig(rotation_steps=100, rotation_start=0.2)
    found = [float(config.rotation(step)) for step in (0, 50, 100, 1000)]
    np.testing.assert_allclose(found, [0.2, 0.6, 1, 1], rtol=1e-6)
    assert float(DecomposerLossConfig().rotation(0)) == 1
    for wrong in ({"rotation_steps": -1}, {"rotation_start": 1.5}):
        with pytest.raises(FacesemError, match="share from 0 to 1"):
            DecomposerLossConfig(**wrong)


def test_the_curriculum_scales_the_known_views(tiny_decomposer, images):
    """At share 0 the known views are the own ones: turned photographs are the photographs."""
    config = dataclasses.replace(BARE, turn_consistency=1.0, rotation_steps=50)
    still = dataclasses.replace(config, rotation_start=0.0)
    same = jnp.broadcast_to(images[:1], images.shape)  # Of one light, so that none is exchanged.
    assert _loss(tiny_decomposer, same, still, step=0)[1]["turned"] < 1e-3
    assert _loss(tiny_decomposer, same, still, step=50)[1]["turned"] > 0.01
    view = tiny_decomposer.view(images)
    small, large = (
        turned_views(view, KEY, share * jnp.array([6.0, 15.0, 6.0]), tiny_decomposer.config) - view
        for share in (0.1, 0.2)
    )
    np.testing.assert_allclose(2 * small, large, atol=1e-5)


def test_without_a_window_all_pixels_weigh_alike():
    np.testing.assert_array_equal(photometric_window(4, None), np.ones((4, 4)))
