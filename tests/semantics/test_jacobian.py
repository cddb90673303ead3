import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from facesem_jax.errors import FacesemError
from facesem_jax.semantics.baselines import jacobian_central_differences
from facesem_jax.semantics.jacobian import jacobian, pushed_rows, single_sample
from facesem_jax.semantics.sample_jacobian import SampleJacobian

pytestmark = pytest.mark.usefixtures("quick_compilation")

D, C, SIZE = 6, 5, 8


def toy_weights(dtype=jnp.float32):
    rng = np.random.default_rng(0)

    def normal(*shape, scale=1.0):
        return jnp.asarray(scale * rng.normal(size=shape), dtype)

    return {
        "const": normal(SIZE, SIZE, C),
        "affine": normal(D, C, scale=0.3),
        "kernel": normal(3, 3, C, C, scale=0.3),
        "rgb": normal(1, 1, C, 3),
    }


def conv(x, kernel):
    return lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=lax.Precision.HIGHEST,
    )  # fmt: skip


def toy(weights, w):
    """A modulated, demodulated convolution, leaky ReLU, and a second output: (n, d) -> dict."""
    style = 1 + w @ weights["affine"]
    x = jnp.broadcast_to(weights["const"], (w.shape[0], SIZE, SIZE, C)) * style[:, None, None]
    norm = lax.rsqrt(style**2 @ jnp.sum(weights["kernel"] ** 2, (0, 1)) + 1e-8)
    x = jax.nn.leaky_relu(conv(x, weights["kernel"]) * norm[:, None, None], 0.2)
    image = jnp.tanh(conv(x * style[:, None, None], weights["rgb"]))
    return {"image": image, "mean": image.mean((1, 2))}


def single(dtype=jnp.float32):
    weights = toy_weights(dtype)
    return single_sample(lambda w: toy(weights, w))


W = jnp.asarray(np.random.default_rng(7).normal(size=D), jnp.float32)


@pytest.mark.parametrize("chunk_size", [1, 4, 64])  # One by one, remainder, too large.
def test_equals_jacfwd(chunk_size):
    f = single()
    ours = jax.jit(lambda w: jacobian(f, w, chunk_size=chunk_size))(W)
    reference = jax.jit(jax.jacfwd(f))(W)
    assert jax.tree.structure(ours) == jax.tree.structure(reference)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(reference), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_against_float64_central_differences():
    with jax.enable_x64(True):
        f, w = single(jnp.float64), W.astype(jnp.float64)
        reference = jax.jit(lambda w: jacobian_central_differences(f, w))(w)
        exact = jax.jit(lambda w: jacobian(f, w))(w)
        for name in ("image", "mean"):
            assert exact[name].dtype == jnp.float64
            error = jnp.linalg.norm(exact[name] - reference[name])
            assert error < 1e-7 * jnp.linalg.norm(reference[name])
        weights32 = jax.tree.map(lambda x: x.astype(jnp.float32), toy_weights(jnp.float64))
        f32 = single_sample(lambda w: toy(weights32, w))
        exact32 = jax.jit(lambda w: jacobian(f32, w))(w.astype(jnp.float32))
        for name in ("image", "mean"):
            assert exact32[name].dtype == jnp.float32
            error = jnp.linalg.norm(exact32[name] - reference[name])
            assert error < 1e-4 * jnp.linalg.norm(reference[name])


def test_along_a_basis():
    with jax.enable_x64(True):
        f, w = single(jnp.float64), W.astype(jnp.float64)
        basis = jnp.asarray(np.random.default_rng(3).normal(size=(D, 3)))
        along = jax.jit(lambda w, b: jacobian(f, w, basis=b, chunk_size=2))(w, basis)["image"]
        whole = jax.jit(jax.jacfwd(f))(w)["image"]
        np.testing.assert_allclose(along, whole @ basis, rtol=1e-10, atol=1e-12)


