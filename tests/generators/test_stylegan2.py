import dataclasses

import checkpoint_files
import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from convert import stylegan2
from convert.tensors import Tensors
from facesem_jax.checkpoint import module_from_arrays
from facesem_jax.configs import config_from_dict
from facesem_jax.errors import FacesemError
from facesem_jax.generators.config import StyleGAN2Config
from facesem_jax.generators.stylegan2 import StyleGAN2

CONFIG = StyleGAN2Config(32, (16, 16, 16, 16), z_dim=32, w_dim=32, mapping_layers=4)

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module", params=["rosinality", "nvlabs", "genforce"])
def golden(request):
    state, arrays = checkpoint_files.golden(f"stylegan2-{request.param}")
    converted = getattr(stylegan2, f"read_{request.param}")(Tensors(state), {})
    assert converted.config == CONFIG
    return module_from_arrays(StyleGAN2, converted.config, converted.arrays), arrays


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


def test_the_mapping_may_be_wider_than_w():
    config = dataclasses.replace(CONFIG, mapping_width=48)
    mapping = StyleGAN2(config, rngs=nnx.Rngs(0)).mapping
    shapes = [layer.kernel.shape for layer in mapping.layers]
    assert shapes == [(32, 48), (48, 48), (48, 48), (48, 32)]
    chex.assert_shape(mapping(jnp.ones((2, 32))), (2, 32))
    # Files from before the field was added have no word of it.
    older = {k: v for k, v in CONFIG.to_dict().items() if k != "mapping_width"}
    assert config_from_dict(StyleGAN2Config, older) == CONFIG
    with pytest.raises(FacesemError, match="mapping_width"):
        dataclasses.replace(CONFIG, mapping_width=0)


@pytest.mark.parametrize("clamp", ["0.5", -1.0, float("nan"), [1]])
def test_a_clamp_that_is_no_number_is_refused(clamp):
    with pytest.raises(FacesemError, match="conv_clamp is"):
        StyleGAN2Config(8, (4, 4), conv_clamp=clamp)
