"""Parts of the decomposer's loss that can be left out, and their schedules."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from smooth_fields import smooth_fields

from facesem_jax.decomposer import Decomposer
from facesem_jax.errors import FacesemError
from facesem_jax.generators.encoder import Encoder, EncoderConfig
from facesem_jax.training.decomposer_loss import decomposer_loss, photometric_window
from facesem_jax.training.decomposer_loss_config import DecomposerLossConfig
from facesem_jax.training.known_views import turned_views
from facesem_jax.training.relief import relief_of_prior
from facesem_jax.training.unfolding import LatentPose

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
    faces = smooth_fields(np.random.default_rng(0), SIZE, 4, 3)
    return jnp.asarray(np.tanh(faces), jnp.float32)


@functools.lru_cache
def _compiled(config):
    return jax.jit(
        lambda decomposer, images, step, key, encoder, pose: decomposer_loss(
            decomposer, images, step, key, config, encoder, pose
        )
    )


def _loss(decomposer, images, config, encoder=None, key=KEY, step=9, pose=None):
    return _compiled(config)(decomposer, images, step, key, encoder, pose)


PERCEPTUAL = dataclasses.replace(BARE, perceptual=3.0)


def test_the_bare_loss_is_the_reconstructions(tiny_decomposer, images):
    total, terms = _loss(tiny_decomposer, images, BARE)
    np.testing.assert_allclose(total, np.sqrt(2) * terms["l1"], rtol=1e-4)
    for name in ("perceptual", "mirror", "render", "turned", "shared"):
        assert terms[name] == 0, name
    # No known views: nothing is left that a key could seed.
    assert _loss(tiny_decomposer, images, BARE, key=jax.random.key(1))[0] == total


@pytest.mark.whole_run
def test_the_perceptual_term_is_added_with_its_weight(tiny_decomposer, images, encoder):
    total, terms = _loss(tiny_decomposer, images, PERCEPTUAL, encoder)
    # At scale 1 it is half the distance, which is 4 at most.
    assert 0.01 < terms["perceptual"] < 2
    expected = np.sqrt(2) * terms["l1"] + 3 * terms["perceptual"]
    np.testing.assert_allclose(total, expected, rtol=1e-4)
    with pytest.raises(FacesemError, match="needs an encoder"):
        decomposer_loss(tiny_decomposer, images, 9, KEY, PERCEPTUAL)


@pytest.mark.whole_run
def test_without_confidence_its_maps_have_no_influence(tiny_decomposer, images, encoder):
    other = nnx.clone(tiny_decomposer)
    for head in (other.confidence_net.fine_out, other.confidence_net.coarse_out):
        head.kernel[...] = 3 * head.kernel[...]
    both = (tiny_decomposer, other)
    found = [float(_loss(d, images, PERCEPTUAL, encoder)[0]) for d in both]
    assert found[0] == found[1]
    config = dataclasses.replace(PERCEPTUAL, confidence=True)
    found = [float(_loss(d, images, config, encoder)[0]) for d in both]
    assert abs(found[0] - found[1]) > 1e-3


def test_without_weight_the_encoder_is_not_part_of_the_program(tiny_decomposer, images, encoder):
    def program(config, encoder):
        return str(
            jax.make_jaxpr(lambda x: decomposer_loss(tiny_decomposer, x, 9, KEY, config, encoder))(
                images
            )
        )

    without = program(BARE, None)
    assert program(BARE, encoder) == without
    assert program(PERCEPTUAL, encoder) != without


@pytest.mark.whole_run
def test_a_better_picture_has_less_of_the_perceptual_term(tiny_decomposer, images, encoder):
    drawn = jax.jit(lambda d, x: d.render(d(x))[0])(tiny_decomposer, images)
    blank = _loss(tiny_decomposer, images, PERCEPTUAL, encoder)[1]
    near = _loss(tiny_decomposer, jnp.clip(drawn, -1, 1), PERCEPTUAL, encoder)[1]
    assert near["perceptual"] < blank["perceptual"] and near["l1"] < blank["l1"]


def test_exchange_and_late_terms_wait_for_depth(tiny_decomposer, images):
    config = dataclasses.replace(
        BARE, hold_steps=20, ramp_steps=10, exchange=2.0, symmetry=2.0, late=True
    )
    for step, extra in ((20, False), (25, True)):
        total, terms = _loss(tiny_decomposer, images, config, step=step)
        assert terms["symmetry"] > 0.01 and terms["shared"] > 0.01
        rest = float(total) - np.sqrt(2) * float(terms["l1"])
        assert rest > 0.05 if extra else abs(rest) < 1e-4


@pytest.mark.whole_run
def test_the_relief_counts_with_its_distance_from_the_share(tiny_decomposer, images):
    config = dataclasses.replace(BARE, relief=3.0, relief_share=0.25)
    total, terms = _loss(tiny_decomposer, images, config)
    depth = tiny_decomposer.depth(images)
    window = photometric_window(SIZE, None)
    own = relief_of_prior(depth, tiny_decomposer.config, window)
    np.testing.assert_allclose(terms["relief"], own, rtol=1e-4)
    lacks = abs(float(own) - 0.25)
    assert lacks > 0.1
    np.testing.assert_allclose(total, np.sqrt(2) * terms["l1"] + 3 * lacks, rtol=1e-4)
    flat = dataclasses.replace(tiny_decomposer.config, depth_prior=None)
    with pytest.raises(FacesemError, match="there is no prior"):
        decomposer_loss(Decomposer(flat, rngs=nnx.Rngs(0)), images, 9, KEY, config)


@pytest.mark.whole_run
def test_the_mean_depth_is_held_to_a_surface(tiny_decomposer, images):
    config = dataclasses.replace(BARE, surface=3.0, surface_window=(20.0, 30.0))
    mean = jnp.mean(tiny_decomposer.depth(images), axis=0)
    x = (np.arange(SIZE) - (SIZE - 1) / 2) * 64 / SIZE
    inside = (x / 20) ** 2 + (x[:, None] / 30) ** 2 < 1
    # What lies outside the ellipse has no say, nor has what single faces differ by.
    surface = jnp.where(inside, mean + 0.02, 7.0)
    found = decomposer_loss(tiny_decomposer, images, 9, KEY, config, surface=surface)
    own = inside.mean() * 0.02 / 0.1  # Of half the range of depth.
    np.testing.assert_allclose(found[1]["surface"], own, rtol=1e-4)
    np.testing.assert_allclose(found[0], np.sqrt(2) * found[1]["l1"] + 3 * own, rtol=1e-4)
    with pytest.raises(FacesemError, match="mean surface needs one"):
        decomposer_loss(tiny_decomposer, images, 9, KEY, config)
    with pytest.raises(FacesemError, match="surface has shape"):
        decomposer_loss(tiny_decomposer, images, 9, KEY, config, surface=surface[None])
    with pytest.raises(FacesemError, match="surface_window is"):
        DecomposerLossConfig(surface_window=(25.0, 0.0))


@pytest.mark.whole_run
@pytest.mark.parametrize(("angle", "column"), [("yaw", 1), ("pitch", 0)])
def test_the_term_against_folded_angles_is_a_share_of_the_range_and_needs_the_pose(
    tiny_decomposer, images, angle, column
):
    view = np.asarray(tiny_decomposer.view(images))
    angles = view[:, column] + np.radians([30.0, -30.0, 0.0, 30.0]).astype(np.float32)
    pose = LatentPose(view[:, 1], view[:, 0])._replace(**{angle: angles})
    weight, term = ("unfold", "folded") if angle == "yaw" else ("unfold_pitch", "folded_pitch")
    # Pitch is held to the latent from the same share of its spread, here the whole.
    config = dataclasses.replace(
        BARE, unfold_from=20.0, unfold_spread=20.0, unfold_pitch_spread=20.0, **{weight: 2.0}
    )

    def value(config, step):
        return _loss(tiny_decomposer, images, config, step=step, pose=pose)

    total, terms = value(config, 9)
    np.testing.assert_allclose(terms[term], 3 / 4 * 30 / 60, rtol=1e-4)
    np.testing.assert_allclose(total - value(BARE, 9)[0], 2 * terms[term], rtol=1e-4)
    # While depth is held no direction is there that could say it, nor before a step of its own.
    np.testing.assert_allclose(value(config, 0)[0], value(BARE, 0)[0], rtol=1e-6)
    later = dataclasses.replace(config, unfold_after=9)
    np.testing.assert_allclose(value(later, 8)[0], value(BARE, 8)[0], rtol=1e-6)
    np.testing.assert_allclose(value(later, 9)[0], total, rtol=1e-6)
    with pytest.raises(FacesemError, match=f"needs the latents' {angle}"):
        _loss(tiny_decomposer, images, config)


def test_pitch_is_trusted_to_the_same_share_of_its_spread():
    config = DecomposerLossConfig(unfold_from=18.0, unfold_spread=12.0, unfold_pitch_spread=6.0)
    assert config.unfold_pitch_from == 9


def test_rotations_grow_to_their_full_size():
    config = DecomposerLossConfig(rotation_steps=100, rotation_start=0.2)
    found = [float(config.rotation(step)) for step in (0, 50, 100, 1000)]
    np.testing.assert_allclose(found, [0.2, 0.6, 1, 1], rtol=1e-6)
    assert float(DecomposerLossConfig().rotation(0)) == 1
    for wrong in ({"rotation_steps": -1}, {"rotation_start": 1.5}):
        with pytest.raises(FacesemError, match="share from 0 to 1"):
            DecomposerLossConfig(**wrong)


@pytest.mark.whole_run
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


@pytest.mark.whole_run
def test_known_views_are_shifted_where_heads_are_not_in_one_place(tiny_decomposer, images):
    still, decomposer = jnp.zeros(3), tiny_decomposer
    config = dataclasses.replace(decomposer.config, xy_translation_range=0.1)
    view = jnp.zeros((2000, 6)).at[:, 3:].set(jnp.array([0.085, -0.03, 0.01]))
    moved = turned_views(view, KEY, still, config, 0.004) - view
    np.testing.assert_array_equal(moved[:, [0, 1, 2, 5]], 0)
    assert float(jnp.max(moved[:, 3])) <= 0.0051  # Nine tenths of the range are kept to.
    np.testing.assert_allclose(np.std(moved[:, 4]), 0.004, rtol=0.05)
    assert abs(np.corrcoef(moved[:, 3], moved[:, 4])[0, 1]) < 0.1
    # The error of the place, in units of half the picture, joins those of angles and light.
    with_shift = dataclasses.replace(BARE, mirror_consistency=1.0, known_shift=1e-9)
    without = dataclasses.replace(with_shift, known_shift=0.0)
    more, less = (_loss(decomposer, images, c)[1]["mirror"] for c in (with_shift, without))
    seen, own = decomposer.view(images[:, :, ::-1])[:, 3:5], decomposer.view(images)[:, 3:5]
    half = np.tan(np.radians(decomposer.config.fov_degrees / 2))
    wanted = np.abs(seen - own * np.array([-1, 1])).mean() / half
    assert wanted > 1e-3
    np.testing.assert_allclose(more - less, wanted, rtol=1e-3)
    with pytest.raises(FacesemError, match="known_shift is -1"):
        DecomposerLossConfig(known_shift=-1)


def test_place_and_turn_have_nothing_to_do_with_each_other(tiny_decomposer, images):
    config = dataclasses.replace(BARE, place_independence=2.0)
    (total, terms), (bare, _) = (_loss(tiny_decomposer, images, c) for c in (config, BARE))
    pitch, yaw, _, across, up, _ = np.asarray(tiny_decomposer.view(images), np.float64).T
    expected = (yaw @ across) ** 2 / (yaw @ yaw) / (across @ across)
    expected += np.corrcoef(pitch, up)[0, 1] ** 2
    assert 0.05 < expected < 1.95
    np.testing.assert_allclose(terms["place"], expected, rtol=1e-3)
    np.testing.assert_allclose(total - bare, 2 * expected, rtol=1e-3)


def test_without_a_window_all_pixels_weigh_alike():
    np.testing.assert_array_equal(photometric_window(4, None), np.ones((4, 4)))
