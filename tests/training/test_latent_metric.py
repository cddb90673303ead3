import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.training.latent_metric import metric_probes, metric_scale

JACOBIAN = np.diag([4.0, 1.0, 0.5]) @ np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]


def _pictures(w):
    """Linear pictures of 1 x 3 pixels; their metric is J J^T / 3 in this convention."""
    return (w @ jnp.asarray(JACOBIAN.T, jnp.float32)).reshape(-1, 1, 3, 1)


def test_outer_products_of_probes_average_to_the_metric():
    w = jax.random.normal(jax.random.key(0), (20000, 3))
    probes = np.asarray(metric_probes(_pictures, w, jax.random.key(1)))
    expected = JACOBIAN.T @ JACOBIAN / 3
    np.testing.assert_allclose(probes.T @ probes / len(probes), expected, atol=0.15)


@pytest.mark.parametrize("power", [0.0, 0.25, 0.5])
def test_coordinates_are_the_power_of_the_metric(power):
    probes = np.sqrt(3.0) * JACOBIAN  # Their second moment is exactly J^T J.
    forward, inverse = metric_scale(probes, power)
    np.testing.assert_allclose(forward @ inverse, np.eye(3), atol=1e-5)
    np.testing.assert_allclose(jnp.sum(jnp.square(forward)), 3, rtol=1e-5)
    ratio = np.linalg.svd(forward)[1]
    np.testing.assert_allclose(ratio / ratio[0], np.array([1, 1 / 16, 1 / 64]) ** power, rtol=1e-3)
    if power == 0.5:
        # A step of one length moves the picture equally far in every direction.
        moved = np.linalg.svd(JACOBIAN @ np.asarray(inverse).T)[1]
        np.testing.assert_allclose(moved / moved[0], 1, rtol=1e-4)


def test_directions_that_nobody_sees_stay_invertible():
    probes = np.zeros((4, 2))
    probes[:, 0] = 1
    forward, inverse = metric_scale(probes)
    np.testing.assert_allclose(forward @ inverse, np.eye(2), atol=1e-4)


def test_errors():
    with pytest.raises(FacesemError, match="2 probes of 3 dimensions"):
        metric_scale(np.ones((2, 3)))
    with pytest.raises(FacesemError, match="do not depend on w"):
        metric_scale(np.zeros((5, 3)))
    with pytest.raises(FacesemError, match="probes has shape"):
        metric_scale(np.zeros(5))