def test_vmap_over_samples():
    weights = toy_weights()
    ws = jnp.asarray(np.random.default_rng(5).normal(size=(3, D)), jnp.float32)
    derivative = SampleJacobian(jax.tree_util.Partial(toy, weights), 4)
    batched = jax.jit(jax.vmap(derivative))(ws)["image"]
    one_by_one = jnp.stack([jax.jit(derivative)(w)["image"] for w in ws])
    np.testing.assert_allclose(batched, one_by_one, rtol=1e-5, atol=1e-6)


def equations(jaxpr):
    for eqn in jaxpr.eqns:
        yield eqn
        for param in eqn.params.values():
            for inner in param if isinstance(param, tuple | list) else [param]:
                if hasattr(inner, "jaxpr"):
                    inner = inner.jaxpr
                if hasattr(inner, "eqns"):
                    yield from equations(inner)


@pytest.mark.parametrize("over_samples", [False, True])
def test_no_grouped_convolution_and_one_primal_pass(over_samples):
    derivative = SampleJacobian(jax.tree_util.Partial(toy, toy_weights()), 2)
    derivative = jax.vmap(derivative) if over_samples else derivative
    w = jnp.ones((3, D)) if over_samples else W
    found = list(equations(jax.make_jaxpr(derivative)(w).jaxpr))
    convolutions = [e for e in found if e.primitive.name == "conv_general_dilated"]
    for eqn in convolutions:
        assert eqn.params["feature_group_count"] == 1
        assert eqn.params["batch_group_count"] == 1
    # Two layers: each once in the primal and once in the body of the map over chunks, where the
    # operand holds the chunk's tangents and nothing else.
    assert len(convolutions) == 4
    assert any(e.primitive.name == "scan" for e in found)


def test_weights_of_a_pytree_function_are_arguments():
    compiled = jax.jit(lambda derivative, w: derivative(w))
    for scale in (1.0, 2.0):
        weights = jax.tree.map(lambda x, s=scale: s * x, toy_weights())
        out = compiled(SampleJacobian(jax.tree_util.Partial(toy, weights), 4), W)
        reference = jax.jit(jax.jacfwd(single_sample(lambda w, p=weights: toy(p, w))))(W)
        np.testing.assert_allclose(out["image"], reference["image"], rtol=1e-4, atol=1e-5)
    assert compiled._cache_size() == 1


def test_memory_is_bounded_by_the_chunk():
    d = 96
    weights = toy_weights()

    def f(w):  # A small output, so that the activations' tangents dominate.
        return toy(weights, w.reshape(1, D, d // D).mean(-1))["mean"][0]

    def temporaries(chunk_size):
        lowered = jax.jit(lambda w: jacobian(f, w, chunk_size=chunk_size)).lower(jnp.ones(d))
        identity = d * d * 4
        return lowered.compile().memory_analysis().temp_size_in_bytes - identity

    assert temporaries(4) < 0.25 * temporaries(d)


@pytest.mark.parametrize("count", [0, 1, 4, 5, 7])
def test_pushed_rows_stop_at_the_count(count):
    f = single()
    tangents = jnp.asarray(np.random.default_rng(2).normal(size=(7, D)), jnp.float32)
    pushed = jax.jit(lambda n: pushed_rows(lambda w: f(w)["image"], W, tangents, n, 2))
    whole = jax.jit(jax.jacfwd(f))(W)["image"]
    rows = pushed(count)
    expected = jnp.moveaxis(whole @ tangents.T, -1, 0)
    np.testing.assert_allclose(rows[:count], expected[:count], rtol=1e-4, atol=1e-6)
    chunks = -(-count // 2) * 2
    assert rows.shape == expected.shape and not np.any(rows[chunks:])


def test_errors():
    f = single()
    with pytest.raises(FacesemError, match="chunk_size"):
        jacobian(f, W, chunk_size=0)
    with pytest.raises(FacesemError, match="w has shape"):
        jacobian(f, W[None])
    with pytest.raises(FacesemError, match="basis"):
        jacobian(f, W, basis=jnp.ones((D + 1, 2)))
    with pytest.raises(FacesemError, match="floating"):
        jacobian(f, jnp.ones(D, int))
