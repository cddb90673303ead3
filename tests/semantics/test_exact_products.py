"""Float32 exactness on TPUs and TF32 GPUs: no product may be left at the default precision."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from facesem_jax.decomposer.config import DecomposerConfig
from facesem_jax.decomposer.decomposer import Decomposer
from facesem_jax.generators.config import StyleGAN1Config, StyleGAN2Config
from facesem_jax.generators.stylegan1 import StyleGAN1
from facesem_jax.generators.stylegan2 import StyleGAN2
from facesem_jax.semantics import palm
from facesem_jax.semantics.environment import SampleGradient
from facesem_jax.semantics.sample_jacobian import SampleJacobian
from facesem_jax.semantics.semantic_function import environment_semantics, local_semantics

D = 4

pytestmark = pytest.mark.usefixtures("quick_compilation")


def products(jaxpr):
    for eqn in jaxpr.eqns:
        if eqn.primitive.name in ("dot_general", "conv_general_dilated"):
            yield eqn
        for param in eqn.params.values():
            for inner in param if isinstance(param, tuple | list) else [param]:
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from products(inner)


def assert_exact(f, *args):
    found = list(products(jax.make_jaxpr(f)(*args).jaxpr))
    assert found
    for eqn in found:
        wanted = (jax.lax.Precision.HIGHEST, jax.lax.Precision.HIGHEST)
        assert eqn.params["precision"] == wanted, eqn


def generator(kind):
    sizes = {"resolution": 32, "channels": (8, 8, 8, 8), "z_dim": D, "w_dim": D}
    if kind == "stylegan1":
        return StyleGAN1(StyleGAN1Config(**sizes), rngs=nnx.Rngs(0))
    return StyleGAN2(StyleGAN2Config(**sizes), rngs=nnx.Rngs(0))


@pytest.mark.parametrize("kind", ["stylegan1", "stylegan2"])
def test_mapping_jacobians_and_gradients(kind):
    made = generator(kind)
    decomposer = Decomposer(DecomposerConfig.compact(image_size=32), rngs=nnx.Rngs(1))
    w = jnp.ones(D)
    assert_exact(made.mapping, w[None])
    # A crop, so that the resize is among the products.
    local = local_semantics(made, decomposer, "ffhq", size=32)
    assert_exact(SampleJacobian(local, 2), w)
    assert_exact(SampleGradient(environment_semantics(made, decomposer, size=32)), w)


def test_factorisation():
    J, V = jnp.ones((12, D)), jnp.ones((D, 2))
    assert_exact(lambda *a: palm.solve(*a, 0.1, 0.1), J, V)
