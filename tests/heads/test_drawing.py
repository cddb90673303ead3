import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facesem_jax.decomposer import DecomposerConfig
from facesem_jax.decomposer.camera import intrinsics, project
from facesem_jax.decomposer.shading import lambertian_shading, normals_from_depth
from facesem_jax.errors import FacesemError
from facesem_jax.heads import HeadScene, canonical_vertices, draw_heads
from facesem_jax.metrics.depth import eroded

_SCENE, _CONFIG = HeadScene(samples=1), DecomposerConfig.compact()

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def drawn(model, heads):
    return draw_heads(model, heads, _SCENE, _CONFIG)


@pytest.fixture(scope="module")
def frontal(model, heads):
    return draw_heads(model, heads._replace(view=jnp.zeros_like(heads.view)), _SCENE, _CONFIG)


def _symmetric(heads):
    """The heads without what sets left and right apart."""
    return heads._replace(
        identity=jnp.zeros_like(heads.identity),
        actions=jnp.zeros_like(heads.actions),
        view=jnp.zeros_like(heads.view),
        light=heads.light.at[:, 2].set(0),
    )


def test_a_head_fills_the_frame_inside_the_range_of_depth(drawn):
    mask = np.asarray(drawn.mask)
    assert np.all((0.35 < mask.mean((1, 2))) & (mask.mean((1, 2)) < 0.85))
    assert mask[:, 32, 32].all() and not mask[:, 5:40, 0].any() and not mask[:, 5:40, -1].any()
    depth = np.asarray(drawn.depth)
    assert depth[mask].min() > _CONFIG.min_depth and depth[mask].max() < _CONFIG.max_depth
    np.testing.assert_array_equal(depth[~mask], np.float32(_CONFIG.max_depth))
    for picture in (drawn.image, drawn.albedo):
        assert float(jnp.abs(picture).max()) <= 1


def test_the_nose_of_a_frontal_head_is_nearest_and_in_the_middle(frontal):
    nearest = np.asarray(frontal.depth).reshape(4, -1).argmin(1)
    rows, columns = np.divmod(nearest, 64)
    assert np.all((28 < rows) & (rows < 42)) and np.all((26 < columns) & (columns < 38))


def test_the_view_is_the_decomposers(model, heads, frontal):
    turned = heads._replace(view=jnp.zeros((4, 6)).at[:, 1].set(0.5).at[:, 3].set(0.01))
    drawn = draw_heads(model, turned, _SCENE, _CONFIG)
    # The nose's tip, moved by hand: yaw about (0, 0, 1), then along x.
    vertices = np.asarray(canonical_vertices(model, heads, _SCENE, _CONFIG), np.float64)
    tips = vertices[np.arange(4), vertices[..., 2].argmin(1)]
    x, y, z = tips[:, 0], tips[:, 1], tips[:, 2] - 1
    moved = np.cos(0.5) * x + np.sin(0.5) * z + 0.01, y, np.cos(0.5) * z - np.sin(0.5) * x + 1
    u, v = project(moved, intrinsics(64, _CONFIG.fov_degrees))
    for depth, column, row, true in zip(
        np.asarray(drawn.depth), np.round(u), np.round(v), moved[2], strict=True
    ):
        assert abs(depth[int(row), int(column)] - true) < 0.004
    assert np.all(np.abs(np.asarray(u) - 31.5) > 8)


def test_normals_are_those_of_the_depth(drawn):
    camera = intrinsics(64, _CONFIG.fov_degrees)
    inside = np.asarray(eroded(drawn.mask))
    cosine = np.sum(np.asarray(normals_from_depth(drawn.depth, camera) * drawn.normals), -1)
    # At eyelids, lips and silhouettes the depth map's differences span two surfaces.
    assert np.median(cosine[inside]) > 0.99
    np.testing.assert_allclose(
        np.linalg.norm(drawn.normals, axis=-1), np.asarray(drawn.mask), atol=1e-5
    )


def test_pictures_are_albedo_times_shading(model, heads, frontal):
    mask = np.asarray(frontal.mask)
    _, shading = lambertian_shading(frontal.normals, heads.light)
    lit = np.clip((np.asarray(frontal.albedo) + 1) * np.asarray(shading)[..., None] - 1, -1, 1)
    np.testing.assert_allclose(np.asarray(frontal.image)[mask], lit[mask], atol=2e-4)
    dark = draw_heads(model, heads._replace(light=jnp.zeros_like(heads.light)), _SCENE, _CONFIG)
    np.testing.assert_allclose(np.asarray(dark.image)[np.asarray(dark.mask)], -1)
    np.testing.assert_array_equal(dark.depth, draw_heads(model, heads, _SCENE, _CONFIG).depth)


def test_a_mean_head_is_nearly_its_own_mirror_image(model, heads):
    even = draw_heads(model, _symmetric(heads), _SCENE, _CONFIG)
    both = np.asarray(even.mask & even.mask[:, :, ::-1])
    depth, albedo = np.asarray(even.depth), np.asarray(even.albedo)
    assert np.median(np.abs(depth - depth[:, :, ::-1])[both]) < 5e-4
    assert np.median(np.abs(albedo - albedo[:, :, ::-1])[both]) < 0.03


def test_light_from_the_left_lights_the_left(model, heads):
    lit = {}
    for d in (-0.8, 0.8):
        light = jnp.tile(jnp.array([0.2, 0.7, d, 0.0]), (4, 1))
        image = np.asarray(draw_heads(model, _symmetric(heads)._replace(light=light)).image)
        lit[d] = image[:, 20:50, 32:50].mean() - image[:, 20:50, 14:32].mean()
    # A normal points away from the viewer, and so does the light's direction: d_x > 0 comes from
    # the left of the picture.
    assert lit[0.8] < -0.05 < 0.05 < lit[-0.8]


def test_more_samples_smooth_the_picture_and_leave_depth(model, heads, drawn):
    fine = draw_heads(model, heads, HeadScene(samples=3), _CONFIG)
    same = np.asarray(fine.mask == drawn.mask)
    assert same.mean() > 0.999
    np.testing.assert_allclose(
        np.asarray(fine.depth)[same], np.asarray(drawn.depth)[same], atol=1e-4
    )
    roughness = [float(jnp.abs(jnp.diff(d.image, axis=2)).mean()) for d in (fine, drawn)]
    assert roughness[0] < roughness[1]
    with pytest.raises(FacesemError, match="samples is 2"):
        HeadScene(samples=2)


def test_one_head_is_drawn_alike_alone(model, heads, drawn):
    alone = draw_heads(model, jax.tree.map(lambda x: x[1:2], heads), _SCENE, _CONFIG)
    np.testing.assert_allclose(alone.image[0], drawn.image[1], atol=1e-5)
