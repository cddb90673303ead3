import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.metrics import lerp, path_length, slerp


@pytest.fixture(scope="module")
def ends():
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(size=(300, 6)), jnp.float32) for _ in range(2)]


def test_a_linear_map_has_a_closed_form(ends):
    a, b = (np.asarray(e, np.float64) for e in ends)
    A = np.random.default_rng(1).normal(size=(6, 4))
    t = np.random.default_rng(2).uniform(size=300)
    expected = np.sum(((b - a) @ A) ** 2, axis=1)
    for epsilon in (1e-4, 0.1):
        points = [a + s[:, None] * (b - a) for s in (t, t + epsilon)]
        found = path_length(points[0] @ A, points[1] @ A, epsilon, trim=0)
        np.testing.assert_allclose(found.lengths, expected, rtol=1e-6)
        assert found.length.mean == pytest.approx(expected.mean())
    np.testing.assert_allclose(
        lerp(*ends, jnp.asarray(t, jnp.float32)), a + t[:, None] * (b - a), atol=1e-5
    )


def test_great_circles_are_walked_at_the_speed_of_their_angle(ends):
    a, b = ends
    ones = jnp.ones(300)

    def unit(x):
        return x / jnp.linalg.norm(x, axis=1, keepdims=True)

    np.testing.assert_allclose(slerp(a, b, 0 * ones), unit(a), atol=1e-6)
    np.testing.assert_allclose(slerp(a, b, ones), unit(b), atol=1e-5)
    np.testing.assert_allclose(slerp(a, a, 0.5 * ones), unit(a), atol=1e-6)
    middle, speed = jax.jvp(lambda t: slerp(a, b, t), (0.3 * ones,), (ones,))
    angle = np.arccos(np.sum(unit(a) * unit(b), axis=1))
    np.testing.assert_allclose(np.linalg.norm(middle, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(speed, axis=1), angle, rtol=1e-4)
    # StyleGAN's measure in z of the identity is then the mean squared angle.
    far = slerp(a, b, 0.31 * ones)
    assert path_length(middle, far, 0.01, trim=0).length.mean == pytest.approx(
        np.mean(angle**2), rel=1e-3
    )


def test_the_longest_and_shortest_are_left_out():
    near, far = np.zeros((200, 1)), np.full((200, 1), 2.0)
    far[7], far[8] = 1e6, 0
    found = path_length(near, far, 1.0)
    assert found.length.mean == 4 and found.lengths[7] == 1e12
    assert path_length(near, far, 1.0, trim=0).length.mean > 1e9


def test_bad_arguments_are_refused():
    with pytest.raises(FacesemError, match="epsilon is 0"):
        path_length(np.zeros((3, 2)), np.zeros((3, 2)), 0.0)
    with pytest.raises(FacesemError, match=r"trim 0\.5"):
        path_length(np.zeros((3, 2)), np.zeros((3, 2)), 1.0, trim=0.5)
    with pytest.raises(FacesemError, match="far has shape"):
        path_length(np.zeros((3, 2)), np.zeros((4, 2)), 1.0)


def test_few_paths_keep_their_ends():
    # The reference takes the percentiles' nearest values outwards.
    near = np.zeros((10, 1))
    lengths = np.array([1e6, 1, 1, 1, 1, 1, 1, 1, 1, 0])
    found = path_length(near, 1e-4 * np.sqrt(lengths)[:, None], 1e-4)
    assert found.length.mean == pytest.approx(lengths.mean())
    assert path_length(near[:2], near[:2] + 1e-4, 1e-4).length.mean == pytest.approx(1)
