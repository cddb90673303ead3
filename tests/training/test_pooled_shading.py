import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.pooled_surface import fitted_surface
from facesem_jax.decomposer import DecomposerConfig
from facesem_jax.decomposer.camera import intrinsics
from facesem_jax.decomposer.decomposer import depth_prior
from facesem_jax.decomposer.shading import normals_from_depth, shade
from facesem_jax.decomposer.warp import apply_warp, canonical_warp
from facesem_jax.errors import FacesemError
from facesem_jax.training.canonical_texture import blurred, canonical_grid, canonical_points
from facesem_jax.training.decomposer_loss import MIRROR_VIEW, mirror
from facesem_jax.training.pooled_shading import (
    PooledShading,
    pooled_shading,
    relative_slopes,
    shading_equations,
    shading_with_mirror_images,
)
from facesem_jax.training.pooled_surface import PooledSurfaceConfig, surface_functions

SIZE = 32
SIZES = DecomposerConfig.compact(image_size=SIZE)
CAMERA = intrinsics(SIZE, SIZES.fov_degrees)
AMBIENT, DIFFUSE = 0.5, 0.6
CONFIG = PooledSurfaceConfig(
    window=(18.0, 22.0),
    yaw=(-30, -10, 10, 30),
    columns=4,
    rows=7,
    least=10,
    shading=1.0,
    diffuse=DIFFUSE / AMBIENT,
)
COUNT = 300


def _surface():
    """Smooth, alike left and right, and not the prior."""
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    prior = np.asarray(1 + 0.1 * jnp.tanh(depth_prior(SIZES)))
    return (prior - 0.006 * np.exp(-((x / 7) ** 2) - ((y - 3) / 5) ** 2)).astype(np.float32)


SURFACE = _surface()


