"""Changes of a face drawn over the face: red where it gets more, blue where less."""

import numpy as np
from jaxtyping import Float, UInt8

from facesem_jax.checks import check_shape
from facesem_jax.errors import FacesemError
from facesem_jax.semantics.scaling import ALBEDO_CHANNELS

# The ends of `pictures.signed_picture`'s scale.
_RED = np.array([0.80, 0.0, 0.15])
_BLUE = np.array([0.0, 0.25, 0.80])
# The ground is kept light: on a dark one, blue and the faint ends of both colours are lost.
_GROUND_RANGE = (0.58, 0.97)


def magnitude(change: Float[np.ndarray, "*b h w c"]) -> Float[np.ndarray, "*b h w"]:
    """Root mean square of a change over its channels, in the change's unit."""
    return np.sqrt(np.mean(np.square(np.asarray(change, np.float64)), axis=-1))


def change_picture(
    change: Float[np.ndarray, "*b h w c"],
    limit: float,
    ground: UInt8[np.ndarray, "*b h w 3"] | None = None,
) -> UInt8[np.ndarray, "*b h w 3"]:
    """A change over a ground: its magnitude as opacity, its direction as hue.

    Red where all channels rise, blue where all fall, violet where they cancel (a hue that changes
    at equal lightness must not vanish). For one channel, or equal ones, over white this is
    `pictures.signed_picture`.

    Args:
      change: Any unit; colour channels, or one channel such as depth.
      limit: The `magnitude` shown opaque; of 0, as for no change anywhere, any non-zero value is.
      ground: What lies under the change; white if not given.

    Raises:
      FacesemError: If the limit is negative or not finite.
    """
    if not (np.isfinite(limit) and limit >= 0):
        raise FacesemError(f"limit is {limit}; expected a finite number, at least 0.")
    change = np.asarray(change, np.float64)
    size = magnitude(change)[..., None]
    # |mean| <= root mean square, so the lean is within [-1, 1].
    lean = np.mean(change, axis=-1, keepdims=True) / np.where(size > 0, size, 1)
    colour = _BLUE + (_RED - _BLUE) * (lean + 1) / 2
    opacity = np.clip(size / limit, 0, 1) if limit > 0 else (size > 0).astype(float)
    under = np.ones(3) if ground is None else np.asarray(ground, np.float64) / 255
    return np.round((under * (1 - opacity) + colour * opacity) * 255).astype(np.uint8)


def ground_picture(mean_albedo: Float[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """A face as a pale grey ground for changes: recognisable, without a colour of its own.

    Args:
      mean_albedo: In [-1, 1]; its own darkest and lightest grey are stretched to a fixed range.
    """
    check_shape("mean_albedo", mean_albedo, (None, None, 3))
    grey = np.mean(np.asarray(mean_albedo, np.float64), axis=-1)
    span = grey.max() - grey.min()
    low, high = _GROUND_RANGE
    pale = low + (high - low) * ((grey - grey.min()) / span if span > 0 else np.ones_like(grey))
    return np.repeat(np.round(pale * 255).astype(np.uint8)[..., None], 3, axis=-1)


def component_pictures(
    map_: Float[np.ndarray, "h w 4"], mean_albedo: Float[np.ndarray, "h w 3"]
) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w 3"]]:
    """A component's map over the mean face: its albedo part and its depth part.

    Both parts share one scale, the component's own largest magnitude: in the units of the
    factorisation albedo and depth weigh the same, so the paler picture is the weaker part.

    Args:
      map_: Albedo RGB, then depth, in the units of the factorisation.
      mean_albedo: In [-1, 1].

    Returns:
      The albedo picture (red lighter, blue darker, violet another hue) and the depth picture (red
      away from the camera, blue towards it).
    """
    check_shape("map_", map_, (*np.shape(mean_albedo)[:2], ALBEDO_CHANNELS + 1))
    parts = map_[..., :ALBEDO_CHANNELS], map_[..., ALBEDO_CHANNELS:]
    limit = float(max(magnitude(part).max() for part in parts))
    ground = ground_picture(mean_albedo)
    return change_picture(parts[0], limit, ground), change_picture(parts[1], limit, ground)


def strip_difference(
    images: Float[np.ndarray, "m t h w 3"],
    amounts: Float[np.ndarray, " t"],
    ground: UInt8[np.ndarray, "m h w 3"] | None = None,
) -> tuple[UInt8[np.ndarray, "m h w 3"], float]:
    """What the largest amount changes: the image there minus the image at 0.

    Args:
      images: Faces by amounts, in [-1, 1].
      amounts: In any unit; the largest one and the one nearest to 0 are compared.
      ground: What lies under the change; white if not given.

    Returns:
      The pictures and their common limit, shown in full colour: the 99.5th percentile of the
      magnitude (no single pixel decides), as a share of the range from black to white.
    """
    check_shape("images", images, (None, len(amounts), None, None, 3))
    largest, zero = int(np.argmax(amounts)), int(np.argmin(np.abs(amounts)))
    change = (np.asarray(images[:, largest], np.float64) - images[:, zero]) / 2
    limit = float(np.quantile(magnitude(change), 0.995))
    return change_picture(change, limit, ground), limit
