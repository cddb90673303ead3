import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.semantics import moments as m

pytestmark = pytest.mark.usefixtures("quick_compilation")


def samples(n=40, dtype=jnp.float32):
    key_a, key_b = jax.random.split(jax.random.key(0))
    return {
        "a": jax.random.normal(key_a, (n, 3, 2), dtype),
        "b": 5 + jax.random.normal(key_b, (n,), dtype),
    }


def fold(xs, state=None):
    state = m.init(jax.tree.map(lambda x: x[0], xs)) if state is None else state
    return jax.jit(lambda s: jax.lax.scan(lambda c, x: (m.update(c, x), None), s, xs)[0])(state)


def assert_matches_numpy(state, xs, rtol=1e-5):
    summary = m.finalise(state)
    for name, x in xs.items():
        x = np.asarray(x, np.float64)
        np.testing.assert_allclose(summary.mean[name], x.mean(0), rtol=rtol, atol=1e-6)
        np.testing.assert_allclose(summary.mean_square[name], (x**2).mean(0), rtol=rtol)
        np.testing.assert_allclose(summary.variance[name], x.var(0), rtol=rtol)


def test_update_matches_numpy():
    xs = samples()
    state = fold(xs)
    assert state.count == 40
    assert_matches_numpy(state, xs)


@pytest.mark.parametrize("split", [0, 17, 40])
def test_merge_is_the_union(split):
    xs = samples()
    part_a = jax.tree.map(lambda x: x[:split], xs)
    part_b = jax.tree.map(lambda x: x[split:], xs)
    empty = m.init(jax.tree.map(lambda x: x[0], xs))
    merged = m.merge(fold(part_a, empty), fold(part_b, empty))
    assert merged.count == 40
    assert_matches_numpy(merged, xs)


def test_float32_survives_a_large_offset():
    # E[x^2] - E[x]^2 would cancel: x^2 is 1e8 with a spacing of 8 in float32, the variance is 1.
    x = 1e4 + jax.random.normal(jax.random.key(1), (2000,))
    state = jax.lax.scan(lambda s, v: (m.update(s, v), None), m.init(x[0]), x)[0]
    exact = np.asarray(x, np.float64)
    np.testing.assert_allclose(m.finalise(state).variance, exact.var(), rtol=1e-3)
    naive = jnp.mean(x**2) - jnp.mean(x) ** 2
    assert abs(naive - exact.var()) > 0.1 * exact.var()


def test_merge_does_not_overflow_the_count():
    x = m.Moments(jnp.array(100_000, jnp.int32), jnp.array(1.0), jnp.array(0.0))
    y = m.Moments(jnp.array(100_000, jnp.int32), jnp.array(3.0), jnp.array(0.0))
    summary = m.finalise(m.merge(x, y))
    np.testing.assert_allclose([summary.mean, summary.variance], [2.0, 1.0], rtol=1e-6)


def test_finalise_of_nothing_is_zero():
    assert m.finalise(m.init(jnp.ones(2))).mean_square.tolist() == [0.0, 0.0]


def test_donation_updates_in_place():
    x = jnp.ones((4, 4))
    update = jax.jit(m.update, donate_argnums=0)
    state = m.init(x)
    new = update(state, x)
    assert state.mean.is_deleted() and state.m2.is_deleted()
    np.testing.assert_array_equal(new.mean, x)


def quadratic(w):
    """(n, d) -> (n, 2, d) with Jacobian known in closed form."""
    return jnp.stack([w**2, jnp.sin(w)], axis=1)


def true_jacobians(ws):
    eye = np.eye(ws.shape[1])
    ws = np.asarray(ws, np.float64)
    return np.stack([2 * ws[:, :, None] * eye, np.cos(ws)[:, :, None] * eye], axis=1)


@pytest.mark.parametrize("batch_size", [1, 4, 7, 100])
def test_stream_of_jacobians(batch_size):
    ws = jax.random.normal(jax.random.key(2), (10, 5))
    steps = list(m.stream_jacobian_moments(quadratic, ws, batch_size=batch_size, chunk_size=2))
    assert [s.done for s in steps] == [*range(batch_size, 10, batch_size), 10]
    assert all(s.total == 10 for s in steps)
    truth = true_jacobians(ws)
    for step in steps:  # Every yielded state stays valid, the early ones too.
        summary = m.finalise(step.moments)
        assert step.moments.count == step.done
        np.testing.assert_allclose(summary.mean, truth[: step.done].mean(0), rtol=1e-5, atol=1e-6)
        second = (truth[: step.done] ** 2).mean(0)
        np.testing.assert_allclose(summary.mean_square, second, rtol=1e-5, atol=1e-6)


