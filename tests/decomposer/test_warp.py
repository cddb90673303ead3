import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facesem_jax.decomposer import DecomposerConfig, camera
from facesem_jax.decomposer.decomposer import depth_prior
from facesem_jax.decomposer.shading import shade
from facesem_jax.decomposer.warp import (
    apply_warp,
    canonical_warp,
    warp_by_rasterizer,
    warp_fixed_point,
)
from facesem_jax.errors import FacesemError

CONFIG = DecomposerConfig.compact()
SMALL = DecomposerConfig.compact(image_size=32)
VIEW = ((0.1, 0.3, 0.05, 0.01, -0.01, 0.0), (-0.2, -0.4, 0.1, 0.0, 0.02, 0.0))

pytestmark = pytest.mark.usefixtures("quick_compilation")


def bump(config, dtype=jnp.float32):
    depth = 1 + 0.1 * jnp.tanh(depth_prior(config, dtype))
    return jnp.stack([depth, 1 + 0.8 * (depth - 1)])


@pytest.mark.parametrize("method", ["fixed_point", "rasterizer"])
def test_no_motion_is_the_identity(method):
    depth = bump(SMALL)
    warp = jax.jit(lambda d, v: canonical_warp(d, v, SMALL, method))(depth, jnp.zeros((2, 6)))
    # Rounding may put the mesh's rim just inside the outer pixels' centres: these go undrawn.
    rim = 1 if method == "rasterizer" else 0
    inner = slice(rim, 32 - rim)
    columns, rows = np.meshgrid(np.arange(32.0), np.arange(32.0))
    for found, expected in ((warp.u, columns), (warp.v, rows), (warp.depth, depth)):
        expected = np.broadcast_to(expected, (2, 32, 32))
        np.testing.assert_allclose(found[:, inner, inner], expected[:, inner, inner], atol=1e-4)
    assert warp.mask[:, inner, inner].all()


def test_the_point_found_lies_on_the_ray_and_on_the_surface():
    """Forward check: the canonical pixel's point, moved into the view, falls on the target."""
    with jax.enable_x64(True):
        # A paraboloid is known between pixels too, up to the bilinear interpolation.
        view = jnp.asarray(VIEW, jnp.float64)
        lens = camera.intrinsics(64, 10.0)
        u, v = camera.pixel_coordinates(64, 64, jnp.float64)

        def surface(u, v):
            return 0.95 + 0.1 * (((u - 31.5) / 50) ** 2 + ((v - 31.5) / 50) ** 2)

        depth = jnp.broadcast_to(surface(u, v), (2, 64, 64))
        warp = jax.jit(lambda d, v: warp_fixed_point(d, v, CONFIG))(depth, view)
        points = camera.unproject(warp.u, warp.v, surface(warp.u, warp.v), lens)
        moved = camera.to_view(points, view, 1.0)
        found_u, found_v = camera.project(moved, lens)
        error = jnp.hypot(found_u - u, found_v - v)
        # Bilinear interpolation is off by 2e-5 of depth at most, which at these angles and this
        # focal length is a hundredth of a pixel.
        assert 0.5 < float(warp.mask.mean()) < 0.95
        assert float(jnp.where(warp.mask, error, 0).max()) < 1e-2
        assert float(jnp.where(warp.mask, abs(moved[2] - warp.depth), 0).max()) < 5e-5


def test_both_searches_agree_on_a_smooth_face():
    depth, view = bump(CONFIG), jnp.asarray(VIEW)
    solved = jax.jit(lambda d, v: warp_fixed_point(d, v, CONFIG))(depth, view)
    drawn = jax.jit(lambda d, v: warp_by_rasterizer(d, v, CONFIG))(depth, view)
    both = np.asarray(solved.mask & drawn.mask)
    assert both.mean() > 0.7
    # Triangles and bilinear patches differ by the curvature within a cell.
    for name in ("u", "v"):
        error = np.abs(np.asarray(getattr(solved, name) - getattr(drawn, name)))[both]
        assert error.max() < 0.05
        assert np.median(error) < 1e-3
    assert np.abs(np.asarray(solved.depth - drawn.depth))[both].max() < 5e-4
    assert np.mean(np.asarray(solved.mask) != np.asarray(drawn.mask)) < 0.01


def test_rough_depth_still_ends_inside_the_range():
    """The bracket holds where Newton's method would run away."""
    noise = 0.02 * jax.random.normal(jax.random.key(0), (2, 64, 64))
    depth = jnp.clip(bump(CONFIG) + noise, CONFIG.min_depth, CONFIG.max_depth)
    view, lens = jnp.asarray(VIEW), camera.intrinsics(64, 10.0)
    low, high = CONFIG.min_depth, CONFIG.max_depth
    slack = 0.06 * (high - low)

    @jax.jit
    def canonical_depth(depth):
        warp = warp_fixed_point(depth, view, CONFIG)
        u, v = camera.pixel_coordinates(64, 64, jnp.float32)
        return camera.to_canonical(camera.unproject(u, v, warp.depth, lens), view, 1.0)[2]

    found = canonical_depth(depth)
    assert float(found.min()) > low - slack
    assert float(found.max()) < high + slack
    grads = jax.jit(jax.grad(lambda d: jnp.sum(canonical_depth(d))))(depth)
    assert bool(jnp.isfinite(grads).all())
    assert float(jnp.abs(grads).max()) > 0