@pytest.fixture(scope="module")
def heads():
    """Nearly frontal heads whose paint differs but for its marks, and their light."""
    rng = np.random.default_rng(1)
    light = np.stack(
        [
            np.full(COUNT, AMBIENT),
            np.full(COUNT, DIFFUSE),
            rng.uniform(-0.8, 0.8, COUNT),
            rng.uniform(-0.6, 0.6, COUNT),
        ],
        axis=1,
    ).astype(np.float32)
    view = np.zeros((COUNT, 6), np.float32)
    view[:, 1] = np.radians(10) * rng.normal(size=COUNT)
    # Two by two of the same paint under opposite lights: independent without a great number.
    light[1::2, 2:] = -light[::2, 2:]
    paint = np.repeat(rng.uniform(-0.6, 0, (COUNT // 2, 1, 1, 3)), 2, axis=0)
    marks = 0.3 * np.cos(np.pi * 8 * (np.mgrid[:SIZE, :SIZE] + 0.5) / SIZE).prod(axis=0)
    paint = (paint + marks[..., None]).astype(np.float32)

    @jax.jit
    def render(paint, light, view):
        depth = jnp.broadcast_to(SURFACE, (len(view), SIZE, SIZE))
        canonical = shade(paint, depth, light, CAMERA)
        warp = canonical_warp(depth, view, SIZES)
        return apply_warp(canonical, warp, SIZES.align_corners, padding="border")

    return np.asarray(blurred(render(paint, light, view))), view, light


def points(depth=None):
    depth = SURFACE if depth is None else depth
    return canonical_points(jnp.asarray(depth), CAMERA, CONFIG.window)


def sums(heads, rows=slice(None)):
    return pooled_shading(*(x[rows] for x in heads), points(), SIZES, CAMERA)


def normals():
    grid = canonical_grid(SIZE, CONFIG.window)
    return np.asarray(grid.sample(normals_from_depth(jnp.asarray(SURFACE)[None], CAMERA))[0])


def test_slopes_by_the_light_are_the_normals(heads):
    pooled = shading_with_mirror_images(sums(heads), points())
    slopes, normal = relative_slopes(pooled), normals()
    expected = CONFIG.diffuse * normal[:, 0] / (1 + CONFIG.diffuse * normal[:, 2])
    # Where many heads show the point; l_z is not constant, as the formula has it, and blurring
    # mixes neighbours.
    seen = pooled.moments[:, 0, 0] > COUNT
    assert seen.mean() > 0.9
    assert np.corrcoef(slopes[seen], expected[seen])[0, 1] > 0.98
    assert np.sqrt(np.mean((slopes - expected)[seen] ** 2)) < 0.03


def test_paint_that_no_light_falls_on_has_no_slopes_and_unseen_points_have_none():
    q = np.stack([np.ones(50), np.random.default_rng(0).normal(size=50)], axis=1)
    moments = np.stack([q.T @ q, np.zeros((2, 2))])
    slopes = relative_slopes(PooledShading(moments, np.stack([0.4 * q.sum(axis=0), np.zeros(2)])))
    np.testing.assert_allclose(slopes, 0, atol=1e-5)
    # An exact linear function of the light is found.
    shown = np.stack([q.T @ (q @ [0.5, -0.2])] * 2)
    slopes = relative_slopes(PooledShading(np.stack([q.T @ q] * 2), shown))
    np.testing.assert_allclose(slopes, -0.4, atol=1e-4)


def test_sums_of_pieces_are_the_sum_of_all(heads):
    whole = sums(heads)
    for a, b, c in zip(
        whole, sums(heads, slice(0, 110)), sums(heads, slice(110, None)), strict=True
    ):
        np.testing.assert_allclose(a, b + c, rtol=1e-4, atol=1e-3)


def test_mirror_images_are_added_with_their_light(heads):
    images, view, light = (x[:20] for x in heads)
    pooled = pooled_shading(images, view, light, points(), SIZES, CAMERA)
    mirrored = pooled_shading(
        mirror(images),
        view * np.array(MIRROR_VIEW, np.float32),
        light * np.array([1, 1, -1, 1], np.float32),
        points(),
        SIZES,
        CAMERA,
    )
    both = shading_with_mirror_images(pooled, points())
    for total, a, b in zip(both, pooled, mirrored, strict=True):
        np.testing.assert_allclose(total, a + b, atol=1e-4)


def test_equations_are_derivatives_of_what_they_say():
    rng = np.random.default_rng(2)
    config = dataclasses.replace(CONFIG, bent=1e6, least=1, shading=3.0)
    functions, grid = surface_functions(SIZE, config), canonical_grid(SIZE, CONFIG.window)
    count = functions.at_points.shape[1]
    slopes = 0.4 * normals()[:, 0] + 0.02 * rng.normal(size=count)
    moments = np.broadcast_to(np.eye(2) * [1, 0.2], (count, 2, 2))
    shown = np.stack([np.ones(count), 0.2 * slopes], axis=1)
    equations = shading_equations(PooledShading(moments, shown), functions, SURFACE, CAMERA, config)
    across, fallen = normals()[:, 0], slopes * (1 + config.diffuse * normals()[:, 2])
    kappa = np.sum(fallen * across) / np.sum(across**2)

    @jax.jit
    def errors(c):
        depth = jnp.asarray(SURFACE) + jnp.tensordot(c, jnp.asarray(functions.maps), 1)
        n = grid.sample(normals_from_depth(depth[None].astype(jnp.float32), CAMERA))[0]
        return jnp.asarray(slopes) * (1 + config.diffuse * n[:, 2]) / kappa - n[:, 0]

    step, zero = 1e-4, np.zeros(len(functions.bending))
    ahead = [errors(step * e) - errors(-step * e) for e in np.eye(len(zero))]
    jacobian, error = np.stack(ahead) / (2 * step), np.asarray(errors(zero))
    scale = np.abs(equations.slope).max()
    np.testing.assert_allclose(equations.slope, 3 * jacobian @ error, atol=0.01 * scale)
    scale = np.abs(equations.curvature).max()
    np.testing.assert_allclose(equations.curvature, 3 * jacobian @ jacobian.T, atol=0.01 * scale)
    assert equations.left == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-2)


@pytest.mark.parametrize("reading", [0, -1])
def test_light_that_is_not_read_or_the_wrong_way_round_says_nothing(heads, reading):
    images, view, light = heads
    functions = surface_functions(SIZE, CONFIG)
    light = light * np.array([1, 1, reading, 1], np.float32)
    pooled = pooled_shading(images, view, light, points(), SIZES, CAMERA)
    equations = shading_equations(pooled, functions, SURFACE, CAMERA, CONFIG)
    assert not equations.slope.any() and not equations.curvature.any() and equations.left == 0


def test_light_shows_a_surface_better_than_parallax_alone(heads):
    start = SURFACE + 0.003 * np.cos(4 * np.pi * (np.arange(SIZE) + 0.5) / SIZE)
    images, view, light = heads
    rng = np.random.default_rng(4)
    light = light + np.array([0, 0, 0.2, 0.3]) * rng.normal(size=(COUNT, 4))
    light = light.astype(np.float32)
    config = dataclasses.replace(CONFIG, shading=1.0)
    without, _ = fitted_surface(
        images, view, light, start, SIZES, CAMERA, dataclasses.replace(config, shading=0.0)
    )
    found, _ = fitted_surface(images, view, light, start, SIZES, CAMERA, config)
    middle = slice(SIZE // 4, -SIZE // 4)

    def across(surface):
        surface = jnp.asarray(surface, jnp.float32)[None]
        return np.asarray(normals_from_depth(surface, CAMERA))[0, middle, middle, 0]

    before, bare, lit = (np.std(across(x) - across(SURFACE)) for x in (start, without, found))
    assert lit < 0.4 * bare and lit < 0.9 * before


def test_as_many_lights_as_heads(heads):
    with pytest.raises(FacesemError, match="light"):
        pooled_shading(heads[0][:4], heads[1][:4], heads[2][:3], points(), SIZES, CAMERA)
    with pytest.raises(FacesemError, match="shading needs the light"):
        fitted_surface(heads[0][:4], heads[1][:4], None, SURFACE, SIZES, CAMERA, CONFIG)
