import pathlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from facesem_jax.configs import config_from_dict
from facesem_jax.errors import FacesemError
from facesem_jax.generators.config import StyleGAN2Config
from facesem_jax.generators.stylegan2 import StyleGAN2

DATA = pathlib.Path(__file__).parents[1] / "data"
CONFIG = StyleGAN2Config(32, (16, 16, 16, 16), z_dim=32, w_dim=32, mapping_layers=4)


def _linear(module, weight, bias):
    module.kernel[...] = weight.T
    module.bias[...] = bias.reshape(-1)


def _modulated(module, kernel, affine_weight, affine_bias, bias):
    module.kernel[...] = kernel.reshape(kernel.shape[-4:]).transpose(2, 3, 1, 0)
    _linear(module.affine, affine_weight, affine_bias)
    module.bias[...] = bias.reshape(-1)


def _rosinality(state):
    generator = StyleGAN2(CONFIG, rngs=nnx.Rngs(0))
    for i, layer in enumerate(generator.mapping.layers):
        _linear(layer, state[f"style.{i + 1}.weight"], state[f"style.{i + 1}.bias"])
    synthesis = generator.synthesis
    synthesis.const[...] = state["input.input"][0].transpose(1, 2, 0)
    for i, conv in enumerate(synthesis.convs):
        name = "conv1" if i == 0 else f"convs.{i - 1}"
        keys = ("conv.weight", "conv.modulation.weight", "conv.modulation.bias", "activate.bias")
        _modulated(conv, *(state[f"{name}.{k}"] for k in keys))
        conv.noise_strength[...] = state[f"{name}.noise.weight"][0]
        conv.noise[...] = state[f"noises.noise_{i}"][0, 0]
    for i, to_rgb in enumerate(synthesis.to_rgbs):
        name = "to_rgb1" if i == 0 else f"to_rgbs.{i - 1}"
        keys = ("conv.weight", "conv.modulation.weight", "conv.modulation.bias", "bias")
        _modulated(to_rgb, *(state[f"{name}.{k}"] for k in keys))
    return generator


def _nvlabs(state):
    generator = StyleGAN2(CONFIG, rngs=nnx.Rngs(0))
    for i, layer in enumerate(generator.mapping.layers):
        _linear(layer, state[f"mapping.fc{i}.weight"], state[f"mapping.fc{i}.bias"])
    generator.mapping.w_avg[...] = state["mapping.w_avg"]
    synthesis = generator.synthesis
    synthesis.const[...] = state["synthesis.b4.const"].transpose(1, 2, 0)
    keys = ("weight", "affine.weight", "affine.bias", "bias")
    names = ["b4.conv1"] + [f"b{r}.conv{i}" for r in (8, 16, 32) for i in (0, 1)]
    for conv, name in zip(synthesis.convs, names, strict=True):
        _modulated(conv, *(state[f"synthesis.{name}.{k}"] for k in keys))
        conv.noise_strength[...] = state[f"synthesis.{name}.noise_strength"]
        conv.noise[...] = state[f"synthesis.{name}.noise_const"]
    for to_rgb, r in zip(synthesis.to_rgbs, (4, 8, 16, 32), strict=True):
        _modulated(to_rgb, *(state[f"synthesis.b{r}.torgb.{k}"] for k in keys))
    return generator


@pytest.fixture(scope="module", params=["rosinality", "nvlabs_ada"])
def golden(request):
    arrays = dict(np.load(DATA / f"stylegan2_{request.param}.npz"))
    state = {
        k.removeprefix("state/"): v.astype(np.float32)
        for k, v in arrays.items()
        if k.startswith("state/")
    }
    build = _rosinality if request.param == "rosinality" else _nvlabs
    return build(state), arrays


def test_mapping_equals_the_reference(golden):
    generator, arrays = golden
    np.testing.assert_allclose(generator.mapping(arrays["z"]), arrays["w"], atol=1e-4, rtol=0)
    if "w_truncated_psi07" in arrays:
        w = generator.mapping(arrays["z"], truncation_psi=0.7)
        np.testing.assert_allclose(w, arrays["w_truncated_psi07"], atol=1e-4, rtol=0)


def test_synthesis_equals_the_reference(golden):
    generator, arrays = golden
    draw = jax.jit(lambda g, w: g.synthesis(w))
    for latent, image in (("w", "image"), ("w_plus", "image_w_plus")):
        found = draw(generator, jnp.asarray(arrays[latent]))
        expected = arrays[image].transpose(0, 2, 3, 1)
        chex.assert_shape(found, (2, 32, 32, 3))
        np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)


def test_cutoff_truncates_the_first_layers_only(golden):
    generator, arrays = golden
    w = generator.mapping(arrays["z"], truncation_psi=0.7, truncation_cutoff=3)
    chex.assert_shape(w, (2, 8, 32))
    full = generator.mapping(arrays["z"])
    short = generator.mapping(arrays["z"], truncation_psi=0.7)
    np.testing.assert_array_equal(w[:, 2], short)
    np.testing.assert_array_equal(w[:, 3], full)


def test_bad_input_is_named(golden):
    generator, _ = golden
    with pytest.raises(FacesemError, match="w_plus"):
        generator.synthesis(jnp.zeros((2, 7, 32)))
    with pytest.raises(FacesemError, match=r"expected \(any, 32\)"):
        generator.mapping(jnp.zeros((2, 31)))
    with pytest.raises(FacesemError, match="truncation_cutoff is 9"):
        generator.mapping(jnp.zeros((2, 32)), truncation_cutoff=9)
    with pytest.raises(FacesemError, match="floating point"):
        generator.synthesis(jnp.zeros((2, 32), jnp.int32))
    with pytest.raises(FacesemError, match="power of two"):
        StyleGAN2Config(48, (16,) * 4)
    with pytest.raises(FacesemError, match="unknown field"):
        config_from_dict(StyleGAN2Config, {"resolution": 32, "colour": 1})


def test_config_round_trips_through_a_dictionary():
    assert config_from_dict(StyleGAN2Config, CONFIG.to_dict()) == CONFIG
