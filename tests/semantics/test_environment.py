import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.semantics.environment import (
    direction_cosine,
    pair_regression,
    r_squared,
    random_pairs,
    regression_directions,
    ridge_regression,
    stream_exact_directions,
)

D, K = 8, 3
NAMES = ("yaw", "pitch", "ambient")
V = np.asarray(jax.random.normal(jax.random.key(0), (K, D)) * jnp.array([[30.0], [10.0], [0.1]]))
INTERCEPT = np.array([3.0, -20.0, 0.5], np.float32)

pytestmark = pytest.mark.usefixtures("quick_compilation")


def linear(ws):
    return ws @ V.T + INTERCEPT


def correlated_latents(n, key=1):
    """Correlated and off-centre, as W is."""
    key_a, key_b = jax.random.split(jax.random.key(key))
    mix = jax.random.normal(key_a, (D, D))
    return jax.random.normal(key_b, (n, D)) @ mix + 2.0


def last(stream):
    (*_, step) = stream
    return step.moments.mean


def test_linear_semantics_are_recovered_by_both():
    ws = correlated_latents(200)
    fitted = regression_directions(ws, linear(ws), NAMES, ridge=0.0)
    scale = np.linalg.norm(V, axis=1, keepdims=True)
    np.testing.assert_allclose(fitted.v / scale, V / scale, atol=1e-4)
    np.testing.assert_allclose(fitted.intercept, INTERCEPT, atol=3e-3)
    np.testing.assert_allclose(fitted.r2_train, 1, atol=1e-6)
    np.testing.assert_allclose(fitted.r2_heldout, 1, atol=1e-6)
    assert fitted.names == NAMES
    exact = last(stream_exact_directions(linear, ws[:7], batch_size=3))
    np.testing.assert_allclose(exact, V, rtol=1e-5)
    np.testing.assert_allclose(direction_cosine(fitted.v, exact), 1, atol=1e-6)


@pytest.mark.parametrize("ridge", [0.0, 1e-4, 0.3])
def test_all_pairs_equal_the_centred_form(ridge):
    with jax.enable_x64(True):
        ws = correlated_latents(30).astype(jnp.float64)
        ys = linear(ws) + jnp.sin(3 * ws[:, :K])
        i, j = jnp.meshgrid(jnp.arange(30), jnp.arange(30))
        pairs = jnp.stack([i.ravel(), j.ravel()], -1)
        v, _ = ridge_regression(ws, ys, ridge)
        np.testing.assert_allclose(pair_regression(ws, ys, pairs, ridge), v, rtol=1e-9, atol=1e-12)


def test_normal_equations_and_intercept_are_stationary():
    with jax.enable_x64(True):
        ws = correlated_latents(50).astype(jnp.float64)
        ys = linear(ws) + jnp.cos(2 * ws[:, :K])
        ridge = 0.05
        strength = ridge * jnp.trace(jnp.cov(ws.T, bias=True)) / D

        def loss(v, c):
            return jnp.mean(jnp.sum((ys - ws @ v.T - c) ** 2, 1)) + strength * jnp.sum(v**2)

        gradients = jax.grad(loss, argnums=(0, 1))(*ridge_regression(ws, ys, ridge))
        for gradient in gradients:
            np.testing.assert_allclose(gradient, 0, atol=1e-9)


