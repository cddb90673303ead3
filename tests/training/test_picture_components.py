import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.training.picture_components import picture_components


def _pictures(seed, n=60):
    rng = np.random.default_rng(seed)
    strong = rng.normal(size=(3, 4, 6, 3)).repeat(2, 1).repeat(2, 2) * [[[[5]]], [[[3]]], [[[1]]]]
    numbers = rng.normal(size=(n, 3))
    return jnp.asarray(0.2 + np.einsum("nk,khwc->nhwc", numbers, strong), jnp.float32)


def test_components_are_uncorrelated_with_unit_variance():
    images = _pictures(0)
    found = picture_components(images, 3)(images)
    np.testing.assert_allclose(jnp.mean(found, axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(found.T @ found / len(images), np.eye(3), atol=1e-3)


def test_the_strongest_components_rebuild_the_pictures():
    images, others = _pictures(0), _pictures(0, 20)
    components = picture_components(images, 3)
    small = others.reshape(20, 4, 2, 6, 2, 3).mean((2, 4)).reshape(20, -1)
    # Least squares from the components alone: the pictures have three degrees of freedom.
    design = np.c_[components(others), np.ones(20)]
    weights, *_ = np.linalg.lstsq(design, small, rcond=None)
    np.testing.assert_allclose(design @ weights, small, atol=1e-3)
    first, second = (picture_components(images, k)(others) for k in (1, 2))
    np.testing.assert_allclose(first[:, 0], second[:, 0], atol=1e-5)


def test_components_that_nothing_fills_stay_finite():
    components = picture_components(_pictures(0), 8)
    assert np.isfinite(np.asarray(components(_pictures(1)))).all()
    constant = picture_components(jnp.ones((5, 4, 4, 3)), 2)
    np.testing.assert_allclose(constant(jnp.ones((5, 4, 4, 3))), 0)


@pytest.mark.parametrize("count", [0, 5, 9])
def test_too_few_pictures_are_refused(count):
    images = jax.random.normal(jax.random.key(0), (5, 4, 4, 3))
    with pytest.raises(FacesemError, match=f"{count} components of 5 pictures"):
        picture_components(images, count)
