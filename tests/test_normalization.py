import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from facesem_jax.errors import FacesemError
from facesem_jax.normalization import GroupNorm, group_normalise

CASES = [
    ((2, 5, 4, 6), 3),
    pytest.param((3, 4, 4, 4), 4, marks=pytest.mark.whole_run),
    pytest.param((1, 3, 7, 8), 1, marks=pytest.mark.whole_run),
]

pytestmark = pytest.mark.usefixtures("quick_compilation")


def _plain(x, groups, epsilon):
    """As written in the paper, equations 2 to 5."""
    n, h, w, c = x.shape
    x = x.reshape(n, h, w, groups, c // groups)
    centred = x - x.mean(axis=(1, 2, 4), keepdims=True)
    variance = (centred**2).mean(axis=(1, 2, 4), keepdims=True)
    return (centred / jnp.sqrt(variance + epsilon)).reshape(n, h, w, c)


def _derivatives(f, x, dx, dy):
    """The value, then forward, reverse, linearised, second and batched derivatives."""
    return (
        f(x),
        jax.jvp(f, (x,), (dx,))[1],
        jax.vjp(f, x)[1](dy)[0],
        jax.linearize(f, x)[1](dx),
        jax.jvp(lambda x: jax.vjp(f, x)[1](dy)[0], (x,), (dx,))[1],
        jax.vmap(lambda t: jax.jvp(f, (x,), (t,))[1])(jnp.stack([dx, dy])),
    )


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

            found, expected = (
                jax.jit(_derivatives, static_argnums=0)(f, x, dx, dy) for f in (ours, plain)
            )
            np.testing.assert_allclose(found[0], expected[0], atol=1e-12)
            for one, other in zip(found[1:], expected[1:], strict=True):
                np.testing.assert_allclose(one, other, atol=1e-11)


def test_the_module_equals_flaxs_on_large_means():
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 12)) * 0.01 + 30
    module = GroupNorm(12, 4)
    module.scale[...] = jnp.linspace(0.5, 2, 12)
    module.bias[...] = jnp.linspace(-1, 1, 12)
    other = nnx.GroupNorm(12, num_groups=4, epsilon=1e-5, use_fast_variance=False, rngs=nnx.Rngs(0))
    other.scale[...], other.bias[...] = module.scale[...], module.bias[...]
    found, expected = (jax.jit(lambda m, x: m(x))(m, x) for m in (module, other))
    np.testing.assert_allclose(found, expected, atol=2e-3)
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
