import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.training.sliced_wasserstein import sliced_wasserstein

KEY = jax.random.key(1)


@pytest.fixture(scope="module")
def samples():
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.normal(size=(2, 64, 5)), jnp.float32)


def test_a_permuted_sample_is_at_distance_zero(samples):
    a, _ = samples
    permuted = a[np.random.default_rng(1).permutation(len(a))]
    assert float(sliced_wasserstein(a, permuted, KEY)) < 1e-10


def test_a_shift_costs_its_squared_length_over_the_dimension(samples):
    a, _ = samples
    shift = jnp.array([1.0, -2.0, 0.5, 0.0, 3.0])
    found = sliced_wasserstein(a, a + shift, KEY, projections=20000)
    np.testing.assert_allclose(found, jnp.sum(shift**2) / 5, rtol=0.03)


def test_in_one_dimension_it_is_the_wasserstein_distance(samples):
    a, b = samples[:, :, :1]
    expected = np.mean((np.sort(a, axis=0) - np.sort(b, axis=0)) ** 2)
    np.testing.assert_allclose(sliced_wasserstein(a, b, KEY), expected, rtol=1e-4)


def test_it_is_symmetric_positive_and_quadratic_in_scale(samples):
    a, b = samples
    distance = sliced_wasserstein(a, b, KEY)
    assert distance > 0
    np.testing.assert_allclose(sliced_wasserstein(b, a, KEY), distance, rtol=1e-6)
    np.testing.assert_allclose(sliced_wasserstein(3 * a, 3 * b, KEY), 9 * distance, rtol=1e-4)


def test_the_gradient_pulls_the_samples_together(samples):
    a, b = samples[0], 0.5 * samples[1] + jnp.array([4.0, 0, 0, 0, 0])
    value = jax.jit(jax.value_and_grad(sliced_wasserstein))
    start, gradient = value(a, b, KEY)
    np.testing.assert_array_less(gradient[:, 0], 0)
    for step in range(60):
        _, gradient = value(a, b, jax.random.fold_in(KEY, step))
        a = a - 100 * gradient
    assert value(a, b, KEY)[0] < 0.01 * start
    np.testing.assert_allclose(a.mean(axis=0), b.mean(axis=0), atol=0.1)
    np.testing.assert_allclose(a.std(axis=0), b.std(axis=0), atol=0.1)


def test_samples_of_other_sizes_are_refused(samples):
    a, b = samples
    with pytest.raises(FacesemError, match=r"b has shape \(63, 5\); expected \(64, 5\)"):
        sliced_wasserstein(a, b[1:], KEY)
    with pytest.raises(FacesemError, match="a has shape"):
        sliced_wasserstein(a[0], b[0], KEY)
