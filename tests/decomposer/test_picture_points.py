import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facesem_jax.decomposer import CropBox, DecomposerConfig, camera, crop_and_resize
from facesem_jax.decomposer.picture_points import (
    canonical_point,
    canonical_point_of,
    framed_point,
)
from facesem_jax.decomposer.warp import canonical_warp
from facesem_jax.errors import FacesemError

CONFIG = DecomposerConfig.compact(image_size=32)

pytestmark = pytest.mark.usefixtures("quick_compilation")


def test_a_framed_point_is_where_the_crop_draws_it():
    """A ramp keeps its value: the crop of the row number says where a row went."""
    rows, columns = jnp.meshgrid(jnp.arange(48.0), jnp.arange(64.0), indexing="ij")
    picture = jnp.stack([rows, columns, columns], axis=-1)[None]
    box = CropBox(0.25, 0.125, 0.5, 0.375)
    cut = np.asarray(crop_and_resize(picture, box, 8))[0]
    for row, column in ((0, 0), (5, 3), (7, 7)):
        there = framed_point(cut[row, column, :2], box, (48, 64), 8)
        np.testing.assert_allclose(there, (row, column), atol=1e-4)


def test_without_a_crop_a_point_is_scaled_about_the_corner():
    np.testing.assert_allclose(framed_point((-0.5, 63.5), None, (64, 64), 32), (-0.5, 31.5))


@pytest.mark.parametrize("angle", [0.3, -1.2])
def test_a_rolled_plane_gives_the_rotated_point(angle):
    """At the depth of the rotation's centre a roll turns the picture about its centre."""
    depth = jnp.full((1, 32, 32), CONFIG.rotation_center_depth)
    view = jnp.array([[0, 0, angle, 0, 0, 0]])
    warp = canonical_warp(depth, view, CONFIG)
    (row, column), shown = canonical_point(warp, (12.0, 20.25))
    # From the view back: by minus the angle.
    x, y = 20.25 - 15.5, 12.0 - 15.5
    expected = 15.5 + np.array(
        [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    ) @ (y, x)
    np.testing.assert_allclose((row, column), expected, atol=1e-3)
    assert shown


def test_the_canonical_point_is_seen_at_the_picture_point():
    """The other way round: the point found, moved into the view, falls on the point asked."""
    depth = jnp.full((1, 32, 32), 0.97)
    view = jnp.array([[0.1, -0.35, 0.1, 0.01, 0.0, 0.0]])
    (row, column), shown = canonical_point(canonical_warp(depth, view, CONFIG), (14.0, 17.0))
    lens = camera.intrinsics(32, CONFIG.fov_degrees)
    point = camera.unproject(column[None], row[None], jnp.array([0.97]), lens)
    u, v = camera.project(camera.to_view(point, view, CONFIG.rotation_center_depth), lens)
    np.testing.assert_allclose((v[0], u[0]), (14, 17), atol=1e-3)
    assert shown


def test_beyond_the_canonical_frame_nothing_is_shown():
    depth = jnp.full((1, 32, 32), 1.0)
    warp = canonical_warp(depth, jnp.array([[0, 0, 0, 0.05, 0, 0]]), CONFIG)
    assert not canonical_point(warp, (16.0, 0.0))[1]
    assert canonical_point(warp, (16.0, 30.0))[1]
    assert not canonical_point(warp, (16.0, 32.0))[1]


def test_crop_and_view_together(tiny_decomposer):
    """Twice as large a picture whose crop is the decomposer's image: its own pixels, shifted."""
    framed = jax.random.uniform(jax.random.key(0), (1, 32, 32, 3), minval=-1, maxval=1)
    plain, _ = canonical_point_of(tiny_decomposer, framed, jnp.array([10.0, 20.0]), None, (32, 32))
    box = CropBox(0.25, 0.25, 0.5, 0.5)
    moved = jnp.array([26.0, 36.0])
    found, _ = canonical_point_of(tiny_decomposer, framed, moved, box, (64, 64))
    np.testing.assert_allclose(found, plain, atol=1e-4)


def test_a_point_has_two_numbers():
    with pytest.raises(FacesemError, match="point has shape"):
        framed_point((1.0,), None, (32, 32), 32)