def test_random_pairs_are_different_samples_and_estimate_the_same():
    pairs = random_pairs(jax.random.key(2), 40, 4000)
    assert (pairs[:, 0] != pairs[:, 1]).all() and pairs.min() == 0 and pairs.max() == 39
    ws = correlated_latents(40)
    np.testing.assert_allclose(pair_regression(ws, linear(ws), pairs, 0.0), V, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(pairs, random_pairs(jax.random.key(2), 40, 4000))


def test_float32_is_as_good_as_float64_on_ill_conditioned_latents():
    # Condition number 1e3: its square, as the Gram matrix would have it, leaves float32 one digit.
    scales = np.geomspace(1, 1e-3, D)
    ws = np.random.default_rng(0).normal(size=(300, D)) * scales
    v32, _ = ridge_regression(
        jnp.asarray(ws, jnp.float32), jnp.asarray(ws @ V.T.astype(np.float64), jnp.float32), 0.0
    )
    np.testing.assert_allclose(np.asarray(v32) * scales, V * scales, atol=1e-4)
    assert np.linalg.norm(v32 - V) < 0.01 * np.linalg.norm(V)


def test_rank_deficient_latents_give_the_minimum_norm_solution():
    ws = np.array(correlated_latents(50))
    ws[:, -1] = ws[:, 0]  # The two share the effect.
    v, _ = ridge_regression(jnp.asarray(ws), linear(ws), 0.0)
    expected = V.copy()
    expected[:, 0] = expected[:, -1] = (V[:, 0] + V[:, -1]) / 2
    np.testing.assert_allclose(v, expected, rtol=2e-3, atol=2e-3)


def test_stein_identity_on_a_nonlinear_semantic():
    """For Gaussian w, Cov(w, y) = Cov(w) E[grad y].

    y = 10 tanh(a.w) + (b.w)^2, a.b = 0: the square's mean gradient is 0, and E[grad y] is
    10 E[sech^2(a.w)] a. The regression's error has covariance at most E[r^2 w w^T] / n with the
    residual r, here |r| of order 2 |b|^2 + 2, so a relative error near
    sqrt(D / n) * 4 / (10 * 0.6) = 0.02 at n = 8192; 5 times that is allowed.
    """
    n = 8192
    ws = jax.random.normal(jax.random.key(4), (n, D))
    a, b = np.eye(D)[0], np.eye(D)[1]

    def f(w):
        return (10 * jnp.tanh(w @ a) + (w @ b) ** 2)[:, None]

    fitted, _ = ridge_regression(ws, f(ws), 0.0)
    exact = last(stream_exact_directions(f, ws, batch_size=1024))
    x, weights = np.polynomial.hermite_e.hermegauss(60)
    truth = 10 * np.sum(weights / np.cosh(x) ** 2) / np.sqrt(2 * np.pi) * a
    assert np.linalg.norm(exact[0] - truth) < 0.1 * np.linalg.norm(truth)
    assert np.linalg.norm(fitted[0] - truth) < 0.1 * np.linalg.norm(truth)
    assert direction_cosine(fitted, exact)[0] > 0.99


def test_exact_direction_is_the_mean_of_forward_mode_jacobians():
    ws = correlated_latents(9)

    def f(w):
        return jnp.stack([jnp.tanh(w[:, 0] * w[:, 1]), jnp.sum(w**3, -1)], -1)

    exact = last(stream_exact_directions(f, ws, batch_size=4))
    reference = jax.vmap(jax.jacfwd(lambda w: f(w[None])[0]))(ws).mean(0)
    np.testing.assert_allclose(exact, reference, rtol=1e-4, atol=1e-4)


def test_r2_on_heldout_samples_shows_overfitting():
    ws = jax.random.normal(jax.random.key(5), (16, D))
    noise = jax.random.normal(jax.random.key(6), (16, K))
    fitted = regression_directions(ws, noise, NAMES, heldout=0.4, ridge=0.0)  # 10 fit, 6 score.
    assert (fitted.r2_train > 0.5).all() and (fitted.r2_heldout < 0.5).all()


def test_r2_of_the_mean_and_of_a_constant():
    ws = correlated_latents(20)
    ys = linear(ws).at[:, 2].set(0.25)
    zero = jnp.zeros((K, D))
    np.testing.assert_allclose(r_squared(zero, ys.mean(0), ws, ys), 0, atol=1e-5)


def test_non_finite_gradient_names_the_sample():
    ws = jnp.ones((6, D)).at[4, 0].set(0.0)
    with pytest.raises(FacesemError, match=r"gradient .* index 4 of ws"):
        list(stream_exact_directions(lambda w: jnp.sqrt(w[:, :1]), ws, batch_size=2))


def test_bad_arguments():
    ws = correlated_latents(20)
    ys = linear(ws)
    with pytest.raises(FacesemError, match="ys has shape"):
        regression_directions(ws, ys, NAMES[:2])
    with pytest.raises(FacesemError, match="ys has shape"):
        regression_directions(ws, ys[:10], NAMES)
    for heldout in (0.0, 1.0, 0.01, 0.99):
        with pytest.raises(FacesemError, match="heldout"):
            regression_directions(ws, ys, NAMES, heldout=heldout)
    with pytest.raises(FacesemError, match="ridge"):
        ridge_regression(ws, ys, -1.0)
    with pytest.raises(FacesemError, match="at least 2"):
        ridge_regression(ws[:1], ys[:1])


def test_cosine_of_a_zero_direction_is_zero():
    a = jnp.array([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    b = jnp.array([[-2.0, 0.0], [1.0, 0.0], [0.0, 3.0]])
    np.testing.assert_allclose(direction_cosine(a, b), [-1, 0, np.sqrt(0.5)], rtol=1e-6)


def test_many_samples_lose_no_direction():
    # The second to fourth coordinates have a fiftieth of the first one's spread.
    rng = np.random.default_rng(0)
    for n in (3_000, 300_000):
        ws = (rng.normal(size=(n, 4)) * [50, 1, 1, 1]).astype(np.float32)
        v, _ = ridge_regression(ws, ws @ np.float32([[0], [1], [2], [3]]))
        np.testing.assert_allclose(v, [[0, 1, 2, 3]], rtol=0.07, atol=1e-3)


def test_directions_in_which_w_does_not_vary_get_nothing():
    rng = np.random.default_rng(0)
    for n in (300, 100_000):
        a, b = rng.normal(size=(2, n))
        # A constant, a copy and a sum.
        ws = np.stack([a, b, np.full(n, 12.3), a, a + b], axis=1).astype(np.float32)
        v, _ = ridge_regression(ws, np.float32(a + 2 * b)[:, None], 0.0)
        assert np.abs(v).max() < 2 and abs(float(v[0, 2])) < 1e-3


@pytest.mark.parametrize("value", [0.1, 12.3])
def test_a_constant_semantic_has_nothing_to_explain(value):
    ws = correlated_latents(1000)
    found = regression_directions(ws, jnp.full((1000, 1), value), ["light"])
    assert found.r2_heldout.tolist() == [0] and found.r2_train.tolist() == [0]


def test_r_squared_refuses_other_shapes():
    ws = correlated_latents(50)
    v, intercept = ridge_regression(ws, linear(ws))
    with pytest.raises(FacesemError, match="ys has shape"):
        r_squared(v[:1], intercept[:1], ws, linear(ws)[:, 0])
    with pytest.raises(FacesemError, match="v has shape"):
        r_squared(v, intercept, ws, linear(ws)[:, :1])


def test_a_share_that_is_no_number_is_refused():
    ws = correlated_latents(50)
    with pytest.raises(FacesemError, match="heldout is nan"):
        regression_directions(ws, linear(ws), NAMES, heldout=float("nan"))
