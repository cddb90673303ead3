import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from smooth_fields import smooth_fields

from facesem_jax.decomposer import DecomposerConfig
from facesem_jax.decomposer.camera import intrinsics
from facesem_jax.decomposer.decomposer import depth_prior
from facesem_jax.errors import FacesemError
from facesem_jax.training.canonical_texture import (
    blurred,
    canonical_points,
    fit_texture,
    in_sight,
    texture_in_view,
)

SIZE = 32
CONFIG = DecomposerConfig.compact(image_size=SIZE)
CAMERA = intrinsics(SIZE, CONFIG.fov_degrees)


@pytest.fixture(scope="module")
def points():
    depth = 1 + 0.1 * jnp.tanh(depth_prior(CONFIG))
    return canonical_points(depth, CAMERA, (24.0, 30.0))


@pytest.fixture(scope="module")
def photographs():
    return jnp.asarray(smooth_fields(np.random.default_rng(0), SIZE, 3, 3), jnp.float32)


def _view(n=1, **entries):
    view = np.zeros((n, 6), np.float32)
    for name, value in entries.items():
        view[:, "pitch yaw roll t_x t_y t_z".split().index(name)] = value
    return jnp.asarray(view)


def test_points_fill_the_ellipse_and_have_a_mirror_image(points):
    m = len(points.position)
    # Every second pixel of an ellipse of half axes 12 and 15 pixels.
    assert m == pytest.approx(np.pi * 12 * 15 / 4, rel=0.05)
    assert sorted(points.mirrored) == list(range(m))
    for field, signs in ((points.position, (-1, 1, 1)), (points.normal, (-1, 1, 1))):
        np.testing.assert_allclose(
            np.asarray(field)[points.mirrored] * signs, field, rtol=1e-4, atol=2e-5
        )
    np.testing.assert_allclose(np.linalg.norm(points.normal, axis=1), 1, atol=0.02)


def test_an_unmoved_face_shows_the_pixels_where_they_are(points, photographs):
    shown = texture_in_view(photographs, _view(3), points, CONFIG, CAMERA)
    chex.assert_shape(shown, (3, len(points.position), 3))
    x, y, z = np.asarray(points.position, np.float64).T
    u, v = CAMERA.fx * x / z + CAMERA.cx, CAMERA.fy * y / z + CAMERA.cy
    left, top = np.floor(u + 1e-3).astype(int), np.floor(v + 1e-3).astype(int)
    np.testing.assert_allclose(u - left, 0.5, atol=2e-3)
    corners = [np.asarray(photographs)[:, top + i, left + j] for i in (0, 1) for j in (0, 1)]
    np.testing.assert_allclose(shown, np.mean(corners, axis=0), atol=5e-3)


def test_a_mirrored_picture_in_the_mirrored_view_has_the_mirrored_texture(points, photographs):
    view = _view(3, pitch=0.1, yaw=0.3, roll=-0.1, t_x=0.005, t_y=-0.004, t_z=0.02)
    shown = texture_in_view(photographs, view, points, CONFIG, CAMERA)
    mirrored = view * jnp.array([1, -1, -1, -1, 1, 1.0])
    again = texture_in_view(photographs[:, :, ::-1], mirrored, points, CONFIG, CAMERA)
    np.testing.assert_allclose(again[:, points.mirrored], shown, atol=2e-3)


def test_what_turns_away_is_out_of_sight(points):
    straight, turned = (np.asarray(in_sight(_view(yaw=y), points))[0] for y in (0.0, 1.0))
    assert straight.mean() > 0.9
    # Positive yaw turns the nose to the left of the image: what is seen lies on the right.
    right = np.asarray(points.position)[:, 0] > 0
    assert turned[right].mean() > 0.8 and turned[~right].mean() < 0.5
    assert ((turned >= 0) & (turned <= 1)).all()


def test_the_blur_keeps_sums_and_spreads_one_pixel():
    image = jnp.zeros((1, 6, 6, 1)).at[0, 2, 3, 0].set(16.0)
    out = np.asarray(blurred(image))[0, ..., 0]
    np.testing.assert_array_equal(out[1:4, 2:5], np.outer([1, 2, 1], [1, 2, 1]))
    assert out.sum() == 16
    np.testing.assert_allclose(blurred(jnp.ones((1, 4, 5, 2))), 1)


def test_the_model_is_symmetric_and_has_the_samples_covariance(points):
    rng, m = np.random.default_rng(1), len(points.position)
    loads = rng.normal(size=(3, m * 2))
    rows = 0.5 + rng.normal(size=(400, 3)) @ loads + 0.1 * rng.normal(size=(400, m * 2))
    model = fit_texture(rows.reshape(400, m, 2), points, 6)
    mean = np.asarray(model.mean).reshape(m, 2)
    np.testing.assert_allclose(mean[points.mirrored], mean, atol=1e-5)
    both = np.concatenate([rows, rows.reshape(400, m, 2)[:, points.mirrored].reshape(400, -1)])
    wanted = np.cov(both.T, bias=True)
    basis = np.asarray(model.basis, np.float64)
    found = basis @ basis.T + float(model.noise) * np.eye(m * 2)
    # The three loads and their mirror images are all that is not noise.
    assert np.linalg.norm(found - wanted) < 0.02 * np.linalg.norm(wanted)
    assert float(model.noise) == pytest.approx(0.01, rel=0.1)
    assert np.trace(found) == pytest.approx(np.trace(wanted), rel=1e-3)


def test_bad_textures_are_refused(points):
    m = len(points.position)
    with pytest.raises(FacesemError, match="textures has shape"):
        fit_texture(np.zeros((4, m + 1, 3)), points, 2)
    with pytest.raises(FacesemError, match="not finite"):
        fit_texture(np.full((4, m, 3), np.nan), points, 2)
    with pytest.raises(FacesemError, match="vary in fewer than 8 directions"):
        fit_texture(np.zeros((4, m, 3)), points, 8)
    with pytest.raises(FacesemError, match="9 principal components of 8 examples"):
        fit_texture(np.zeros((4, m, 3)), points, 9)
    with pytest.raises(FacesemError, match="leave no noise"):
        fit_texture(np.zeros((4, m, 3)), points, 3 * m)


@pytest.mark.whole_run
def test_the_texture_follows_the_view_smoothly(points, photographs):
    """Forward mode against central differences: the search stands on it."""
    view = _view(yaw=0.13, pitch=-0.07, t_x=0.001)

    def shown(view):
        return texture_in_view(photographs[:1], view, points, CONFIG, CAMERA)

    direction = _view(yaw=1.0)
    _, found = jax.jvp(shown, (view,), (direction,))
    step = 1e-3
    wanted = (shown(view + step * direction) - shown(view - step * direction)) / (2 * step)
    # A bilinear picture has kinks; few points cross one within the step.
    error = np.abs(np.asarray(found - wanted))
    assert np.median(error) < 0.02 * np.abs(wanted).mean()
