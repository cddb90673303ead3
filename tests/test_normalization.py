import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from facesem_jax.errors import FacesemError
from facesem_jax.normalization import GroupNorm, group_normalise

CASES = [((2, 5, 4, 6), 3), ((3, 4, 4, 4), 4), ((1, 3, 7, 8), 1)]

pytestmark = pytest.mark.usefixtures("quick_compilation")


def _plain(x, groups, epsilon):
    """As written in the paper, equations 2 to 5."""
    n, h, w, c = x.shape
    x = x.reshape(n, h, w, groups, c // groups)
    centred = x - x.mean(axis=(1, 2, 4), keepdims=True)
    variance = (centred**2).mean(axis=(1, 2, 4), keepdims=True)
    return (centred / jnp.sqrt(variance + epsilon)).reshape(n, h, w, c)


@pytest.mark.parametrize(("shape", "groups"), CASES)
def test_value_and_every_derivative_equal_those_of_the_formula(shape, groups):
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        x, dx, dy = (jnp.asarray(rng.normal(size=shape)) * 2 + 1 for _ in range(3))
        # A large epsilon, so that it shows in the derivatives.
        for epsilon in (1e-5, 0.7):

            def ours(x, e=epsilon):
                return group_normalise(x, groups, e)

            def plain(x, e=epsilon):
                return _plain(x, groups, e)

            np.testing.assert_allclose(ours(x), plain(x), atol=1e-12)
            for derivative in (
                lambda f: jax.jvp(f, (x,), (dx,))[1],
                lambda f: jax.vjp(f, x)[1](dy)[0],
                lambda f: jax.linearize(f, x)[1](dx),
                lambda f: jax.jvp(lambda x: jax.vjp(f, x)[1](dy)[0], (x,), (dx,))[1],
                lambda f: jax.vmap(lambda t: jax.jvp(f, (x,), (t,))[1])(jnp.stack([dx, dy])),
            ):
                np.testing.assert_allclose(derivative(ours), derivative(plain), atol=1e-11)


def test_the_module_equals_flaxs_on_large_means():
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 12)) * 0.01 + 30
    module = GroupNorm(12, 4)
    module.scale[...] = jnp.linspace(0.5, 2, 12)
    module.bias[...] = jnp.linspace(-1, 1, 12)
    other = nnx.GroupNorm(12, num_groups=4, epsilon=1e-5, use_fast_variance=False, rngs=nnx.Rngs(0))
    other.scale[...], other.bias[...] = module.scale[...], module.bias[...]
    np.testing.assert_allclose(module(x), other(x), atol=2e-3)
    assert 0.9 < float(jnp.std(group_normalise(x, 4, 1e-9))) < 1.1


def test_a_constant_map_becomes_zero_with_a_finite_tangent():
    x = jnp.full((1, 4, 4, 2), 3.0)
    value, tangent = jax.jvp(lambda x: group_normalise(x, 2), (x,), (jnp.ones_like(x),))
    np.testing.assert_array_equal(value, 0)
    np.testing.assert_array_equal(tangent, 0)


def test_what_cannot_be_normalised_is_refused():
    with pytest.raises(FacesemError, match="3 groups do not divide 8"):
        GroupNorm(8, 3)
    with pytest.raises(FacesemError, match="floating point"):
        group_normalise(jnp.zeros((1, 2, 2, 4), jnp.int32), 2)
    with pytest.raises(FacesemError, match=r"\(2, 2, 4\) cannot be normalised in 2 groups"):
        group_normalise(jnp.zeros((2, 2, 4)), 2)
    with pytest.raises(FacesemError, match="in 3 groups"):
        group_normalise(jnp.zeros((1, 2, 2, 4)), 3)
