import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from facesem_jax.errors import FacesemError
from facesem_jax.generators.encoder import Encoder, EncoderConfig

pytestmark = pytest.mark.usefixtures("quick_compilation")

CONFIG = EncoderConfig(16, (2, 4, 4), w_dim=5, groups=2)
_encode = jax.jit(lambda encoder, x: encoder(x))


@pytest.fixture(scope="module")
def encoder(random_module):
    return random_module(lambda: Encoder(CONFIG, rngs=nnx.Rngs(0)))


@pytest.fixture(scope="module")
def images():
    return jax.random.uniform(jax.random.key(1), (3, 16, 16, 3), minval=-1, maxval=1)


def test_one_latent_per_image_whatever_the_rest_of_the_batch(encoder, images):
    w = _encode(encoder, images)
    chex.assert_shape(w, (3, 5))
    for k in range(3):
        others = images.at[:k].set(0).at[k + 1 :].set(0)
        np.testing.assert_allclose(_encode(encoder, others)[k], w[k], atol=1e-5)
    assert float(jnp.abs(w[0] - w[1]).max()) > 1e-2


def test_the_bias_shifts_w(encoder, images):
    moved = nnx.clone(encoder)
    moved.bias[...] = jnp.arange(5.0)
    np.testing.assert_allclose(
        _encode(moved, images) - _encode(encoder, images),
        np.tile(np.arange(5.0), (3, 1)),
        atol=1e-5,
    )


def test_gradients_are_finite_and_reach_every_array(encoder, images):
    graph, params = nnx.split(encoder)

    @jax.jit
    def gradient(params, x):
        return jax.grad(lambda p, x: jnp.sum(jnp.sin(nnx.merge(graph, p)(x))), (0, 1))(params, x)

    for x in (images, jnp.zeros_like(images)):
        chex.assert_tree_all_finite(gradient(params, x))
    assert all(float(jnp.abs(g).max()) > 0 for g in jax.tree.leaves(gradient(params, images)))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 8, 16, 3), np.float32), r"images has shape \(2, 8, 16, 3\).*16, 16, 3"),
        (np.zeros((2, 16, 16, 1), np.float32), "images has shape"),
        (np.zeros((16, 16, 3), np.float32), "images has shape"),
        (np.zeros((2, 16, 16, 3), np.uint8), "floating point"),
    ],
)
def test_other_images_are_refused(encoder, images, message):
    with pytest.raises(FacesemError, match=message):
        encoder(jnp.asarray(images))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"resolution": 32}, r"channels has 3 entries, which is for 16 pixels; resolution is 32"),
        ({"channels": (2, 4)}, "is for 8 pixels"),
        ({"channels": (2, 3, 4)}, "must be multiples of 2"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(sizes, message):
    with pytest.raises(FacesemError, match=message):
        EncoderConfig(**({"resolution": 16, "channels": (2, 4, 4), "groups": 2} | sizes))
