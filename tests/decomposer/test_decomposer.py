import dataclasses
import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from facesem_jax.decomposer import Decomposer, DecomposerConfig
from facesem_jax.decomposer.decomposer import depth_prior
from facesem_jax.errors import FacesemError

ATOL = 1e-4
SMALL = DecomposerConfig.compact(
    image_size=32,
    depth_nf=4,
    depth_zdim=8,
    albedo_nf=4,
    albedo_zdim=8,
    light_nf=4,
    view_nf=4,
    confidence_nf=4,
    confidence_zdim=8,
    norm_groups=2,
)

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def decomposition(golden, golden_model):
    return decompose(golden_model, golden["image"])


@nnx.jit
def decompose(model, images):
    return model(images)


@pytest.fixture(scope="module")
def small():
    return Decomposer(SMALL, rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def images():
    return jax.random.uniform(jax.random.key(1), (2, 32, 32, 3), minval=-1, maxval=1)


def test_decomposition_matches_the_reference(golden, decomposition):
    np.testing.assert_allclose(decomposition.depth, golden["canonical_depth"], atol=ATOL)
    np.testing.assert_allclose(decomposition.albedo, golden["albedo"], atol=ATOL)
    np.testing.assert_allclose(decomposition.view, golden["view"], atol=ATOL)
    np.testing.assert_allclose(decomposition.confidence_l1, golden["conf_l1"], atol=ATOL)
    np.testing.assert_allclose(decomposition.confidence_perceptual, golden["conf_percl"], atol=ATOL)
    light = np.concatenate(
        [golden["light_ambient"], golden["light_diffuse"], golden["light_raw"][:, 2:]], -1
    )
    np.testing.assert_allclose(decomposition.light, light, atol=ATOL)


def test_canonical_image_matches_the_reference(golden, golden_model, decomposition):
    image = golden_model.canonical_image(decomposition)
    np.testing.assert_allclose(image, golden["canonical_image"], atol=ATOL)


def test_parts_equal_the_whole(small, images):
    whole = decompose(small, images)
    chex.assert_shape(whole.confidence_perceptual, (2, 8, 8, 2))
    for name in ("depth", "albedo", "view", "light"):
        part = nnx.jit(lambda m, x, name=name: getattr(m, name)(x))(small, images)
        np.testing.assert_allclose(part, getattr(whole, name), atol=1e-6)


def test_outputs_stay_in_their_ranges(small, images):
    out = decompose(small, 20 * images)
    assert float(out.depth.min()) >= 0.9 and float(out.depth.max()) <= 1.1
    assert float(jnp.abs(out.albedo).max()) <= 1
    assert float(jnp.abs(out.view[:, :3]).max()) <= np.radians(60) + 1e-6
    assert float(jnp.abs(out.view[:, 3:5]).max()) <= 0.1 + 1e-6
    assert (out.view[:, 5] == 0).all()
    assert float(out.light[:, :2].min()) >= 0 and float(out.light[:, :2].max()) <= 1
    assert float(out.confidence_l1.min()) > 0


def test_release_blends_from_the_prior_to_the_network(small, images):
    depth = nnx.jit(lambda m, x, release: m.depth(x, release))
    held = depth(small, images, 0.0)
    np.testing.assert_array_equal(held[0], held[1])
    expected = 1 + 0.1 * np.tanh(depth_prior(SMALL))
    np.testing.assert_allclose(held[0, :, 2:-2], expected[:, 2:-2], atol=1e-6)
    np.testing.assert_allclose(held[:, :, [0, 1, -2, -1]], 0.7 * 1.1 + 0.3 * 0.9, atol=1e-6)
    raw = nnx.jit(lambda m, x: m.depth_net(x))(small, images)[..., 0]
    expected = 1 + 0.1 * np.tanh(depth_prior(SMALL) + 0.3 * 0.5 * raw)
    found = depth(small, images, 0.3)
    np.testing.assert_allclose(found[:, :, 2:-2], expected[:, :, 2:-2], atol=1e-6)


@pytest.mark.parametrize("size", [32, 64])
def test_prior_is_the_documented_bump(size):
    prior = depth_prior(dataclasses.replace(SMALL, image_size=size))
    # One-off the centre by half a pixel of 64 at size 64.
    x = (10 + 0.5) * 64 / size
    y = 0.5 * 64 / size
    expected = 0.6 - 1.3 * np.exp(-((x / 22) ** 2) - (y / 28) ** 2)
    np.testing.assert_allclose(prior[size // 2, size // 2 + 10], expected, rtol=1e-5)
    np.testing.assert_allclose(prior, prior[::-1, ::-1], atol=1e-6)
    flat = depth_prior(dataclasses.replace(SMALL, depth_prior=None))
    assert not flat.any()


@pytest.mark.parametrize("size", [32, 64])
def test_prior_is_the_documented_ellipsoid(size):
    config = dataclasses.replace(
        SMALL, image_size=size, depth_prior=(0.1, -0.7, 20.0, 40.0), prior_shape="ellipsoid"
    )
    x, y = np.meshgrid(*2 * [(np.arange(size) - (size - 1) / 2) * 64 / size])
    inside = 1 - (x / 20) ** 2 - (y / 40) ** 2
    prior = np.asarray(depth_prior(config))
    # On the surface ((z - 0.1) / 0.7)^2 + (x / 20)^2 + (y / 40)^2 = 1, on its near half.
    z = np.tanh(prior)
    np.testing.assert_allclose(((z - 0.1) / 0.7)[inside > 0] ** 2, inside[inside > 0], atol=1e-5)
    assert (z[inside > 0] < 0.1 + 1e-6).all() and 0.3 < np.mean(inside > 0) < 0.7
    np.testing.assert_allclose(z[inside <= 0], 0.1, atol=1e-6)


def test_rendering_replaces_view_and_light(small, images):
    out = decompose(small, images)
    still = jnp.zeros_like(out.view)
    render = nnx.jit(lambda m, d, v, x: m.render(d, view=v, light=x))
    image, mask = render(small, out, still, out.light)
    np.testing.assert_allclose(image, small.canonical_image(out), atol=1e-3)
    assert mask.all()
    dark, _ = render(small, out, still, jnp.zeros_like(out.light))
    np.testing.assert_allclose(dark, -1, atol=1e-4)
    drawn, mask = nnx.jit(lambda m, d, v: m.render(d, v, method="rasterizer"))(small, out, still)
    inner = slice(1, 31)
    assert mask[:, inner, inner].all()
    np.testing.assert_allclose(drawn[:, inner, inner], image[:, inner, inner], atol=1e-3)


def test_seeds_decide_the_parameters(small):
    same = Decomposer(SMALL, rngs=nnx.Rngs(0)).params
    chex.assert_trees_all_equal(small.params, same)
    other = Decomposer(SMALL, rngs=nnx.Rngs(1)).params
    kernel = ("depth_net", "out", "kernel")
    a, b = small.params, other
    for key in kernel:
        a, b = a[key], b[key]
    assert isinstance(a, jax.Array)
    assert float(jnp.abs(a - b).max()) > 0.01


@pytest.mark.whole_run
def test_float64_and_forward_mode(small, images):
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda x: x.astype(jnp.float64), nnx.state(small))
        model = nnx.merge(nnx.graphdef(small), wide)
        x = jnp.asarray(images[:1], jnp.float64)
        move = jnp.cos(jnp.arange(x.size, dtype=jnp.float64)).reshape(x.shape)

        @jax.jit
        def f(x):
            return model.depth(x)

        out, tangent = jax.jvp(f, (x,), (move,))
        assert out.dtype == tangent.dtype == jnp.float64
        slope = (f(x + 1e-6 * move) - f(x - 1e-6 * move)) / 2e-6
        assert float(jnp.abs(slope).max()) > 1e-4
        np.testing.assert_allclose(tangent, slope, atol=1e-8)


def test_config_round_trips_through_json():
    ellipsoid = dataclasses.replace(
        SMALL, depth_prior=(0.0, -0.7, 20.0, 40.0), prior_shape="ellipsoid"
    )
    for config in (DecomposerConfig(), SMALL, ellipsoid):
        assert DecomposerConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert DecomposerConfig().border == pytest.approx(1.04)
    # Files from before there were ellipsoids do not say that theirs is a bump.
    older = {k: v for k, v in SMALL.to_dict().items() if k != "prior_shape"}
    assert DecomposerConfig.from_dict(older) == SMALL


def test_config_refuses_what_it_does_not_know():
    data = DecomposerConfig().to_dict()
    with pytest.raises(FacesemError, match=r"unknown field\(s\) depth_nff"):
        DecomposerConfig.from_dict(data | {"depth_nff": 3})
    del data["view_nf"]
    with pytest.raises(FacesemError, match=r"missing field\(s\) view_nf"):
        DecomposerConfig.from_dict(data)
    with pytest.raises(FacesemError, match="image_size is 40"):
        DecomposerConfig(image_size=40)
    with pytest.raises(FacesemError, match="depth_nf is 8"):
        DecomposerConfig(depth_nf=8)
    with pytest.raises(FacesemError, match="min_depth"):
        DecomposerConfig(min_depth=1.2)
    with pytest.raises(FacesemError, match="depth_prior"):
        DecomposerConfig(depth_prior=(1.0, 2.0))
    with pytest.raises(FacesemError, match="prior_shape is 'cone'; use bump or ellipsoid"):
        DecomposerConfig(prior_shape="cone")
    for prior in ((0.5, -1.6, 20.0, 40.0), (0.0, -0.7, 0.0, 40.0)):
        with pytest.raises(FacesemError, match="no ellipsoid"):
            DecomposerConfig(depth_prior=prior, prior_shape="ellipsoid")


def test_refuses_bad_images(small, images):
    with pytest.raises(FacesemError, match="images has shape"):
        small.depth(images[:, :16])
    with pytest.raises(FacesemError, match="dtype"):
        small(((images + 1) * 127).astype(jnp.uint8))
