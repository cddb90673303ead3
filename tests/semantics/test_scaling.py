import jax.numpy as jnp
import numpy as np
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.semantics import scaling


def _jacobian(seed=0, h=14, w=12, d=5):
    jacobian = np.random.default_rng(seed).normal(size=(h, w, 4, d)).astype(np.float32)
    jacobian[..., 3, :] *= 1e-3  # depth moves far less than albedo
    return jnp.asarray(jacobian)


def test_blocks_get_one_rms_and_the_whole_has_energy_d():
    jacobian = _jacobian()
    scale = scaling.block_scale(jacobian)
    J = scaling.scale_jacobian(jacobian, scale)
    assert J.shape == (14 * 12 * 4, 5) and J.dtype == jnp.float32
    np.testing.assert_allclose(np.sum(np.asarray(J) ** 2), 5, rtol=1e-5)
    inside = np.asarray(J).reshape(jacobian.shape)[3:-3, 3:-3]
    rms = [np.sqrt(np.mean(block**2)) for block in (inside[..., :3, :], inside[..., 3, :])]
    np.testing.assert_allclose(rms[0], rms[1], rtol=1e-5)


def test_scale_is_zero_on_the_border_alone():
    scale = np.asarray(scaling.block_scale(_jacobian(), border=2))
    assert np.all(scale[2:-2, 2:-2] > 0)
    assert np.count_nonzero(scale) == 10 * 8 * 4
    assert np.all(np.asarray(scaling.block_scale(_jacobian(), border=0)) > 0)


def test_the_unit_of_the_jacobian_does_not_matter():
    jacobian = _jacobian()
    J = scaling.scale_jacobian(jacobian, scaling.block_scale(jacobian))
    tiny = jacobian * 1e-25
    np.testing.assert_allclose(
        scaling.scale_jacobian(tiny, scaling.block_scale(tiny)), J, rtol=1e-5, atol=1e-8
    )


def test_maps_scale_back_to_raw_units():
    jacobian = _jacobian()
    scale = scaling.block_scale(jacobian)
    J = scaling.scale_jacobian(jacobian, scale)
    direction = jnp.asarray([0.6, 0.8, 0, 0, 0])
    maps = scaling.maps_from_matrix((J @ direction)[:, None], scale)
    assert maps.shape == (1, 14, 12, 4)
    raw = np.asarray(scaling.unscale_maps(maps, scale))[0]
    expected = np.asarray(jacobian @ direction)
    np.testing.assert_allclose(raw[3:-3, 3:-3], expected[3:-3, 3:-3], rtol=1e-4, atol=1e-6)
    assert not np.any(raw[:3]) and np.all(np.isfinite(raw))


def test_a_border_that_is_not_finite_is_masked():
    jacobian = _jacobian().at[0, 0].set(jnp.nan)
    J = scaling.scale_jacobian(jacobian, scaling.block_scale(jacobian))
    assert np.all(np.isfinite(np.asarray(J)))


@pytest.mark.parametrize(
    ("jacobian", "border", "message"),
    [
        (_jacobian().at[..., 3, :].set(0), 3, "depth block of the Jacobian is zero"),
        (_jacobian().at[..., :3, :].set(0), 3, "albedo block of the Jacobian is zero"),
        (_jacobian().at[7, 7, 3].set(jnp.nan), 3, "depth block.*NaN"),
        (_jacobian().at[7, 7, 0].set(jnp.inf), 3, "albedo block.*NaN"),
        (_jacobian(), 6, "border is 6"),
        (_jacobian(), -1, "border is -1"),
        (_jacobian()[:, :, :3], 3, "shape"),
    ],
)
def test_bad_input_gets_one_clear_error(jacobian, border, message):
    with pytest.raises(FacesemError, match=message):
        scaling.block_scale(jacobian, border)