def test_half_pixel_convention_shifts_the_drawn_view():
    depth, still = bump(CONFIG), jnp.zeros((2, 6))
    shifted = dataclasses.replace(CONFIG, pixel_center=0.5)
    warp = jax.jit(lambda d, v: warp_by_rasterizer(d, v, shifted))(depth, still)
    # Depth seen half a pixel to the right and below, unprojected at the pixel itself.
    expected = (depth[:, :-1, :-1] + depth[:, 1:, :-1] + depth[:, :-1, 1:] + depth[:, 1:, 1:]) / 4
    np.testing.assert_allclose(warp.depth[:, :-1, :-1], expected, atol=2e-4)
    assert float(jnp.abs(warp.depth - depth)[:, 20:40, 10:20].max()) > 1e-3


def test_masks_follow_the_frame():
    view = jnp.zeros((1, 6)).at[0, 3].set(0.02)
    lens = camera.intrinsics(32, 10.0)
    warp = jax.jit(lambda d, v: warp_fixed_point(d, v, SMALL))(jnp.ones((1, 32, 32)), view)
    shift = lens.fx * 0.02
    np.testing.assert_allclose(warp.u[0, 0], np.arange(32) - shift, atol=1e-3)
    assert warp.mask[0, 5].tolist() == (np.arange(32) >= shift).tolist()
    image = apply_warp(jnp.ones((1, 32, 32, 3)), warp, True)
    np.testing.assert_allclose(image[0, 5, :2], 0, atol=1e-6)
    np.testing.assert_allclose(image[0, 5, 6:], 1, atol=1e-5)


@pytest.mark.parametrize("method", ["fixed_point", "rasterizer"])
def test_gradients_of_the_rendered_image(method):
    """Against float64 central differences, in depth, view and light."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        lens = camera.intrinsics(32, 10.0)
        u, v = camera.pixel_coordinates(32, 32, jnp.float64)
        waves = jnp.sin(u / 4 + jnp.arange(3)[:, None, None]) * jnp.cos(v / 5)
        albedo = jnp.moveaxis(waves, 0, -1)[None]
        inputs = (
            bump(SMALL, jnp.float64)[:1],
            jnp.asarray(VIEW[:1], jnp.float64),
            jnp.array([[0.3, 0.5, 0.2, -0.4]]),
        )
        # Zero padding makes the frame's edge a kink with a slope of a whole image per pixel.
        weights = jnp.asarray(rng.normal(size=(1, 32, 32, 3))).at[:, :, 26:].set(0)
        weights = weights.at[:, :, :6].set(0).at[:, :6].set(0).at[:, 26:].set(0)

        @jax.jit
        def loss(inputs):
            depth, view, light = inputs
            image = shade(albedo, depth, light, lens)
            warp = canonical_warp(depth, view, SMALL, method)
            return jnp.sum(weights * apply_warp(image, warp, SMALL.align_corners))

        grads = jax.jit(jax.grad(loss))(inputs)
        smooth = 1e-2 * jnp.sin(u / 3) * jnp.sin(v / 6 + 1)
        moves = (smooth[None], jnp.asarray(rng.normal(size=(1, 6))), jnp.ones((1, 4)))
        for i, (grad, move) in enumerate(zip(grads, moves, strict=True)):
            step = 1e-6

            def at(t, i=i, move=move):
                return loss(tuple(x + t * move if j == i else x for j, x in enumerate(inputs)))

            slope = (at(step) - at(-step)) / (2 * step)
            np.testing.assert_allclose(jnp.sum(grad * move), slope, rtol=1e-5)


def test_forward_mode_and_vmap():
    depth, view = bump(SMALL), jnp.asarray(VIEW)

    @jax.jit
    def f(depth, view):
        return warp_fixed_point(depth, view, SMALL).u

    @jax.jit
    def both(view, tangent, weights):
        _, forward = jax.jvp(lambda v: f(depth, v), (view,), (tangent,))
        _, pull = jax.vjp(lambda v: f(depth, v), view)
        return jnp.vdot(weights, forward), jnp.vdot(pull(weights)[0], tangent)

    weights = jnp.cos(jnp.arange(2 * 32 * 32, dtype=jnp.float32)).reshape(2, 32, 32)
    forward, reverse = both(view, jnp.ones_like(view), weights)
    np.testing.assert_allclose(forward, reverse, rtol=1e-3)
    mapped = jax.jit(jax.vmap(lambda d, v: f(d[None], v[None])[0]))(depth, view)
    chex.assert_trees_all_close(mapped, f(depth, view), atol=1e-4)


def test_refuses_bad_arguments():
    depth = bump(SMALL)
    with pytest.raises(FacesemError, match="method"):
        canonical_warp(depth, jnp.zeros((2, 6)), SMALL, "ray_march")
    with pytest.raises(FacesemError, match="view has shape"):
        canonical_warp(depth, jnp.zeros((2, 5)), SMALL)
    with pytest.raises(FacesemError, match="depth has shape"):
        canonical_warp(depth, jnp.zeros((2, 6)), CONFIG)
