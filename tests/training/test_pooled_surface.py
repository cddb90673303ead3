import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from smooth_fields import smooth_fields

from experiments.pooled_surface import fitted_surface
from facesem_jax.decomposer import DecomposerConfig
from facesem_jax.decomposer.camera import intrinsics
from facesem_jax.decomposer.decomposer import depth_prior
from facesem_jax.decomposer.warp import apply_warp, canonical_warp
from facesem_jax.errors import FacesemError
from facesem_jax.training.canonical_texture import blurred, canonical_points
from facesem_jax.training.pooled_surface import (
    PooledSurfaceConfig,
    PooledTextures,
    parallax_equations,
    pooled_textures,
    surface_functions,
    surface_step,
    view_bins,
    with_mirror_images,
)

SIZE = 32
SIZES = DecomposerConfig.compact(image_size=SIZE)
CAMERA = intrinsics(SIZE, SIZES.fov_degrees)
CONFIG = PooledSurfaceConfig(
    window=(20.0, 24.0), yaw=(-30, -18, -6, 6, 18, 30), columns=3, rows=5, least=10
)


@pytest.fixture(scope="module")
def truth():
    """A surface that is nearest above the middle, not as the prior."""
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    bump = 0.02 * np.exp(-((x / 6) ** 2) - ((y + 5) / 6) ** 2)
    return np.asarray(1 + 0.1 * jnp.tanh(depth_prior(SIZES))) - bump


@pytest.fixture(scope="module")
def heads(truth):
    """Pictures of textures that differ, and their views with errors of 2 degrees."""
    rng = np.random.default_rng(3)
    count = 400
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    shared = 0.5 * np.cos(6 * np.pi * (x - 0.5)) * np.cos(7 * np.pi * y)
    textures = shared[None, ..., None] + 0.7 * smooth_fields(rng, SIZE, count, 3)
    view = np.zeros((count, 6))
    view[:, 0] = np.radians(5) * rng.normal(size=count)
    view[:, 1] = np.radians(14) * rng.normal(size=count)
    view = view.astype(np.float32)

    @jax.jit
    def render(canonical, view):
        depth = jnp.broadcast_to(jnp.asarray(truth, jnp.float32), canonical.shape[:3])
        warp = canonical_warp(depth, view, SIZES)
        return apply_warp(canonical, warp, SIZES.align_corners, padding="border")

    images = np.asarray(blurred(render(jnp.asarray(textures, jnp.float32), view)))
    noisy = view.copy()
    noisy[:, :2] += np.radians(2) * rng.normal(size=(count, 2))
    return images, noisy


