import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from smooth_fields import smooth_fields

from facesem_jax.decomposer import DecomposerConfig
from facesem_jax.decomposer.camera import intrinsics
from facesem_jax.decomposer.decomposer import depth_prior
from facesem_jax.decomposer.warp import apply_warp, canonical_warp
from facesem_jax.errors import FacesemError
from facesem_jax.training.canonical_texture import (
    blurred,
    canonical_points,
    fit_texture,
    texture_in_view,
)
from facesem_jax.training.view_search import ViewSearchConfig, search_views, solve_definite

SIZE, COMPONENTS = 32, 3
CONFIG = DecomposerConfig.compact(image_size=SIZE)
CAMERA = intrinsics(SIZE, CONFIG.fov_degrees)
SEARCH = ViewSearchConfig(
    window=(22.0, 26.0), components=COMPONENTS, tempering=4.0, freedom=(50.0, 50.0, 50.0)
)


@pytest.fixture(scope="module")
def depth():
    return 1 + 0.1 * jnp.tanh(depth_prior(CONFIG))


@pytest.fixture(scope="module")
def draw(depth):
    """Faces of one family (dark eyes and mouth, changing shade) in given angles, degrees."""
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    spots = sum(
        np.exp(-(((x - a) / 2.5) ** 2 + ((y - b) / 1.8) ** 2))
        for a, b in ((-5, -4), (5, -4), (-2, 7), (2, 7))
    )
    shades = smooth_fields(np.random.default_rng(7), SIZE, COMPONENTS, 3)
    shades = (shades + shades[:, :, ::-1]) / 2

    @jax.jit
    def render(canonical, view):
        warp = canonical_warp(jnp.broadcast_to(depth, canonical.shape[:3]), view, CONFIG)
        return apply_warp(canonical, warp, CONFIG.align_corners, padding="border")

    def faces(seed, angles):
        rng = np.random.default_rng(seed)
        scores = 0.2 * rng.normal(size=(len(angles), COMPONENTS))
        canonical = 0.5 - spots[..., None] + np.einsum("nk,khwc->nhwc", scores, shades)
        view = np.zeros((len(angles), 6))
        view[:, :3] = np.radians(angles)
        view[:, 3:5] = rng.normal(size=(len(angles), 2)) * 0.002
        view = jnp.asarray(view, jnp.float32)
        return blurred(render(jnp.asarray(canonical, jnp.float32), view)), view

    return faces


@pytest.fixture(scope="module")
def model(depth, draw):
    points = canonical_points(depth, CAMERA, SEARCH.window)
    images, view = draw(0, np.random.default_rng(0).normal(size=(60, 3)) * 3)
    textures = texture_in_view(images, view, points, CONFIG, CAMERA)
    return fit_texture(np.asarray(textures), points, COMPONENTS)


@pytest.fixture(scope="module")
def searched(model, draw):
    """Faces turned up to 30 degrees, searched from starts that stay 10 degrees of yaw short."""
    angles = np.random.default_rng(2).normal(size=(8, 3)) * 3
    angles[:, 1] += [30, -30, 25, -25, 20, -20, 10, -10]
    images, view = draw(1, angles)
    start = view.at[:, 1].add(-jnp.sign(view[:, 1]) * np.radians(10.0)).at[:, 0].add(0.06)
    return images, view, start, search_views(model, images, start, CONFIG, CAMERA, SEARCH)


def test_a_definite_system_is_solved():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(12, 12))
    matrix, right = a @ a.T + 0.5 * np.eye(12), rng.normal(size=(12, 3))
    found = jax.jit(solve_definite)(*(jnp.asarray(x, jnp.float32) for x in (matrix, right)))
    np.testing.assert_allclose(found, np.linalg.solve(matrix, right), rtol=1e-3, atol=1e-3)


@pytest.mark.whole_run
def test_views_that_fall_short_are_found(searched):
    _, view, start, (found, _) = searched
    chex.assert_shape(found, (8, 6))
    before, after = (np.degrees(np.abs(np.asarray(x - view)))[:, :3] for x in (start, found))
    assert np.median(before[:, 1]) > 9 and np.median(before[:, 0]) > 3
    # Three degrees move the front of the face, 0.1 before the axis, by one of these pixels.
    assert after[:, 1].max() < 4 and np.median(after[:, 0]) < 1.5


@pytest.mark.whole_run
def test_the_energy_never_rises_and_the_found_view_is_a_minimum(searched, model):
    images, _, start, (found, reached) = searched
    once = dataclasses.replace(SEARCH, steps=1)
    _, after_one = search_views(model, images, start, CONFIG, CAMERA, once)
    assert (np.asarray(reached) <= np.asarray(after_one)).all()
    # A second search from there finds next to nothing more.
    _, again = search_views(model, images, found, CONFIG, CAMERA, SEARCH)
    assert (np.asarray(reached) < 0.7 * np.asarray(after_one)).any()
    assert (np.asarray(again) > 0.8 * np.asarray(reached)).all()


@pytest.mark.whole_run
def test_a_mirrored_face_has_the_mirrored_view(searched, model):
    images, _, start, (found, reached) = searched
    signs = jnp.array([1, -1, -1, -1, 1, 1.0])
    mirrored, energy = search_views(
        model, images[:, :, ::-1], start * signs, CONFIG, CAMERA, SEARCH
    )
    np.testing.assert_allclose(mirrored[:, :3] * signs[:3], found[:, :3], atol=0.01)
    np.testing.assert_allclose(energy, reached, rtol=0.05)


@pytest.mark.whole_run
def test_held_angles_stay_where_they_are(searched, model):
    images, _, start, _ = searched
    held = dataclasses.replace(SEARCH, freedom=(1e-3, 1e-3, 1e-3))
    found, _ = search_views(model, images, start, CONFIG, CAMERA, held)
    np.testing.assert_allclose(found[:, :3], start[:, :3], atol=1e-4)
    assert np.abs(found[:, 3:] - start[:, 3:]).max() > 1e-4


@pytest.mark.parametrize("name", ["components", "steps", "near", "tempering", "outlier", "relief"])
def test_numbers_that_cannot_be_are_refused(name):
    with pytest.raises(FacesemError, match="every number must be above 0"):
        ViewSearchConfig(**{name: 0})
