import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from smooth_fields import smooth_fields

from facesem_jax.decomposer import Decomposition
from facesem_jax.decomposer.camera import intrinsics
from facesem_jax.decomposer.decomposer import depth_prior
from facesem_jax.errors import FacesemError
from facesem_jax.training.decomposer_loss import (
    MIRROR_LIGHT,
    MIRROR_VIEW,
    DecomposerLossConfig,
    _reconstruction,
    decomposer_loss,
    mirror,
    partners,
    photometric_window,
    random_render,
    turn_photographs,
)
from facesem_jax.training.state import init_state, make_step

pytestmark = pytest.mark.usefixtures("quick_compilation")
SIZE = 32
KEY = jax.random.key(0)
_render = jax.jit(lambda model, parts: model.render(parts))
_turn = jax.jit(turn_photographs)


@pytest.fixture(scope="module")
def parts(tiny_decomposer):
    """Smooth random faces over the depth prior, in random views and lights."""
    rng, n = np.random.default_rng(0), 3
    prior = np.asarray(depth_prior(tiny_decomposer.config))
    depth = 1 + 0.1 * np.tanh(prior + 0.3 * smooth_fields(rng, SIZE, n, 1)[..., 0])
    depth[:, :, [0, 1, -2, -1]] = tiny_decomposer.config.border
    angles = np.radians(rng.uniform(-15, 15, (n, 3)))
    shift = rng.uniform(-0.01, 0.01, (n, 3)) * [1, 1, 0]
    light = np.concatenate([rng.uniform(0.3, 0.7, (n, 2)), rng.uniform(-0.7, 0.7, (n, 2))], -1)
    fields = {
        "view": np.concatenate([angles, shift], -1),
        "light": light,
        "depth": depth,
        "albedo": np.tanh(smooth_fields(rng, SIZE, n, 3)),
        "confidence_l1": np.ones((n, SIZE, SIZE, 2)),
        "confidence_perceptual": np.ones((n, SIZE // 4, SIZE // 4, 2)),
    }
    return Decomposition(**{k: jnp.asarray(v, jnp.float32) for k, v in fields.items()})


@pytest.fixture(scope="module")
def photographs():
    return jnp.asarray(np.tanh(smooth_fields(np.random.default_rng(1), SIZE, 3, 3)), jnp.float32)


def test_depth_is_held_then_released():
    config = DecomposerLossConfig(hold_steps=100, ramp_steps=50)
    found = [float(config.release(step)) for step in (0, 99, 100, 110, 125, 150, 10_000)]
    np.testing.assert_allclose(found, [0, 0, 0, 0.2, 0.5, 1, 1], atol=1e-6)
    np.testing.assert_allclose(jax.jit(config.release)(jnp.asarray(110)), 0.2, atol=1e-6)


@pytest.mark.parametrize("schedule", [{"hold_steps": -1}, {"ramp_steps": 0}])
def test_schedules_that_cannot_be_are_refused(schedule):
    with pytest.raises(FacesemError, match="use at least 0 and 1"):
        DecomposerLossConfig(**schedule)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"unfold_from": -1.0}, "at least 0"),
        ({"unfold_after": -1}, "at least 0"),
        ({"unfold_spread": 0.0}, "degrees above 0"),
        ({"unfold_pitch_spread": float("nan")}, "degrees above 0"),
    ],
)
def test_angles_that_cannot_be_are_refused(wrong, message):
    with pytest.raises(FacesemError, match=message):
        DecomposerLossConfig(**wrong)


