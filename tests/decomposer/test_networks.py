import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from facesem_jax.decomposer.networks import (
    ConfidenceNet,
    ConvTranspose,
    Encoder,
    EncoderDecoder,
    conv_transpose_4x4,
)

pytestmark = pytest.mark.usefixtures("quick_compilation")

ATOL = 1e-4


def apply(net, images):
    return nnx.jit(lambda net, x: net(x))(net, images)


def test_depth_network_matches_the_reference(golden, golden_model):
    raw = apply(golden_model.depth_net, golden["image"])
    np.testing.assert_allclose(raw[..., 0], golden["depth_raw"], atol=ATOL)


def test_albedo_network_matches_the_reference(golden, golden_model):
    raw = apply(golden_model.albedo_net, golden["image"])
    np.testing.assert_allclose(jnp.tanh(raw), golden["albedo"], atol=ATOL)


@pytest.mark.parametrize("name", ["light", "view"])
def test_encoders_match_the_reference(golden, golden_model, name):
    raw = apply(getattr(golden_model, f"{name}_net"), golden["image"])
    # The golden outputs are themselves near 1e-2, so the tolerance is relative too.
    np.testing.assert_allclose(raw, golden[f"{name}_raw"], atol=1e-6)


def test_confidence_network_matches_the_reference(golden, golden_model):
    fine, coarse = apply(golden_model.confidence_net, golden["image"])
    np.testing.assert_allclose(fine, golden["conf_l1"], atol=ATOL)
    np.testing.assert_allclose(coarse, golden["conf_percl"], atol=ATOL)


def dilated(x, kernel):
    return lax.conv_general_dilated(
        x,
        kernel[::-1, ::-1],
        (1, 1),
        [(2, 2), (2, 2)],
        lhs_dilation=(2, 2),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=lax.Precision.HIGHEST,
    )


@pytest.mark.parametrize("shape", [(2, 4, 4, 5), (1, 3, 6, 2)])
def test_transposed_convolution_equals_the_dilated_one(shape):
    keys = jax.random.split(jax.random.key(0), 2)
    x = jax.random.normal(keys[0], shape)
    kernel = jax.random.normal(keys[1], (4, 4, shape[-1], 3))
    np.testing.assert_allclose(conv_transpose_4x4(x, kernel), dilated(x, kernel), atol=1e-5)

    def gradient(f):
        return jax.jit(jax.grad(lambda x, kernel: jnp.sum(jnp.sin(f(x, kernel))), (0, 1)))

    ours = gradient(conv_transpose_4x4)(x, kernel)
    theirs = gradient(dilated)(x, kernel)
    chex.assert_trees_all_close(ours, theirs, atol=2e-5)


def test_unfolding_equals_a_full_convolution_of_one_pixel():
    layer = ConvTranspose(3, 2, unfold=4, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(1), (2, 1, 1, 3))
    expected = np.einsum("nc,hwco->nhwo", x[:, 0, 0], layer.kernel[...])
    np.testing.assert_allclose(layer(x), expected, atol=1e-6)


@pytest.mark.parametrize("size", [32, 48])
def test_shapes_at_other_image_sizes(size):
    x = jnp.zeros((1, size, size, 3))

    def run(make):
        return nnx.eval_shape(lambda x: make(rngs=nnx.Rngs(0))(x), x)

    chex.assert_shape(
        run(lambda rngs: EncoderDecoder(2, 4, 8, image_size=size, groups=2, rngs=rngs)),
        (1, size, size, 2),
    )
    chex.assert_shape(run(lambda rngs: Encoder(6, 4, image_size=size, rngs=rngs)), (1, 6))
    fine, coarse = run(lambda rngs: ConfidenceNet(4, 8, image_size=size, groups=2, rngs=rngs))
    chex.assert_shape(fine, (1, size, size, 2))
    chex.assert_shape(coarse, (1, size // 4, size // 4, 2))


def test_initial_kernels_fill_their_bounds():
    net = Encoder(6, 4, image_size=32, rngs=nnx.Rngs(0))
    kernel = net.down[1].conv.kernel[...]
    bound = (4 * 4 * 4) ** -0.5
    assert 0.98 * bound < float(jnp.abs(kernel).max()) <= bound
    np.testing.assert_allclose(kernel.std(), bound / 3**0.5, rtol=0.05)
    other = Encoder(6, 4, image_size=32, rngs=nnx.Rngs(1)).down[1].conv.kernel[...]
    assert float(jnp.abs(kernel - other).max()) > bound / 2
