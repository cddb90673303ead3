import gc
import math
import os
import shutil
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from facesem_jax.decomposer import Decomposer, DecomposerConfig
from facesem_jax.generators.config import StyleGAN2Config
from facesem_jax.generators.stylegan2 import StyleGAN2

# Commands keep compiled programs in the user's home. Those of a test run, of its workers and of the
# processes that they start lie in a directory of the run, which goes when it ends.
_CACHE = "JAX_COMPILATION_CACHE_DIR"
_OWN_CACHE = "FACESEM_TESTS_OWN_CACHE"
if _OWN_CACHE not in os.environ:
    os.environ[_OWN_CACHE] = os.environ[_CACHE] = tempfile.mkdtemp(prefix="facesem_tests_")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.5"
    _made_here = True
else:
    _made_here = False
jax.config.update("jax_compilation_cache_dir", os.environ[_OWN_CACHE])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


# JAX and hypothesis hook into every collection of garbage; by default there are thousands.
gc.freeze()
gc.set_threshold(200_000, 50, 100)


def pytest_unconfigure():
    """Removes the compiled programs, in the process that made their directory."""
    if _made_here:
        shutil.rmtree(os.environ[_OWN_CACHE], ignore_errors=True)


_ONES = ("scale", "var")
_ZEROS = ("bias", "mean", "w_avg", "noise_strength")


def _random_module(build, *, seed=0, unit_kernels=False):
    graph, state = nnx.split(nnx.eval_shape(build))
    rng = np.random.default_rng(seed)
    flat = dict(nnx.to_flat_state(state))
    for path, leaf in flat.items():
        if path[-1] in _ONES or path[-2:] == ("affine", "bias"):
            value = np.ones(leaf.shape)
        elif path[-1] in _ZEROS:
            value = np.zeros(leaf.shape)
        else:
            fan_in = 1 if unit_kernels else math.prod(leaf.shape[:-1])
            value = rng.normal(size=leaf.shape) / math.sqrt(fan_in)
        flat[path] = leaf.replace(jnp.asarray(value, jnp.float32))
    return nnx.merge(graph, nnx.from_flat_state(flat))


@pytest.fixture(scope="module")
def quick_compilation():
    """Less optimisation by XLA, for large programs that run only a few times."""
    name = "jax_disable_most_optimizations"
    before = jax.config.read(name)
    jax.config.update(name, True)
    yield
    jax.config.update(name, before)


@pytest.fixture(scope="session")
def random_module():
    """Constructor to module: shapes traced, values from NumPy, a compilation per shape saved.

    ``unit_kernels`` is for layers with the equalised learning rate.
    """
    return _random_module


@pytest.fixture(scope="session")
def tiny_decomposer():
    """The smallest decomposer whose heads all depend on the image; leave it as it is."""
    config = DecomposerConfig.compact(
        image_size=32,
        depth_nf=2,
        depth_zdim=8,
        albedo_nf=2,
        albedo_zdim=8,
        light_nf=8,
        view_nf=8,
        confidence_nf=2,
        confidence_zdim=8,
        norm_groups=1,
    )
    return _random_module(lambda: Decomposer(config, rngs=nnx.Rngs(0)))


@pytest.fixture(scope="session")
def tiny_generator():
    """A StyleGAN2 of 32x32 pixels and 16 latent dimensions; leave it as it is."""
    config = StyleGAN2Config(
        32, (8, 8, 8, 8), z_dim=16, w_dim=16, mapping_layers=2, mapping_lr_multiplier=1.0
    )
    return _random_module(lambda: StyleGAN2(config, rngs=nnx.Rngs(0)), unit_kernels=True)