@pytest.mark.parametrize("size", [32, 64])
def test_the_window_is_a_bump_on_a_floor(size):
    window = np.asarray(photometric_window(size, (22.0, 28.0)))
    np.testing.assert_allclose(window[size // 2, size // 2], 1, atol=0.01)
    np.testing.assert_allclose(window, window[::-1, ::-1], atol=1e-6)
    assert window.min() >= 0.1
    x, y = (5 + 0.5) * 64 / size, (3 + 0.5) * 64 / size
    expected = 0.1 + 0.9 * np.exp(-((x / 22) ** 2) - (y / 28) ** 2)
    np.testing.assert_allclose(window[size // 2 + 3, size // 2 + 5], expected, rtol=1e-5)


def test_a_photograph_in_its_own_view_stays_what_it_is(tiny_decomposer, parts, photographs):
    found = _turn(tiny_decomposer, parts, photographs, parts.view)
    np.testing.assert_allclose(found, photographs, atol=1e-5)


def test_a_photograph_in_its_own_light_stays_what_it_is(tiny_decomposer, parts, photographs):
    found = _turn(tiny_decomposer, parts, photographs, parts.view, parts.light)
    np.testing.assert_allclose(found, photographs, atol=1e-5)


def test_a_new_light_multiplies_by_the_ratio_of_the_shadings(tiny_decomposer, parts):
    images = jnp.full((3, SIZE, SIZE, 3), -0.6)
    dim = parts.light.at[:].set(jnp.array([0.2, 0.0, 0.0, 0.0]))
    own = parts._replace(light=dim)

    def relit(ambient, diffuse=0.0, across=0.0):
        light = dim.at[:].set(jnp.array([ambient, diffuse, across, 0.0]))
        return _turn(tiny_decomposer, own, images, own.view, light)

    # Brightness 0.4 of 2, times the ratio with its guard of 0.05, which is held within 1/4 and 4.
    for ambient, ratio in ((0.45, 2.0), (0.05, 0.4), (0.0, 0.25), (1.0, 4.0)):
        np.testing.assert_allclose(relit(ambient), 0.4 * ratio - 1, atol=1e-5)
    assert float(jnp.abs(relit(0.2, 0.8)).max()) <= 1
    # The image's left and right sides change places under mirrored light, on the mean depth.
    still = own._replace(view=jnp.zeros_like(own.view), depth=own.depth + mirror(own.depth))
    own = still._replace(depth=still.depth / 2)
    left, right = relit(0.1, 0.3, -0.8), relit(0.1, 0.3, 0.8)
    np.testing.assert_allclose(left, mirror(right), atol=1e-4)
    assert float(jnp.abs(left - right).max()) > 0.05


def test_a_positive_yaw_moves_the_nose_to_the_left(tiny_decomposer, parts):
    config = tiny_decomposer.config
    v, u = jnp.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    spot = jnp.exp(-(u**2 + v**2) / 4)
    image = jnp.broadcast_to(spot[None, :, :, None], (1, SIZE, SIZE, 3))
    depth = 1 + 0.1 * jnp.tanh(depth_prior(config))
    still = jax.tree.map(lambda x: jnp.zeros_like(x[:1]), parts)._replace(depth=depth[None])
    focal = intrinsics(SIZE, config.fov_degrees).fx
    nose = float(depth.min())
    for axis, weights in ((1, u), (0, v)):
        angle = np.radians(12.0)
        view = jnp.zeros((1, 6)).at[0, axis].set(angle)
        turned = _turn(tiny_decomposer, still, image, view)[0, :, :, 0]
        moved = float(jnp.sum(turned * weights) / jnp.sum(turned))
        # The nose is nearer than the centre of rotation: x' = sin(yaw) (z - c), y' = -sin(pitch).
        lever = np.sin(angle) * (nose - config.rotation_center_depth) * (1 if axis else -1)
        expected = focal * lever / nose
        assert expected < -1.5 if axis else expected > 1.5
        np.testing.assert_allclose(moved, expected, atol=0.4)


def test_mirrored_maps_view_and_light_render_the_mirrored_image(tiny_decomposer, parts):
    mirrored = parts._replace(
        depth=mirror(parts.depth),
        albedo=mirror(parts.albedo),
        view=parts.view * jnp.array(MIRROR_VIEW),
        light=parts.light * jnp.array(MIRROR_LIGHT),
    )
    image, mask = _render(tiny_decomposer, parts)
    found, found_mask = _render(tiny_decomposer, mirrored)
    np.testing.assert_allclose(found, mirror(image), atol=1e-4)
    np.testing.assert_array_equal(found_mask, mirror(mask))
    # Any one sign less shows.
    for k in range(4):
        wrong = mirrored._replace(view=mirrored.view.at[:, k].multiply(-1))
        assert float(jnp.abs(_render(tiny_decomposer, wrong)[0] - mirror(image)).max()) > 0.01, k
    wrong = mirrored._replace(light=parts.light)
    assert float(jnp.abs(_render(tiny_decomposer, wrong)[0] - mirror(image)).max()) > 0.01


@pytest.mark.whole_run
def test_random_renders_exchange_the_lights_and_turn_the_views(tiny_decomposer, parts):
    draw = jax.jit(random_render, static_argnums=3)
    images, view, light = draw(tiny_decomposer, parts, KEY, (8.0, 20.0, 6.0))
    chex.assert_equal_shape([images, parts.albedo])
    assert float(jnp.abs(images).max()) <= 1
    order = np.lexsort(np.asarray(light).T), np.lexsort(np.asarray(parts.light).T)
    np.testing.assert_array_equal(light[order[0]], parts.light[order[1]])
    lights = [draw(tiny_decomposer, parts, jax.random.key(k), (8.0, 20.0, 6.0))[2] for k in (1, 2)]
    assert any(not np.array_equal(x, light) for x in lights)
    np.testing.assert_array_equal(view[:, 3:], parts.view[:, 3:])
    turned = np.degrees(view[:, :3] - parts.view[:, :3])
    assert (np.abs(turned) > 0.01).all()
    limit = 0.9 * tiny_decomposer.config.xyz_rotation_range
    far = draw(tiny_decomposer, parts, KEY, (800.0, 800.0, 800.0))[1]
    np.testing.assert_allclose(np.degrees(np.abs(far[:, :3])).max(), limit, rtol=1e-4)


def test_a_render_in_the_own_view_and_one_light_is_the_reconstruction(tiny_decomposer, parts):
    one = parts._replace(light=jnp.broadcast_to(parts.light[:1], parts.light.shape))
    draw = jax.jit(random_render, static_argnums=3)
    images, view, _ = draw(tiny_decomposer, one, KEY, (0.0, 0.0, 0.0))
    np.testing.assert_allclose(view, one.view, atol=1e-6)
    expected, mask = _render(tiny_decomposer, one)
    seen = np.asarray(mask)[..., None]
    np.testing.assert_allclose(images * seen, jnp.clip(expected, -1, 1) * seen, atol=1e-5)
    # Outside, the renderer shows nothing; here the border is repeated.
    empty = np.asarray(expected == 0).all(axis=-1)
    assert empty.any()
    assert np.abs(images[empty]).min(axis=0).max() > 0


@pytest.mark.whole_run
def test_the_loss_falls_and_its_terms_are_finite(tiny_decomposer, photographs):
    config = DecomposerLossConfig(hold_steps=2, ramp_steps=2)
    optimizer = optax.adam(2e-3)
    graph, state = init_state(tiny_decomposer, optimizer)

    def loss(model, images, step):
        return decomposer_loss(model, images, step, KEY, config)

    step = jax.jit(make_step(graph, loss, optimizer))
    history = []
    for _ in range(16):
        state, terms = step(state, photographs)
        history.append({k: float(v) for k, v in terms.items()})
    assert all(np.isfinite(list(terms.values())).all() for terms in history)
    # The prior alone is as smooth as itself; the released network is not.
    np.testing.assert_allclose([t["smoothness"] for t in history[:3]], 0, atol=1e-3)
    assert history[4]["smoothness"] > 0.01
    for name in ("loss", "l1", "turned"):
        assert history[-1][name] < history[4][name], name
    assert history[-1]["loss"] < history[4]["loss"] - 0.1
    for name in ("gradient_norm", "mirror", "render", "yaw_degrees"):
        assert history[0][name] > 0, name


@pytest.mark.whole_run
def test_every_weight_counts_and_the_mean_pitch_is_free_within_a_band(tiny_decomposer, photographs):
    tilted = nnx.clone(tiny_decomposer)
    tilted.view_net.out.kernel[...] = 15 * tilted.view_net.out.kernel[...]
    names = (
        "mirror_consistency", "render_consistency", "turn_consistency", "upright", "symmetry",
        "independence",
    )  # fmt: skip
    base = DecomposerLossConfig(hold_steps=0, ramp_steps=1)

    @jax.jit
    def total(model, weights):
        config = dataclasses.replace(base, **dict(zip(names, weights, strict=True)))
        loss, terms = decomposer_loss(model, photographs, 0, KEY, config)
        return loss, terms, model(photographs, 0.0)

    nothing, terms, parts = total(tilted, jnp.zeros(len(names)))
    for k, name in enumerate(("mirror", "render", "turned", "upright", "symmetry", "independence")):
        assert terms[name] > 0.01, name
        found = total(tilted, jnp.zeros(len(names)).at[k].set(3.0))[0]
        np.testing.assert_allclose(found - nothing, 3 * terms[name], rtol=1e-3, atol=1e-5)
    # The cosine of yaw and the light's x over the batch, squared.
    yaw, across = np.asarray(parts.view[:, 1]), np.asarray(parts.light[:, 2])
    cosine = yaw @ across / np.linalg.norm(yaw) / np.linalg.norm(across)
    np.testing.assert_allclose(terms["independence"], cosine**2, rtol=1e-3)
    pitch = np.degrees(parts.view[:, 0]).mean()
    # A batch's mean strays by chance: only what exceeds 2.5 degrees is pulled at.
    excess = (abs(pitch) - 2.5) / tilted.config.xyz_rotation_range
    np.testing.assert_allclose(terms["upright"], excess, rtol=1e-4)
    _, terms, parts = total(tiny_decomposer, jnp.zeros(len(names)))
    pitch = np.degrees(parts.view[:, 0]).mean()
    assert 0 < abs(pitch) < 2.5
    assert terms["upright"] == 0


def test_partners_change_places():
    np.testing.assert_array_equal(partners(jnp.arange(6)), [3, 4, 5, 0, 1, 2])


@pytest.mark.whole_run
def test_exchange_rebuilds_each_face_from_its_partners_maps(tiny_decomposer, parts):
    """Two faces in two views: as pairs of one face they fit better than as pairs of strangers."""
    config = DecomposerLossConfig(exchange=2.0, mirrored=0.0)
    window = photometric_window(SIZE, config.window)

    @jax.jit
    def total(order):
        faces = jnp.array([0, 1, 0, 1])
        seen = jax.tree.map(lambda x: x[faces], parts)
        seen = seen._replace(view=seen.view.at[2:, 1].add(0.2))
        seen = jax.tree.map(lambda x: x[order], seen)
        images, _ = tiny_decomposer.render(seen)
        exchanged = _reconstruction(tiny_decomposer, seen, images, window, config, 1.0, None)[0]
        plain = dataclasses.replace(config, exchange=0.0)
        return (
            exchanged - _reconstruction(tiny_decomposer, seen, images, window, plain, 1.0, None)[0]
        )

    np.testing.assert_allclose(total(jnp.array([0, 1, 2, 3])), 0, atol=1e-4)
    assert total(jnp.array([0, 2, 1, 3])) > 0.3


@pytest.mark.whole_run
def test_exchange_compares_the_partners_maps(tiny_decomposer, photographs):
    config = DecomposerLossConfig(hold_steps=0, ramp_steps=1, exchange=2.0)
    loss = jax.jit(lambda images: decomposer_loss(tiny_decomposer, images, 9, KEY, config))
    one, two = photographs[:1], photographs[1:2]
    # The rows of a batch may be rounded differently: how, depends on the processor.
    assert loss(jnp.concatenate([one, one]))[1]["shared"] < 1e-6
    assert loss(jnp.concatenate([one, two]))[1]["shared"] > 0.01
    with pytest.raises(FacesemError, match="3 images are no pairs"):
        decomposer_loss(tiny_decomposer, photographs, 9, KEY, config)
