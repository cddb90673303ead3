import chex
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from facesem_jax.errors import FacesemError
from facesem_jax.semantics.prox import soft_threshold


@settings(max_examples=50, deadline=None)
@given(
    # XLA flushes subnormal numbers to zero on the CPU.
    hnp.arrays(np.float64, 7, elements=st.floats(-10, 10, allow_subnormal=False)),
    st.floats(0, 5, allow_subnormal=False),
)
def test_soft_threshold_meets_its_optimality_condition(x, t):
    # 0 in z - x + t d|z|: z - x = -t sign(z) on the support, |x| <= t off it.
    with jax.enable_x64(True):
        z = np.asarray(soft_threshold(jnp.asarray(x), t))
    on = z != 0
    np.testing.assert_allclose((z - x)[on], -t * np.sign(z[on]), atol=1e-12)
    assert np.all(np.abs(x[~on]) <= t)


def test_zeros_are_exact_and_dtype_follows_the_input():
    z = soft_threshold(jnp.asarray([0.3, -0.3, 0.30001, -1.0], jnp.float32), 0.3)
    assert z.dtype == jnp.float32
    np.testing.assert_array_equal(np.asarray(z) == 0, [True, True, False, False])


def test_threshold_broadcasts_and_zero_is_the_identity():
    x = jnp.asarray([[1.0, -2.0], [0.5, 3.0]])
    z = soft_threshold(x, jnp.asarray([0.0, 1.0]))
    chex.assert_trees_all_close(z, jnp.asarray([[1.0, -1.0], [0.5, 2.0]]))


def test_gradient_is_one_on_the_support_and_zero_off_it():
    gradient = jax.vmap(jax.grad(lambda x: soft_threshold(x, 0.5)))(jnp.asarray([-2.0, 0.1, 1.0]))
    chex.assert_trees_all_close(gradient, jnp.asarray([1.0, 0.0, 1.0]))


def test_integers_are_refused():
    with pytest.raises(FacesemError, match="dtype"):
        soft_threshold(jnp.arange(3), 1)
