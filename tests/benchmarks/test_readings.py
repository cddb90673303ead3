"""The readings that the Jacobian is compared with are of the same networks."""

import jax
import numpy as np
import pytest
from flax import nnx

from benchmarks.weight_modulated import WeightModulated
from facesem_jax.decomposer import Decomposer, DecomposerConfig
from facesem_jax.semantics.semantic_function import local_semantics

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def pair(tiny_generator, random_module):
    # PyTorch's reading has 16 groups at the first width, as the reference.
    config = DecomposerConfig.compact(image_size=32, depth_zdim=8, albedo_zdim=8)
    decomposer = random_module(lambda: Decomposer(config, rngs=nnx.Rngs(0)))
    w = jax.random.normal(jax.random.key(0), (2, tiny_generator.config.w_dim))
    return tiny_generator, decomposer, w


def test_weight_modulated_port(pair):
    generator, _, w = pair
    ours = np.asarray(jax.jit(lambda g, w: g.synthesis(w))(generator, w))
    theirs = np.asarray(jax.jit(lambda g, w: g.synthesis(w))(WeightModulated(generator), w))
    np.testing.assert_allclose(theirs, ours, atol=1e-5 * np.abs(ours).max())


@pytest.mark.whole_run
@pytest.mark.parametrize("modulation", ["activations", "weights"])
def test_pytorch(pair, modulation):
    torch = pytest.importorskip("torch")
    from benchmarks import torch_pair

    generator, decomposer, w = pair
    f = local_semantics(generator, decomposer, size=32)
    ours = np.asarray(jax.jit(lambda f, w: f(w))(f, w))
    read = torch_pair.local_semantics(generator, decomposer, modulation)
    theirs = read(torch.from_numpy(np.array(w))).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(theirs, ours, atol=1e-4)


def test_pytorch_filters_under_vmap():
    torch = pytest.importorskip("torch")
    from convert.readings.stylegan2 import upfirdn

    # torch.func cannot write a mapped value into a plain tensor.
    x = torch.arange(24.0).reshape(2, 1, 1, 3, 4)
    mapped = torch.vmap(lambda x: upfirdn(x, 2, (2, 1), 4))(x)
    expected = torch.stack([upfirdn(one, 2, (2, 1), 4) for one in x])
    assert mapped.shape == (2, 1, 1, 6, 8) and torch.equal(mapped, expected)
