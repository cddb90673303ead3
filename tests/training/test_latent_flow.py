import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from facesem_jax.errors import FacesemError
from facesem_jax.generators.layers import pixel_norm
from facesem_jax.training.latent_flow import (
    VelocityNetwork,
    carried,
    distillation_loss,
    flow_loss,
    time_features,
)
from facesem_jax.training.latent_metric import MetricScale
from facesem_jax.training.state import init_state, make_step, modules_of

KEY = jax.random.key(0)

pytestmark = pytest.mark.usefixtures("quick_compilation")


def test_a_new_network_stands_still():
    velocity = VelocityNetwork(6, 32, 2, rngs=nnx.Rngs(0))
    z = jax.random.normal(KEY, (5, 6))
    assert float(jnp.abs(velocity(z, jnp.linspace(0, 1, 5))).max()) < 1e-4
    np.testing.assert_allclose(carried(velocity, z), pixel_norm(z), atol=1e-4)


def test_times_can_be_told_apart():
    features = time_features(jnp.linspace(0, 1, 50))
    apart = jnp.linalg.norm(features[:, None] - features, axis=-1) + jnp.eye(50)
    assert float(apart.min()) > 0.1


@pytest.mark.parametrize("steps", [1, 7])
def test_a_constant_velocity_is_integrated_exactly(steps):
    z = jax.random.normal(KEY, (4, 3))
    end = carried(lambda x, t: jnp.broadcast_to(jnp.array([1.0, -2.0, 0.0]), x.shape), z, steps)
    np.testing.assert_allclose(end, pixel_norm(z) + jnp.array([1.0, -2.0, 0.0]), atol=1e-5)


def test_the_method_is_of_second_order():
    z = jax.random.normal(KEY, (4, 3))
    exact = pixel_norm(z) * jnp.exp(0.5)  # dx/dt = t x.

    def error(steps):
        found = carried(lambda x, t: t[:, None] * x, z, steps)
        return float(jnp.abs(found - exact).max())

    assert 3.3 < error(4) / error(8) < 5


def test_the_loss_at_rest_is_the_mean_squared_way():
    w = jnp.zeros((4096, 8))
    loss, _ = flow_loss(lambda x, t: jnp.zeros_like(x), w, KEY)
    np.testing.assert_allclose(loss, 1, atol=1e-3)  # From the unit sphere's shell to 0.


@pytest.mark.whole_run
def test_a_flow_finds_a_distribution_with_two_modes():
    """Dimension 0 is -1 or 1 and dimension 1 follows it: no linear map of z gives that."""
    rng = np.random.default_rng(0)
    side = rng.choice([-1.0, 1.0], 4096)
    w = np.stack([side, 0.8 * side + 0.3 * rng.normal(size=4096), rng.normal(size=4096)], 1)
    w = jnp.asarray(w, jnp.float32)
    optimizer = optax.adam(3e-3)
    graph, state = init_state(VelocityNetwork(3, 64, 2, rngs=nnx.Rngs(0)), optimizer)
    step = jax.jit(
        make_step(
            graph, lambda v, batch, i: flow_loss(v, batch, jax.random.fold_in(KEY, i)), optimizer
        )
    )
    for i in range(400):
        state, _ = step(state, w[(512 * i) % 4096 :][:512])
    found = carried(modules_of(graph, state), jax.random.normal(KEY, (2000, 3)))
    assert float(jnp.mean(jnp.abs(found[:, 0]) < 0.4)) < 0.1  # Hardly any between the modes.
    assert 0.4 < float(jnp.mean(found[:, 0] > 0)) < 0.6
    expected = float(jnp.corrcoef(w.T)[0, 1])
    np.testing.assert_allclose(jnp.corrcoef(found.T)[0, 1], expected, atol=0.08)


def test_distillation_is_an_error_per_dimension_of_the_flow():
    y, z, exact = jnp.ones((5, 2)), jnp.zeros((5, 2)), jnp.array([1 / 2, 1 / 3])
    scale = MetricScale(jnp.diag(1 / exact), jnp.diag(exact))
    assert float(distillation_loss(lambda z: z + exact, z, y, scale, KEY)[0]) < 1e-12
    _, terms = distillation_loss(lambda z: z + 1, z, y, scale, KEY)
    np.testing.assert_allclose(terms["error"], (1 + 4) / 2, rtol=1e-6)


def test_a_mapping_that_keeps_to_the_mean_pays_for_it():
    y = jax.random.normal(KEY, (512, 3))
    z = jnp.zeros((512, 3))

    def loss(mapping, spread):
        scale = MetricScale(jnp.eye(3), jnp.eye(3))
        return float(distillation_loss(mapping, z, y, scale, KEY, spread)[0])

    # A sample of its own that has nothing to do with y has twice the mean's error, but no other.
    other = jax.random.normal(jax.random.key(1), y.shape)
    assert loss(lambda z: z, 0.0) < loss(lambda z: other, 0.0)
    assert loss(lambda z: z, 3.0) > loss(lambda z: other, 3.0)


def test_errors():
    with pytest.raises(FacesemError, match="steps is 0"):
        carried(lambda x, t: x, jnp.zeros((2, 3)), 0)
    with pytest.raises(FacesemError, match="z has shape"):
        carried(lambda x, t: x, jnp.zeros(3))
