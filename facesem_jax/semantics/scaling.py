"""Scaling of the mean Jacobian to the units in which it is factorised, and back."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facesem_jax.checks import check_floating, check_shape
from facesem_jax.errors import FacesemError

ALBEDO_CHANNELS = 3
"""The last axis of a map is albedo RGB, then depth."""


def block_scale(jacobian: Float[Array, "h w 4 d"], border: int = 3) -> Float[Array, "h w 4"]:
    r"""The factors that bring albedo and depth to one root-mean-square and J to a fixed size.

    Inside the border every albedo entry is multiplied by ``r / rms(albedo block)`` and every depth
    entry by ``r / rms(depth block)``, with r such that the scaled Jacobian has
    :math:`\|J\|_F^2 = d`, the latent's size; the border gets 0. Then alpha and beta mean the same
    for every generator and decomposer.

    Args:
      jacobian: Mean Jacobian (h, w, 4, d): albedo RGB in [-1, 1] and depth in the decomposer's
        unit, per unit of latent.
      border: Pixels masked at every edge, where the decomposer's clamped depth border and the
        convolutions' padding rule.

    Returns:
      The scale (h, w, 4), zero where masked.

    Raises:
      FacesemError: On a wrong shape, a border that leaves no pixel, a block that is zero inside
        the border, or NaN or infinity anywhere inside it.

    Example:
      >>> raw = jnp.ones((8, 8, 4, 2)).at[:, :, 3].set(0.01)  # Depth moves less than albedo.
      >>> J = scale_jacobian(raw, block_scale(raw, border=1))
      >>> bool(jnp.allclose(jnp.sum(J**2), 2)), bool(jnp.allclose(jnp.abs(J[J != 0]), J.max()))
      (True, True)
    """
    check_shape("jacobian", jacobian, (None, None, ALBEDO_CHANNELS + 1, None))
    check_floating("jacobian", jacobian)
    h, w, _, _ = jacobian.shape
    if border < 0 or 2 * border >= min(h, w):
        raise FacesemError(
            f"border is {border} pixels; expected 0 to {(min(h, w) - 1) // 2} for {h} x {w} maps."
        )
    inside = jacobian[border : h - border, border : w - border]
    blocks = {"albedo": inside[..., :ALBEDO_CHANNELS, :], "depth": inside[..., ALBEDO_CHANNELS:, :]}
    factors = []
    for name, block in blocks.items():
        # Dividing by the peak first: squares of small derivatives underflow in float32.
        peak = float(jnp.max(jnp.abs(block)))
        if not np.isfinite(peak):
            raise FacesemError(
                f"The {name} block of the Jacobian has NaN or infinite entries; "
                "check the weights and the latents it was taken at."
            )
        if peak == 0:
            raise FacesemError(
                f"The {name} block of the Jacobian is zero: the decomposer's {name} does not "
                "depend on the latent. Check that generator and decomposer belong together."
            )
        rms = peak * float(jnp.sqrt(jnp.mean((block / peak) ** 2)))
        outputs = block.shape[0] * block.shape[1] * (ALBEDO_CHANNELS + 1)
        factors.append(1 / (rms * np.sqrt(outputs)))
    channel = jnp.asarray([factors[0]] * ALBEDO_CHANNELS + [factors[1]], jacobian.dtype)
    mask = jnp.zeros((h, w, 1), jacobian.dtype)
    mask = mask.at[border : h - border, border : w - border].set(1)
    return mask * channel


def scale_jacobian(
    jacobian: Float[Array, "h w 4 d"], scale: Float[Array, "h w 4"]
) -> Float[Array, "n d"]:
    """The matrix to factorise: ``scale * jacobian``, flattened to n = h w 4 rows.

    Masked entries are zero even where the raw Jacobian is not finite.

    Example:
      >>> raw = jnp.full((8, 8, 4, 2), jnp.nan).at[3:5, 3:5].set(1.0)
      >>> scale_jacobian(raw, block_scale(raw, border=3)).shape  # No NaN is left: the border is 0.
      (256, 2)
    """
    check_shape("scale", scale, jacobian.shape[:3])
    kept = jnp.where(scale[..., None] > 0, jacobian, 0)
    return (kept * scale[..., None]).reshape(-1, jacobian.shape[-1])


def maps_from_matrix(
    U: Float[Array, "n P"], scale: Float[Array, "h w 4"]
) -> Float[Array, "P h w 4"]:
    """U's columns as maps, in the units of the factorisation."""
    check_shape("U", U, (scale.size, None))
    return jnp.moveaxis(U, 1, 0).reshape(-1, *scale.shape)


def unscale_maps(
    maps: Float[Array, "... h w 4"], scale: Float[Array, "h w 4"]
) -> Float[Array, "... h w 4"]:
    """Maps in raw units: albedo in [-1, 1] and depth's unit, per unit of latent; 0 where masked."""
    check_shape("maps", maps, (*maps.shape[:-3], *scale.shape))
    return jnp.where(scale > 0, maps / jnp.where(scale > 0, scale, 1), 0)
