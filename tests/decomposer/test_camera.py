import jax.numpy as jnp
import numpy as np
from scipy.spatial.transform import Rotation

from facesem_jax.decomposer import camera

CAMERA = camera.intrinsics(64, 10.0)
ATOL = 1e-4


def test_geometry_matches_the_reference(golden):
    depth, view = jnp.asarray(golden["canonical_depth"]), jnp.asarray(golden["view"])
    rotation = camera.rotation_matrix(view[:, :3])
    np.testing.assert_allclose(rotation, golden["rotation"], atol=1e-6)
    points = camera.warped_points(depth, view, CAMERA, 1.0)
    np.testing.assert_allclose(points, golden["warped_grid_3d"], atol=1e-5)
    u, v = camera.inverse_warp(depth, view, CAMERA, 1.0)
    grid = camera.normalise_pixels(u, v, 64, 64)
    np.testing.assert_allclose(grid, golden["inverse_warped_grid_2d"], atol=ATOL)


def test_outer_pixel_centres_span_the_field_of_view():
    u = jnp.array([0.0, 63.0])
    x, _, z = camera.unproject(u, u, jnp.ones(2), CAMERA)
    np.testing.assert_allclose(np.degrees(np.arctan2(x, z)), [-5.0, 5.0], rtol=1e-5)
    assert CAMERA.matrix.tolist() == [
        [np.float32(CAMERA.fx), 0.0, 31.5],
        [0.0, np.float32(CAMERA.fy), 31.5],
        [0.0, 0.0, 1.0],
    ]


def test_rotation_is_pitch_then_yaw_then_roll():
    angles = np.random.default_rng(0).uniform(-1, 1, (5, 3)).astype(np.float32)
    expected = Rotation.from_euler("xyz", angles).as_matrix()
    np.testing.assert_allclose(camera.rotation_matrix(jnp.asarray(angles)), expected, atol=1e-6)


def test_to_canonical_inverts_to_view():
    rng = np.random.default_rng(1)
    points = tuple(jnp.asarray(rng.uniform(0.5, 1.5, (3, 4, 5)), jnp.float32) for _ in range(3))
    view = jnp.asarray(rng.uniform(-0.5, 0.5, (3, 6)), jnp.float32)
    back = camera.to_canonical(camera.to_view(points, view, 1.0), view, 1.0)
    for found, expected in zip(back, points, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_rotation_leaves_its_centre_in_place():
    view = jnp.array([[0.3, -0.4, 0.2, 0.0, 0.0, 0.0]])
    centre = (jnp.zeros((1, 1)), jnp.zeros((1, 1)), jnp.full((1, 1), 1.0))
    for found, expected in zip(camera.to_view(centre, view, 1.0), centre, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-7)


def test_projection_inverts_unprojection():
    depth = jnp.linspace(0.9, 1.1, 64 * 64).reshape(1, 64, 64)
    u, v = camera.inverse_warp(depth, jnp.zeros((1, 6)), CAMERA, 1.0)
    columns, rows = np.meshgrid(np.arange(64), np.arange(64))
    np.testing.assert_allclose(u[0], columns, atol=1e-4)
    np.testing.assert_allclose(v[0], rows, atol=1e-4)


def test_positive_yaw_brings_the_nose_towards_smaller_x():
    """The sign convention that callers rely on: near points move left, z being away."""
    near = (jnp.zeros((1, 1)), jnp.zeros((1, 1)), jnp.full((1, 1), 0.9))
    x, _, _ = camera.to_view(near, jnp.array([[0.0, 0.3, 0.0, 0.0, 0.0, 0.0]]), 1.0)
    np.testing.assert_allclose(x, -0.1 * np.sin(0.3), atol=1e-6)
