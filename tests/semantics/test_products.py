import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from facesem_jax.decomposer.config import DecomposerConfig
from facesem_jax.decomposer.decomposer import Decomposer
from facesem_jax.errors import FacesemError
from facesem_jax.generators.config import StyleGAN2Config
from facesem_jax.generators.stylegan2 import StyleGAN2
from facesem_jax.semantics.products import relative_error, with_products
from facesem_jax.semantics.sample_jacobian import SampleJacobian
from facesem_jax.semantics.semantic_function import local_semantics

A = np.random.default_rng(0).normal(size=(40, 30)).astype(np.float32)
X = np.random.default_rng(1).normal(size=40).astype(np.float32)


def rounded(x):
    return np.asarray(jnp.asarray(x).astype(jnp.bfloat16).astype(jnp.float32), np.float64)


def linear(x):
    """A product inside a nested program, between sums that must stay exact."""
    exact = x * 1.001
    return {"y": jax.jit(lambda x: jnp.dot(x, A, precision="highest"))(exact) + 1.001}


@pytest.mark.parametrize("over", ["one", "batch"])
def test_operands_are_rounded_and_nothing_else(over):
    f = jax.jit(with_products(linear, "bfloat16"))
    if over == "batch":
        out = jax.vmap(f)(jnp.stack([X, 2 * X]))["y"][0]
    else:
        out = f(jnp.asarray(X))["y"]
    expected = rounded(X * np.float32(1.001)) @ rounded(A) + 1.001
    assert out.dtype == jnp.float32
    np.testing.assert_allclose(out, expected, rtol=2e-5, atol=2e-5)
    exact = linear(X)["y"]
    assert 1e-4 < relative_error(out, exact) < 1e-2


def test_float32_is_the_function_itself():
    assert with_products(linear, "float32") is linear


@pytest.mark.whole_run
@pytest.mark.usefixtures("quick_compilation")
def test_jacobian_with_rounded_products_is_near_and_its_primal_is_exact(random_module):
    config = StyleGAN2Config(resolution=32, channels=(16, 8, 8, 8), z_dim=6, w_dim=6)
    compact = DecomposerConfig.compact(image_size=32, depth_zdim=16, albedo_zdim=16)
    generator = random_module(lambda: StyleGAN2(config, rngs=nnx.Rngs(0)), unit_kernels=True)
    decomposer = random_module(lambda: Decomposer(compact, rngs=nnx.Rngs(1)), seed=1)
    f = local_semantics(generator, decomposer, size=32)
    w = jax.random.normal(jax.random.key(0), (6,))
    call = jax.jit(lambda derivative, w: derivative(w))
    exact, near = (call(SampleJacobian(f, 3, products=p), w) for p in ("float32", "bfloat16"))
    assert near.dtype == jnp.float32 and near.shape == exact.shape
    assert 1e-4 < relative_error(near, exact) < 0.02
    jaxpr = str(jax.make_jaxpr(SampleJacobian(f, 3, products="bfloat16"))(w))
    assert jaxpr.count("bf16") > 20 and "precision=(Precision.HIGHEST" in jaxpr.replace("\n", "")


def test_relative_error():
    a = np.array([[3.0, 4.0]])
    assert float(relative_error(jnp.asarray(a * 1.5), jnp.asarray(a))) == 0.5
    with pytest.raises(FacesemError, match="a has shape"):
        relative_error(jnp.ones(3), jnp.ones(2))


def test_unknown_name():
    with pytest.raises(FacesemError, match="float32, bfloat16"):
        with_products(linear, "float16")
