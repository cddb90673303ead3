import jax.numpy as jnp
import numpy as np

from facesem_jax.decomposer import DecomposerConfig
from facesem_jax.decomposer.camera import intrinsics
from facesem_jax.decomposer.decomposer import depth_prior
from facesem_jax.training.canonical_texture import canonical_points
from facesem_jax.training.decomposer_loss import photometric_window
from facesem_jax.training.relief import middle_of_rows, relief_of_prior, with_deeper_sides

SIZE = 32
CONFIG = DecomposerConfig.compact(image_size=SIZE)
CAMERA = intrinsics(SIZE, CONFIG.fov_degrees)


def test_a_factor_moves_the_sides_and_leaves_the_middle():
    depth = jnp.asarray(np.random.default_rng(0).normal(size=(6, 8)), jnp.float32)
    middle = middle_of_rows(depth)
    np.testing.assert_allclose(middle[:, 0], (depth[:, 3] + depth[:, 4]) / 2, rtol=1e-6)
    deeper = with_deeper_sides(depth, 1.5)
    np.testing.assert_allclose(middle_of_rows(deeper), middle, atol=1e-6)
    np.testing.assert_allclose(deeper - middle, 1.5 * (depth - middle), atol=1e-6)
    np.testing.assert_allclose(with_deeper_sides(depth, 1.0), depth, atol=1e-6)


def test_the_sides_of_canonical_points_fall_back_further():
    depth = 1 + 0.1 * jnp.tanh(depth_prior(CONFIG))
    points = canonical_points(depth, CAMERA, (24.0, 30.0))
    deeper = canonical_points(with_deeper_sides(depth, 1.5), CAMERA, (24.0, 30.0))
    x, y, z = np.asarray(points.position).T
    # Behind the nearest point of their row by half as much again.
    for row in np.unique(np.round(y / z, 5)):
        here = np.abs(y / z - row) < 1e-5
        behind, now = (d[here] - d[here].min() for d in (z, np.asarray(deeper.position[:, 2])))
        np.testing.assert_allclose(now, 1.5 * behind, atol=1e-6)
        assert abs(deeper.position[here, 2].min() - z[here].min()) < 5e-4
    # On the same lines of sight, and steeper to the side.
    np.testing.assert_allclose(deeper.position[:, 0] / deeper.position[:, 2], x / z, atol=1e-6)
    across = np.abs(np.asarray(points.normal)[:, 0]) > 0.3
    assert across.any()
    assert (np.abs(deeper.normal[:, 0]) > np.abs(points.normal[:, 0]))[across].all()


def test_relief_is_the_priors_share_in_the_mean_depth():
    window = photometric_window(SIZE, (22.0, 28.0))
    prior = 0.1 * jnp.tanh(depth_prior(CONFIG))
    found = [relief_of_prior(1 + a * prior[None], CONFIG, window) for a in (1.0, 0.4)]
    np.testing.assert_allclose(found, [1, 0.4], atol=1e-4)
    # Of the mean, whatever single faces have; the clamped columns have no say.
    pair = 1.02 + jnp.stack([0.9 * prior, 0.3 * prior]).at[:, :, :2].set(7.0)
    np.testing.assert_allclose(relief_of_prior(pair, CONFIG, window), 0.6, atol=1e-4)
    # Nor has what is the same in a whole row, or what is odd under a mirror.
    other = pair + jnp.sin(jnp.arange(SIZE))[:, None]
    other = other.at[:, :, 2:-2].add(0.01 * jnp.linspace(-1, 1, SIZE)[2:-2])
    np.testing.assert_allclose(relief_of_prior(other, CONFIG, window), 0.6, atol=1e-3)
