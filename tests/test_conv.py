import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facesem_jax import conv
from facesem_jax.conv import conv2d
from facesem_jax.errors import FacesemError

pytestmark = pytest.mark.usefixtures("quick_compilation")

# Kernels up to this area have a tangent rule of their own.
AREA = conv._TAPS_AREA
# Kernel size, stride, padding: on both sides of that threshold, each with both strides.
CASES = [
    ((2, 2), 1, "SAME"),
    ((2, 2), 2, "VALID"),
    ((1, 4), 2, ((0, 0), (2, 1))),
    ((3, 3), 1, "SAME"),
    ((3, 2), 2, "SAME"),
    ((4, 4), 2, ((1, 1), (1, 1))),
]


def _plain(x, kernel, stride, padding):
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@pytest.mark.parametrize(("size", "stride", "padding"), CASES)
def test_value_and_derivatives_equal_those_of_the_plain_convolution(size, stride, padding):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 9, 8, 3))
    kernel = rng.normal(size=(*size, 3, 5))

    def derivatives(convolve):
        def f(x, k):
            return jnp.sum(jnp.sin(convolve(x, k, stride, padding)))

        @jax.jit
        def everything(x, k):
            def energy(x, k):
                return sum(jnp.sum(g**2) for g in jax.grad(f, (0, 1))(x, k))

            tangents = (jnp.cos(x), jnp.cos(k))
            return {
                "value": convolve(x, k, stride, padding),
                "gradients": jax.grad(f, (0, 1))(x, k),
                "tangent": jax.jvp(f, (x, k), tangents)[1],
                "second": jax.grad(energy, (0, 1))(x, k),
                "over": jax.jvp(jax.grad(f, (0, 1)), (x, k), tangents)[1],
            }

        return everything(jnp.asarray(x), jnp.asarray(kernel))

    with jax.enable_x64(True):
        ours, plain = derivatives(conv2d), derivatives(_plain)
        assert ours["value"].dtype == jnp.float64
        chex.assert_trees_all_close(ours, plain, atol=1e-8, rtol=1e-10)


def test_the_cases_straddle_the_threshold_with_both_strides():
    sides = {(size[0] * size[1] <= AREA, stride) for size, stride, _ in CASES}
    assert len(sides) == 4


def test_only_small_kernels_are_differentiated_by_taps():
    x = jnp.ones((1, 6, 6, 2))
    for size in (2, 3):
        kernel = jnp.ones((size, size, 2, 2))
        push = lambda t, k=kernel: jax.jvp(lambda a: conv2d(x, a), (k,), (t,))  # noqa: E731
        jaxpr = str(jax.make_jaxpr(push)(kernel))
        assert ("dot_general" in jaxpr) == (size * size <= AREA)


def test_a_tangent_of_the_input_costs_no_product_per_tap():
    kernel = jnp.ones((3, 3, 2, 2))
    x = jnp.ones((1, 6, 6, 2))
    jaxpr = str(jax.make_jaxpr(lambda t: jax.jvp(lambda a: conv2d(a, kernel), (x,), (t,)))(x))
    assert "dot_general" not in jaxpr
    assert "conv_general_dilated" in jaxpr


def test_precision_goes_by_name():
    assert conv.PRECISION == jax.lax.Precision.HIGHEST
    assert conv.named_precision("DEFAULT") == jax.lax.Precision.DEFAULT
    with pytest.raises(FacesemError, match="FACESEM_PRECISION is 'FAST'; choose from"):
        conv.named_precision("FAST")