def test_stream_compiles_once():
    m._step.clear_cache()
    ws = jax.random.normal(jax.random.key(2), (10, 5))
    for _ in range(2):
        list(m.stream_jacobian_moments(quadratic, ws, batch_size=4))  # 4, 4, 2.
    assert m._step._cache_size() == 1


def test_stream_with_weights_bound_to_a_device_compiles_once():
    m._step.clear_cache()
    weights = jax.device_put(jnp.ones(5), jax.devices()[0])
    assert weights.committed
    f = jax.tree_util.Partial(lambda a, w: jnp.sin(a * w), weights)
    list(m.stream_jacobian_moments(f, jnp.ones((10, 5)), batch_size=4))
    assert m._step._cache_size() == 1


def test_jacobians_along_a_basis():
    ws = jax.random.normal(jax.random.key(2), (10, 5))
    basis = jax.random.normal(jax.random.key(3), (5, 3))
    (*_, last) = m.stream_jacobian_moments(quadratic, ws, basis=basis, chunk_size=2)
    truth = true_jacobians(ws) @ np.asarray(basis, np.float64)
    summary = m.finalise(last.moments)
    np.testing.assert_allclose(summary.mean, truth.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(summary.variance, truth.var(0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("batch_size", [4, 100])
def test_stream_goes_on_after_an_earlier_step(batch_size):
    ws = jax.random.normal(jax.random.key(2), (10, 5))
    steps = list(m.stream_jacobian_moments(quadratic, ws, batch_size=batch_size))
    rest = m.stream_jacobian_moments(quadratic, ws, batch_size=batch_size, start=steps[0])
    rest = [steps[0], *rest]
    assert [(s.first, s.done) for s in rest] == [(s.first, s.done) for s in steps]
    for x, y in zip(jax.tree.leaves(rest[-1]), jax.tree.leaves(steps[-1]), strict=True):
        np.testing.assert_array_equal(x, y)


def test_samples_are_handed_out_if_asked():
    ws = jax.random.normal(jax.random.key(2), (10, 5))
    for step in m.stream_jacobian_moments(quadratic, ws, batch_size=4, keep_samples=True):
        assert step.samples.shape == (4, 2, 5, 5)
        truth = true_jacobians(ws)[step.first : step.done]
        np.testing.assert_allclose(step.samples[: len(truth)], truth, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(step.samples[len(truth) :], 0)
    assert next(m.stream_jacobian_moments(quadratic, ws)).samples is None


def test_stream_follows_float64():
    with jax.enable_x64(True):
        ws = jnp.ones((2, 3), jnp.float64)
        (*_, last) = m.stream_jacobian_moments(quadratic, ws)
        assert last.moments.mean.dtype == jnp.float64


@pytest.mark.parametrize(("index", "value"), [(0, jnp.nan), (6, jnp.inf), (9, jnp.nan)])
def test_non_finite_jacobian_names_the_sample(index, value):
    ws = jnp.ones((10, 3)).at[index, 1].set(value)
    with pytest.raises(FacesemError, match=rf"Jacobian .* index {index} of ws"):
        list(m.stream_jacobian_moments(quadratic, ws, batch_size=4))


def test_finite_value_with_infinite_slope_is_found():
    ws = jnp.ones((5, 3)).at[3, 0].set(0.0)
    with pytest.raises(FacesemError, match="index 3 of ws"):
        list(m.stream_jacobian_moments(jnp.sqrt, ws, batch_size=2))


def test_bad_arguments():
    with pytest.raises(FacesemError, match="ws has shape"):
        list(m.stream_jacobian_moments(quadratic, jnp.ones(3)))
    with pytest.raises(FacesemError, match="batch_size is 0"):
        list(m.stream_jacobian_moments(quadratic, jnp.ones((2, 3)), batch_size=0))
    with pytest.raises(FacesemError, match="0 samples"):
        list(m.stream_jacobian_moments(quadratic, jnp.ones((0, 3))))
    start = next(m.stream_jacobian_moments(quadratic, jnp.ones((4, 3)), batch_size=2))
    with pytest.raises(FacesemError, match="start is after 2 of 4 samples, and ws holds 5"):
        list(m.stream_jacobian_moments(quadratic, jnp.ones((5, 3)), start=start))
