import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from facesem_jax.decomposer.crop import CropBox, crop_and_resize
from facesem_jax.errors import FacesemError
from facesem_jax.semantics.semantic_function import (
    ENVIRONMENT_NAMES,
    ENVIRONMENT_UNITS,
    environment_semantics,
    local_semantics,
)

D, SIZE = 6, 8


class ToyGenerator(nnx.Module):
    def __init__(self, size=SIZE, seed=0):
        self.kernel = nnx.Param(jax.random.normal(jax.random.key(seed), (D, size * size * 3)))
        self.size = size

    def synthesis(self, w):
        return jnp.tanh(w @ self.kernel[...]).reshape(-1, self.size, self.size, 3)


class ToyDecomposer(nnx.Module):
    """Heads with known answers; the view and light are constants that name their columns."""

    def __init__(self):
        self.gain = nnx.Param(jnp.array(0.5))

    def albedo(self, images):
        return images * self.gain[...]

    def depth(self, images):
        return 1 + 0.1 * images.mean(-1)

    def view(self, images):
        # A column c is (c + 1) times the image's mean.
        return images.mean((1, 2, 3))[:, None] * jnp.arange(1, 7, dtype=images.dtype)

    def light(self, images):
        return images.mean((1, 2, 3))[:, None] * jnp.arange(7, 11, dtype=images.dtype)


class ViewOnly(ToyDecomposer):
    def light(self, images):
        raise AssertionError("the light network must not run")


@pytest.fixture
def ws():
    return jax.random.normal(jax.random.key(1), (3, D))


def test_local_is_albedo_then_depth(ws):
    g, d = ToyGenerator(), ToyDecomposer()
    out = local_semantics(g, d, size=SIZE)(ws)
    images = g.synthesis(ws)
    chex.assert_shape(out, (3, SIZE, SIZE, 4))
    np.testing.assert_array_equal(out[..., :3], d.albedo(images))
    np.testing.assert_array_equal(out[..., 3], d.depth(images))


def test_environment_columns_and_units(ws):
    g, d = ToyGenerator(), ToyDecomposer()
    out = environment_semantics(g, d, size=SIZE)(ws)
    mean = np.asarray(g.synthesis(ws).mean((1, 2, 3)))
    assert ENVIRONMENT_NAMES == (
        "pitch", "yaw", "roll", "ambient", "diffuse", "light_x", "light_y",
    )  # fmt: skip
    expected = mean[:, None] * np.array([1, 2, 3, 7, 8, 9, 10])
    expected[:, :3] = np.degrees(expected[:, :3])
    np.testing.assert_allclose(out, expected, rtol=1e-5)
    assert [ENVIRONMENT_UNITS[n] for n in ("yaw", "light_x")] == ["degrees", "1"]


def test_environment_runs_only_the_heads_asked_for(ws):
    f = environment_semantics(ToyGenerator(), ViewOnly(), size=SIZE, names=("yaw", "translation_x"))
    out = f(ws)
    np.testing.assert_allclose(out[:, 0], np.degrees(out[:, 1] / 2), rtol=1e-5)


def test_weights_are_arguments_not_constants(ws):
    apply = jax.jit(lambda f, w: f(w))
    f = local_semantics(ToyGenerator(), ToyDecomposer(), size=SIZE)
    jaxpr = jax.make_jaxpr(lambda f, w: f(w))(f, ws)
    assert max((np.size(c) for c in jaxpr.consts), default=0) <= 1
    other = local_semantics(ToyGenerator(seed=3), ToyDecomposer(), size=SIZE)
    np.testing.assert_allclose(apply(f, ws), f(ws), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(apply(other, ws), other(ws), rtol=1e-5, atol=1e-6)
    assert apply._cache_size() == 1  # New weights, same program.


def test_dtype_follows_the_input():
    g, d = ToyGenerator(), ToyDecomposer()
    with jax.enable_x64(True):
        w = jnp.ones((2, D), jnp.float64)
        assert local_semantics(g, d, size=SIZE)(w).dtype == jnp.float64
        assert environment_semantics(g, d, size=SIZE)(w).dtype == jnp.float64
    w = jnp.ones((2, D), jnp.float32)
    assert local_semantics(g, d, size=SIZE)(w).dtype == jnp.float32


def test_crop_is_differentiable_and_lands_at_the_size(ws):
    g = ToyGenerator(size=16)
    box = CropBox(2 / 16, 3 / 16, 10 / 16, 11 / 16)
    f = local_semantics(g, ToyDecomposer(), box, size=SIZE)
    chex.assert_shape(f(ws), (3, SIZE, SIZE, 4))
    expected = crop_and_resize(g.synthesis(ws), box, SIZE)
    np.testing.assert_allclose(f(ws)[..., :3], 0.5 * expected, rtol=1e-5, atol=1e-6)
    assert jnp.isfinite(jax.jacfwd(f)(ws)).all()


@pytest.mark.parametrize("names", [("yaw", "smile"), (), ("yaw", "yaw")])
def test_bad_names(names):
    with pytest.raises(FacesemError, match="names"):
        environment_semantics(ToyGenerator(), ToyDecomposer(), size=SIZE, names=names)


def test_size_mismatch_asks_for_a_crop(ws):
    with pytest.raises(FacesemError, match=r"16x16.*8x8.*crop_box"):
        local_semantics(ToyGenerator(size=16), ToyDecomposer(), size=SIZE)(ws)
    with pytest.raises(FacesemError, match="floating"):
        local_semantics(ToyGenerator(), ToyDecomposer(), size=SIZE)(jnp.ones((1, D), int))
