import checkpoint_files
import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convert import stylegan1
from convert.tensors import Tensors
from facesem_jax.checkpoint import module_from_arrays
from facesem_jax.configs import config_from_dict
from facesem_jax.errors import FacesemError
from facesem_jax.generators.config import StyleGAN1Config
from facesem_jax.generators.resample import blur, upsample_nearest
from facesem_jax.generators.stylegan1 import StyleGAN1, instance_norm, upsample_conv2d_fused

CONFIG = StyleGAN1Config(32, (16, 16, 16, 16), z_dim=32, w_dim=32, mapping_layers=4)
RNG = np.random.default_rng(0)

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def golden():
    state, arrays = checkpoint_files.golden("stylegan1-genforce")
    converted = stylegan1.read_genforce(Tensors(state), {})
    assert converted.config == CONFIG
    return module_from_arrays(StyleGAN1, converted.config, converted.arrays), arrays


def test_the_reference_is_reproduced(golden):
    generator, arrays = golden
    np.testing.assert_allclose(generator.mapping(arrays["z"]), arrays["w"], atol=1e-4, rtol=0)
    draw = jax.jit(lambda g, w: g.synthesis(w))
    for latent, image in (("w", "image"), ("w_plus", "image_w_plus")):
        found = draw(generator, arrays[latent])
        chex.assert_shape(found, (2, 32, 32, 3))
        np.testing.assert_allclose(found, arrays[image].transpose(0, 2, 3, 1), atol=1e-4, rtol=0)
    w = generator.mapping(arrays["z"], truncation_psi=0.7, truncation_cutoff=4)
    np.testing.assert_allclose(w, arrays["w_truncated_psi07_layers4"], atol=1e-4, rtol=0)
    np.testing.assert_array_equal(w[:, 4], generator.mapping(arrays["z"]))


def test_fused_upsampling_is_a_transposed_convolution():
    x, kernel = RNG.normal(size=(1, 3, 4, 2)), RNG.normal(size=(3, 3, 2, 3))
    # Every input pixel spreads the four shifted sums of the kernel over 4x4 output pixels.
    wide = np.zeros((4, 4, 2, 3))
    for a in (0, 1):
        for b in (0, 1):
            wide[a : a + 3, b : b + 3] += kernel
    full = np.zeros((1, 8, 10, 3))
    for i in range(3):
        for j in range(4):
            spread = np.einsum("nc,abco->nabo", x[:, i, j], wide)
            full[:, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += spread
    found = upsample_conv2d_fused(jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32))
    np.testing.assert_allclose(found, full[:, 1:-1, 1:-1], atol=1e-5)


def test_blur_averages_and_nearest_repeats():
    x = RNG.normal(size=(2, 5, 4, 3)).astype(np.float32)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    taps = np.outer([1, 2, 1], [1, 2, 1]) / 16
    expected = sum(taps[a, b] * padded[:, a : a + 5, b : b + 4] for a in range(3) for b in range(3))
    np.testing.assert_allclose(blur(jnp.asarray(x)), expected, atol=1e-6)
    np.testing.assert_array_equal(
        upsample_nearest(jnp.asarray(x)), np.kron(x, np.ones((1, 2, 2, 1), np.float32))
    )


def test_instance_norm_gives_unit_maps_and_survives_a_constant():
    x = RNG.normal(size=(2, 6, 6, 3)).astype(np.float32) * 5 + 3
    found = np.asarray(instance_norm(jnp.asarray(x)))
    np.testing.assert_allclose(found.mean((1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(found.std((1, 2)), 1, atol=1e-5)
    np.testing.assert_array_equal(instance_norm(jnp.ones((1, 4, 4, 1))), 0)


@pytest.mark.whole_run
def test_jacobians_agree_with_differences(golden):
    generator, arrays = golden
    with jax.enable_x64(True):
        generator = jax.tree.map(lambda x: x.astype(jnp.float64), generator)
        w = jnp.asarray(arrays["w"][:1], jnp.float64)
        direction = jnp.asarray(RNG.normal(size=w.shape))
        draw = jax.jit(generator.synthesis)
        _, tangent = jax.jvp(draw, (w,), (direction,))
        step = 1e-5
        difference = (draw(w + step * direction) - draw(w - step * direction)) / (2 * step)
    largest = np.abs(np.asarray(tangent)).max()
    assert largest > 1
    np.testing.assert_allclose(tangent, difference, atol=1e-4 * largest)


def test_bad_input_is_named(golden):
    generator, _ = golden
    with pytest.raises(FacesemError, match="w_plus"):
        generator.synthesis(jnp.zeros((2, 7, 32)))
    with pytest.raises(FacesemError, match="power of two"):
        StyleGAN1Config(48, (16,) * 4)
    with pytest.raises(FacesemError, match="mapping_layers"):
        StyleGAN1Config(32, (16,) * 4, mapping_layers=0)
    assert config_from_dict(StyleGAN1Config, CONFIG.to_dict()) == CONFIG
