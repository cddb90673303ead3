import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facesem_jax.conv import conv2d

CASES = [(1, "SAME"), (2, ((1, 1), (1, 1))), (2, "SAME"), (1, "VALID")]


def _plain(x, kernel, stride, padding):
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@pytest.mark.parametrize(("stride", "padding"), CASES)
def test_value_and_derivatives_equal_those_of_the_plain_convolution(stride, padding):
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        x = jnp.asarray(rng.normal(size=(2, 9, 8, 3)))
        kernel = jnp.asarray(rng.normal(size=(4, 4, 3, 5)))

        def ours(x, k):
            return jnp.sum(jnp.sin(conv2d(x, k, stride, padding)))

        def plain(x, k):
            return jnp.sum(jnp.sin(_plain(x, k, stride, padding)))

        for argument in (0, 1):
            np.testing.assert_allclose(
                jax.grad(ours, argument)(x, kernel),
                jax.grad(plain, argument)(x, kernel),
                atol=1e-10,
            )
        tangents = (jnp.cos(x), jnp.cos(kernel))
        np.testing.assert_allclose(
            jax.jvp(ours, (x, kernel), tangents)[1],
            jax.jvp(plain, (x, kernel), tangents)[1],
            atol=1e-10,
        )
        second = [
            jax.grad(lambda k, f=f: jnp.sum(jax.grad(f)(x, k) ** 2))(kernel) for f in (ours, plain)
        ]
        np.testing.assert_allclose(*second, atol=1e-8)


def test_a_tangent_of_the_input_costs_no_product_per_tap():
    kernel = jnp.ones((3, 3, 2, 2))
    x = jnp.ones((1, 6, 6, 2))
    jaxpr = str(jax.make_jaxpr(lambda t: jax.jvp(lambda a: conv2d(a, kernel), (x,), (t,)))(x))
    assert "dot_general" not in jaxpr
    assert "conv_general_dilated" in jaxpr