def off(surface, truth):
    """Spread of the difference over the middle of the map: a constant is not seen."""
    middle = slice(SIZE // 4, -SIZE // 4)
    return np.std((surface - truth)[middle, middle])


def test_the_surface_is_found_from_views_that_err(heads, truth):
    start = np.asarray(1 + 0.1 * jnp.tanh(depth_prior(SIZES)))
    found, left = fitted_surface(*heads, None, start, SIZES, CAMERA, CONFIG)
    assert off(found, truth) < 0.35 * off(start, truth)
    assert left[-1] < 0.97 * left[0]
    assert found.shape == (SIZE, SIZE) and found.dtype == np.float32
    np.testing.assert_array_equal(found, found[:, ::-1])
    assert SIZES.min_depth < found.min() and found.max() < SIZES.max_depth


def test_single_heads_would_not_do(heads, truth):
    # 12 of the 400: what is asked is that many together say what few do not.
    start = np.asarray(1 + 0.1 * jnp.tanh(depth_prior(SIZES)))
    images, view = (x[:12] for x in heads)
    few, _ = fitted_surface(images, view, None, start, SIZES, CAMERA, CONFIG)
    many, _ = fitted_surface(*heads, None, start, SIZES, CAMERA, CONFIG)
    assert off(many, truth) < 0.7 * off(few, truth)


def test_sums_of_pieces_are_the_sum_of_all_and_slopes_are_derivatives(heads, truth):
    images, view = (x[:30] for x in heads)
    points = canonical_points(jnp.asarray(truth, jnp.float32), CAMERA, CONFIG.window)
    bins, count = view_bins(view, CONFIG), 16

    def sums(rows, points=points):
        return pooled_textures(images[rows], view[rows], bins[rows], points, SIZES, CAMERA, count)

    whole = sums(slice(None))
    for a, b, c in zip(whole, sums(slice(0, 13)), sums(slice(13, None)), strict=True):
        np.testing.assert_allclose(a, b + c, atol=2e-5)
    assert float(whole.seen.max()) <= np.bincount(bins, minlength=count).max()
    # A point that moves along its own ray: central differences, away from where pixels meet.
    step = 2e-4
    moved = [
        sums(slice(None), points._replace(position=points.position * (1 + s * step))).texture
        for s in (1, -1)
    ]
    depth = np.asarray(points.position[:, 2])[:, None]
    numeric = (np.asarray(moved[0]) - np.asarray(moved[1])) / (2 * step * depth)
    slope = np.asarray(whole.slope)
    near = np.abs(numeric - slope) < 0.05 * np.abs(slope).max()
    assert near.mean() > 0.97
    assert np.corrcoef(numeric[near], slope[near])[0, 1] > 0.999


def test_mirror_images_make_the_sums_symmetric(heads, truth):
    images, view = (x[:40] for x in heads)
    points = canonical_points(jnp.asarray(truth, jnp.float32), CAMERA, CONFIG.window)
    bins, count = view_bins(view, CONFIG), 15
    inside = bins < count
    pooled = pooled_textures(
        images[inside], view[inside], bins[inside], points, SIZES, CAMERA, count
    )
    both = with_mirror_images(pooled, points, CONFIG)
    for x in both:
        x = np.asarray(x).reshape(5, 3, *x.shape[1:])
        np.testing.assert_allclose(x, x[::-1][:, :, points.mirrored], atol=1e-5)
    assert float(both.seen.sum()) == pytest.approx(2 * float(pooled.seen.sum()), rel=1e-5)


def test_a_step_ends_at_the_minimum_of_the_linearised_objective():
    rng = np.random.default_rng(0)
    config = dataclasses.replace(CONFIG, outlier=1e6, least=1)
    functions = surface_functions(SIZE, config)
    k, m = functions.at_points.shape
    shape = (15, m, 3)
    pooled = PooledTextures(rng.normal(size=shape), rng.normal(size=shape), np.ones(shape[:2]))
    begun = 1e-3 * rng.normal(size=k)
    parallax = parallax_equations(pooled, functions, config)
    found = surface_step(parallax, None, functions, begun, config)

    def objective(c):
        moved = pooled.texture + pooled.slope * ((c - begun) @ functions.at_points)[None, :, None]
        return np.sum((moved - moved.mean(axis=0)) ** 2)

    centred = pooled.slope - pooled.slope.mean(axis=0)
    columns = np.einsum("bmc,km->bmck", centred, functions.at_points).reshape(-1, k)
    stiff = config.stiffness * np.sum(columns**2) / k * functions.bending

    def gradient(c, step=1e-4):
        ahead = [objective(c + step * e) - objective(c - step * e) for e in np.eye(k)]
        return np.array(ahead) / (2 * step) + 2 * stiff * c

    assert np.abs(gradient(found)).max() < 1e-6 * np.abs(gradient(begun)).max()
    centred = pooled.texture - pooled.texture.mean(axis=0)
    assert parallax.left == pytest.approx(np.sqrt(np.mean(centred**2)))


def test_functions_are_smooth_symmetric_and_start_with_a_constant():
    functions = surface_functions(SIZE, CONFIG)
    assert functions.maps.shape == (15, SIZE, SIZE)
    np.testing.assert_allclose(functions.maps, functions.maps[:, :, ::-1], atol=1e-12)
    np.testing.assert_allclose(functions.maps[0], 1)
    assert functions.bending[0] == functions.bending.min() > 0
    # The fourth power of the waves: cosines of 1 wave across, and of 2 down (4 half waves).
    assert functions.bending[5] == pytest.approx(1, abs=2e-3)
    assert functions.bending[4] == pytest.approx(16, abs=2e-3)


def test_views_are_sorted_into_bins():
    view = np.zeros((6, 6))
    view[:, 1] = np.radians([-29, 0, 29, 31, 0, 0])
    view[:, 0] = np.radians([-14, 0, 14, 0, 16, -16])
    assert view_bins(view, CONFIG).tolist() == [0, 7, 14, 15, 15, 15]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"yaw": (-10, 0, 20)}, "mirror image need edges alike"),
        ({"yaw": (0,)}, "at least two rising edges"),
        ({"pitch": (5, -5)}, "at least two rising edges"),
        ({"stiffness": 0.0}, "every number but shading and diffuse must be above 0"),
        ({"shading": -1.0}, "must be 0 or above"),
        ({"rounds": 0}, "every number but shading and diffuse must be above 0"),
    ],
)
def test_numbers_that_cannot_be(change, match):
    with pytest.raises(FacesemError, match=match):
        dataclasses.replace(CONFIG, **change)


def test_heads_that_do_not_turn_are_refused(heads, truth):
    images, view = heads
    with pytest.raises(FacesemError, match="seen from two sides"):
        fitted_surface(images[:20], 0 * view[:20], None, truth, SIZES, CAMERA, CONFIG)
