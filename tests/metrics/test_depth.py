import jax.numpy as jnp
import numpy as np
import pytest

from facesem_jax.decomposer.camera import intrinsics
from facesem_jax.errors import FacesemError
from facesem_jax.metrics.depth import eroded, mean_angle_deviation, scale_invariant_depth_error

_SIZE = 32
_CAMERA = intrinsics(_SIZE, 10.0)


def _plane(slope_x: float, slope_y: float = 0.0) -> np.ndarray:
    """Depth of the plane z = 1 + slope_x x + slope_y y as the camera sees it."""
    ray = (np.arange(_SIZE) - _CAMERA.cx) / _CAMERA.fx
    return (1 / (1 - slope_x * ray[None, :] - slope_y * ray[:, None])).astype(np.float32)[None]


def _inner() -> np.ndarray:
    mask = np.zeros((1, _SIZE, _SIZE), bool)
    mask[:, 4:-4, 6:-3] = True
    return mask


def test_erosion_takes_one_pixel_and_the_images_border():
    whole = np.asarray(eroded(np.ones((1, 6, 7), bool)))[0]
    assert whole.sum() == 4 * 5 and whole[1:-1, 1:-1].all()
    assert np.asarray(eroded(_inner()))[0].sum() == (24 - 2) * (23 - 2)
    holed = np.ones((1, 7, 7), bool)
    holed[0, 3, 3] = False
    assert not np.asarray(eroded(holed))[0, 2:5, 2:5].any()


def test_side_is_the_deviation_of_the_logarithms():
    rng = np.random.default_rng(0)
    depth, truth = rng.uniform(0.9, 1.1, (2, 3, _SIZE, _SIZE))
    mask = rng.uniform(size=(3, _SIZE, _SIZE)) < 0.4
    found = scale_invariant_depth_error(depth.astype(np.float32), truth.astype(np.float32), mask)
    for one, d, t, m in zip(np.asarray(found), depth, truth, mask, strict=True):
        difference = (np.log(d) - np.log(t))[m]
        paper = np.sqrt(np.mean(difference**2) - np.mean(difference) ** 2)
        np.testing.assert_allclose(one, paper, rtol=1e-5)


def test_side_of_two_halves_a_factor_apart():
    truth = np.ones((1, _SIZE, _SIZE), np.float32)
    depth = truth.copy()
    depth[..., : _SIZE // 2] *= np.exp(0.02)
    # Logarithms of 0 and 0.02 in equal numbers deviate by half their distance.
    found = scale_invariant_depth_error(depth, truth, np.ones_like(truth, bool))
    np.testing.assert_allclose(found, 0.01, rtol=1e-4)


def test_side_ignores_scale_and_what_lies_outside():
    rng = np.random.default_rng(1)
    depth, truth = rng.uniform(0.9, 1.1, (2, 1, _SIZE, _SIZE)).astype(np.float32)
    mask = _inner()
    plain = scale_invariant_depth_error(depth, truth, mask)
    elsewhere = np.where(mask, 3 * depth, 0)
    np.testing.assert_allclose(
        scale_invariant_depth_error(elsewhere, truth, mask), plain, rtol=2e-4
    )
    np.testing.assert_allclose(scale_invariant_depth_error(truth, truth, mask), 0, atol=1e-7)


def test_mad_of_planes_is_their_angle():
    slope = np.tan(np.radians(30)).astype(np.float32)
    found = mean_angle_deviation(_plane(slope), _plane(0.0), _inner(), _CAMERA)
    np.testing.assert_allclose(found, 30, atol=0.05)
    across = mean_angle_deviation(_plane(slope), _plane(0.0, -slope), _inner(), _CAMERA)
    # Unit normals (tan 30, 0, 1) and (0, tan 30, 1): cosine 1 / (1 + tan^2 30) = 3/4.
    np.testing.assert_allclose(across, np.degrees(np.arccos(0.75)), atol=0.1)


def test_mad_resolves_small_angles():
    small = np.tan(np.radians(0.5)).astype(np.float32)
    found = mean_angle_deviation(_plane(small), _plane(0.0), _inner(), _CAMERA)
    np.testing.assert_allclose(found, 0.5, atol=0.02)


@pytest.mark.parametrize("measure", ["side", "mad"])
def test_bad_input_is_refused(measure):
    depth, mask = np.ones((1, 8, 8), np.float32), np.ones((1, 8, 8), bool)
    call = scale_invariant_depth_error
    if measure == "mad":

        def call(d, t, m):
            return mean_angle_deviation(d, t, m, intrinsics(8, 10.0))

    with pytest.raises(FacesemError, match="truth has shape"):
        call(depth, depth[:, :7], mask)
    with pytest.raises(FacesemError, match="mask has shape"):
        call(depth, depth, mask[0])
    with pytest.raises(FacesemError, match="floating point"):
        call(jnp.ones((1, 8, 8), jnp.int32), depth, mask)


def test_what_lies_outside_the_mask_has_no_say():
    mask = eroded(jnp.asarray(_inner()))
    truth = jnp.where(_inner(), _plane(0.2), jnp.nan)
    tilted = jnp.where(_inner(), _plane(0.7), jnp.inf)
    for measure in (
        scale_invariant_depth_error(tilted, truth, mask),
        mean_angle_deviation(tilted, truth, mask, _CAMERA),
    ):
        assert np.isfinite(measure).all() and (np.asarray(measure) > 0).all()


def test_the_frame_has_no_normals():
    flat, tilted = _plane(0.0), _plane(0.5)
    everywhere = np.ones((1, _SIZE, _SIZE), bool)
    whole = mean_angle_deviation(tilted, flat, everywhere, _CAMERA)
    inner = mean_angle_deviation(tilted, flat, eroded(jnp.asarray(everywhere)), _CAMERA)
    np.testing.assert_allclose(whole, inner, rtol=1e-6)
