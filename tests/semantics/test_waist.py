import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from facesem_jax.decomposer.config import DecomposerConfig
from facesem_jax.decomposer.decomposer import Decomposer
from facesem_jax.errors import FacesemError
from facesem_jax.semantics.jacobian import jacobian, single_sample
from facesem_jax.semantics.sample_jacobian import SampleJacobian
from facesem_jax.semantics.semantic_function import local_semantics
from facesem_jax.semantics.waist import Waist, waist_jacobian

D, SIZE = 6, 4

pytestmark = pytest.mark.usefixtures("quick_compilation")


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def heads(widths, thresholds):
    """Encoder and two decoders; a threshold decides how many codes of a head are live."""
    first = [normal(i, D, k) for i, k in enumerate(widths)]
    second = [normal(10 + i, k, SIZE * SIZE * (i + 1)) for i, k in enumerate(widths)]

    def encode(w):
        return tuple(
            jax.nn.relu(jnp.sin(w @ a) - t) for a, t in zip(first, thresholds, strict=True)
        )

    def decoder(b, channels):
        return lambda c: jnp.tanh(c @ b).reshape(SIZE, SIZE, channels)

    decode = tuple(decoder(b, i + 1) for i, b in enumerate(second))
    return Waist(encode, decode)


def composed(waist):
    return lambda w: jnp.concatenate(
        [d(c) for d, c in zip(waist.decode, waist.encode(w), strict=True)], -1
    )


@functools.lru_cache
def compiled(widths, chunk_size):
    """Ours, and the Jacobian of the composition; a function of (thresholds, w, basis)."""

    def ours(thresholds, w, basis):
        return waist_jacobian(heads(widths, thresholds), w, basis=basis, chunk_size=chunk_size)

    def plain(thresholds, w):
        return jax.jacfwd(composed(heads(widths, thresholds)))(w)

    return jax.jit(ours), jax.jit(plain)


@pytest.mark.parametrize("widths", [(3, 4), (6, 20), (30, 2)])  # Fewer and more codes than w has.
@pytest.mark.parametrize("thresholds", [(-2, -2), (0, 0.5), (2, 0)])  # All, some, no codes live.
@pytest.mark.parametrize("chunk_size", [1, 4, 64])
def test_equals_the_jacobian_of_the_composition(widths, thresholds, chunk_size):
    with jax.enable_x64(True):
        w, levels = normal(5, D), np.asarray(thresholds, float)
        ours, plain = compiled(widths, chunk_size)[0], compiled(widths, 1)[1]
        found = ours(levels, w, None)
        chex.assert_shape(found, (SIZE, SIZE, 3, D))
        np.testing.assert_allclose(found, plain(levels, w), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("columns", [1, 3, 9])
def test_along_a_basis(columns):
    with jax.enable_x64(True):
        ours, plain = compiled((5, 8), 2)
        w, basis, levels = normal(5, D), np.asarray(normal(6, D, columns)), np.zeros(2)
        found = ours(levels, w, basis)
        whole = np.asarray(plain(levels, w))
        np.testing.assert_allclose(found, whole @ basis, rtol=1e-10, atol=1e-12)


def test_vmap_over_samples_with_different_live_codes():
    with jax.enable_x64(True):
        waist, ws = heads((5, 8), (0.3, 0)), normal(7, 4, D)
        codes = jax.jit(jax.vmap(waist.encode))(ws)
        live = np.stack([np.sum(np.asarray(c) > 0, axis=1) for c in codes], axis=1)
        assert len(np.unique(live[:, 1])) > 1
        batched = jax.jit(jax.vmap(lambda w: waist_jacobian(waist, w, chunk_size=2)))(ws)
        reference = jax.jit(jax.vmap(jax.jacfwd(composed(waist))))(ws)
        np.testing.assert_allclose(batched, reference, rtol=1e-10, atol=1e-12)


def test_a_decoder_is_pushed_once_per_live_code_and_no_more_than_per_tangent():
    pushes = []

    @jax.custom_jvp
    def counted(c):
        return c

    @counted.defjvp
    def counted_jvp(primals, tangents):
        def count(t):
            pushes.append(t.shape[0] if t.ndim == 2 else 1)
            return t

        (t,) = tangents
        return primals[0], jax.pure_callback(count, t, t, vmap_method="expand_dims")

    def pushed(live):
        pushes.clear()
        kernel = normal(0, D, 8)

        def encode(w):
            return (jnp.where(jnp.arange(8) < live, w @ kernel, 0.0),)

        waist = Waist(encode, (lambda c: counted(c)[:, None],))
        jax.block_until_ready(
            jax.jit(lambda w: waist_jacobian(waist, w, chunk_size=1))(jnp.ones(D))
        )
        return sum(pushes)

    # D = 6 tangents, 8 codes.
    assert [pushed(live) for live in (0, 2, 5, 6, 8)] == [0, 2, 5, 6, 6]


def test_nan_is_not_hidden_by_the_codes_relu():
    waist = heads((3, 4), (0, 0))
    found = jax.jit(lambda w: waist_jacobian(waist, w))(jnp.full(D, jnp.nan))
    assert np.isnan(found).all()


@pytest.mark.whole_run
def test_the_decomposers_waist_gives_its_jacobian(random_module):
    class Generator:
        def synthesis(self, w):
            return jnp.tanh(w @ normal(1, D, 32 * 32 * 3).astype(w.dtype)).reshape(-1, 32, 32, 3)

    jax.tree_util.register_static(Generator)
    config = DecomposerConfig.compact(image_size=32)
    decomposer = random_module(lambda: Decomposer(config, rngs=nnx.Rngs(0)))
    f = local_semantics(Generator(), decomposer, size=32)
    w = normal(2, D).astype(jnp.float32)
    live = [int(np.sum(np.asarray(c) > 0)) for c in jax.jit(f.waist.encode)(w)]
    assert all(0 < n < 128 for n in live)
    ours = jax.jit(SampleJacobian.__call__)(SampleJacobian(f, 4), w)
    plain = jax.jit(lambda f, w: jacobian(single_sample(f), w, chunk_size=4))(f, w)
    chex.assert_shape(ours, (32, 32, 4, D))
    for part in (slice(0, 3), slice(3, 4)):
        error = jnp.linalg.norm(ours[:, :, part] - plain[:, :, part])
        assert error < 1e-5 * jnp.linalg.norm(plain[:, :, part])


def test_errors():
    waist = heads((3, 4), (0, 0))
    with pytest.raises(FacesemError, match="w has shape"):
        waist_jacobian(waist, jnp.ones((2, D)))
    with pytest.raises(FacesemError, match="basis"):
        waist_jacobian(waist, jnp.ones(D), basis=jnp.ones((D + 1, 2)))
    with pytest.raises(FacesemError, match="chunk_size"):
        waist_jacobian(waist, jnp.ones(D), chunk_size=0)
