import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.semantics.projections import project_unit_sphere

pytestmark = pytest.mark.usefixtures("quick_compilation")


def test_no_unit_vector_is_nearer():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 4))
    candidates = rng.normal(size=(1000, 5, 4))
    candidates /= np.linalg.norm(candidates, axis=1, keepdims=True)
    with jax.enable_x64(True):
        z = np.asarray(project_unit_sphere(jnp.asarray(x)))
    np.testing.assert_allclose(np.linalg.norm(z, axis=0), 1, rtol=1e-14)
    nearest = np.linalg.norm(candidates - x, axis=1).min(axis=0)
    assert np.all(np.linalg.norm(z - x, axis=0) <= nearest)


def test_projecting_twice_changes_nothing():
    x = jax.random.normal(jax.random.key(0), (64, 16))
    once = project_unit_sphere(x)
    np.testing.assert_allclose(project_unit_sphere(once), once, atol=2e-7)


@pytest.mark.parametrize("scale", [1e-36, 1e-30, 1e30, 1e37])
def test_direction_survives_extreme_lengths(scale):
    x = jnp.asarray([[0.6], [0.8]], jnp.float32) * jnp.float32(scale)
    np.testing.assert_allclose(project_unit_sphere(x)[:, 0], [0.6, 0.8], atol=1e-6)


def test_a_zero_column_becomes_the_first_coordinate_vector():
    x = jnp.asarray([[0.0, 3.0], [0.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(project_unit_sphere(x), [[1, 0.6], [0, 0.8], [0, 0]], atol=1e-7)
    np.testing.assert_allclose(project_unit_sphere(x.T, axis=-1).T, project_unit_sphere(x))


def test_gradient_is_tangent_to_the_sphere():
    x = jnp.asarray([1.0, 2.0, -0.5])
    jacobian = jax.jacobian(project_unit_sphere)(x)
    np.testing.assert_allclose(jacobian @ x, jnp.zeros(3), atol=1e-6)


def test_integers_are_refused():
    with pytest.raises(FacesemError, match="dtype"):
        project_unit_sphere(jnp.ones((2, 2), int))
