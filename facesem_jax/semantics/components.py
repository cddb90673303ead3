"""Order, sign and numbers of the components of a factorisation."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from facesem_jax.checks import check_shape
from facesem_jax.errors import FacesemError
from facesem_jax.semantics.scaling import ALBEDO_CHANNELS

_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


class Components(NamedTuple):
    """Components in their final order and sign.

    Attributes:
      U: Maps (n, P), the units of the factorisation.
      V: Unit directions (d, P).
      shares: Explained variance lost when the component alone is removed (P,), decreasing.
      order: Where each came from: ``U[:, p]`` was column ``order[p]`` (P,).
      live: Whether the map has any non-zero entry (P,).
    """

    U: Float[Array, "n P"]
    V: Float[Array, "d P"]
    shares: Float[np.ndarray, " P"]
    order: np.ndarray
    live: Bool[np.ndarray, " P"]


def explained_variance(J, U, V) -> float:
    """``1 - ||J - U V^T||_F^2 / ||J||_F^2``, not centred: J's mean is part of what is explained."""
    residual = J - _matmul(U, V.T)
    return float(1 - jnp.sum(residual**2) / jnp.sum(J**2))


def explained_variance_shares(J, U, V) -> Float[np.ndarray, " P"]:
    r"""Each component's share: the explained variance lost when it alone is removed.

    With residual R, removing p raises the squared error by
    :math:`2 \langle R v_p, u_p \rangle + \|u_p\|^2`, divided here by ``||J||_F^2``. Overlapping
    components share what they explain, so the shares need not add up to the total; removing a
    component that others would contradict can even help, which gives a negative share.
    """
    residual = J - _matmul(U, V.T)
    rise = jnp.sum((2 * _matmul(residual, V) + U * jnp.sum(V**2, axis=0)) * U, axis=0)
    return np.asarray(rise / jnp.sum(J**2))


def live_components(U: Float[Array, "n P"]) -> Bool[np.ndarray, " P"]:
    """Components whose map has any non-zero entry."""
    return np.asarray(jnp.any(U != 0, axis=0))


def fix_signs(
    U: Float[Array, "n P"], V: Float[Array, "d P"], maps_shape: tuple[int, int, int]
) -> tuple[Float[Array, "n P"], Float[Array, "d P"]]:
    """Chooses the sign of each pair (u_p, v_p), which the objective leaves free.

    Convention: in the block (albedo or depth) that holds more of the map's energy, the sum of
    ``u |u|`` is positive. Moving along ``+v_p`` makes the part lighter (albedo) or pushes it away
    from the camera (depth, which grows with distance).

    Args:
      U: Maps (n, P).
      V: Directions (d, P).
      maps_shape: (h, w, 4) with h w 4 = n.
    """
    check_shape("U", U, (int(np.prod(maps_shape)), None))
    maps = U.reshape(*maps_shape, -1)
    signed = jnp.sum(maps * jnp.abs(maps), axis=(0, 1))
    energy = jnp.sum(maps**2, axis=(0, 1))
    albedo, depth = signed[:ALBEDO_CHANNELS].sum(0), signed[ALBEDO_CHANNELS:].sum(0)
    albedo_rules = energy[:ALBEDO_CHANNELS].sum(0) >= energy[ALBEDO_CHANNELS:].sum(0)
    sign = jnp.where(jnp.where(albedo_rules, albedo, depth) < 0, -1, 1).astype(U.dtype)
    return U * sign, V * sign


def arrange(J, U, V, maps_shape: tuple[int, int, int]) -> Components:
    """Orders components by explained variance, dead ones last, and fixes their signs.

    Args:
      J: Scaled mean Jacobian (n, d).
      U: Maps (n, P).
      V: Directions (d, P).
      maps_shape: (h, w, 4) with h w 4 = n.

    Example:
      >>> U = jnp.zeros((16, 2)).at[0, 0].set(1.0).at[1, 1].set(-3.0)
      >>> V = jnp.eye(2)
      >>> found = arrange(U @ V.T, U, V, (2, 2, 4))
      >>> found.order, float(found.U[1, 0])  # The larger one first, its sign made positive.
      (array([1, 0]), 3.0)
    """
    U, V = fix_signs(U, V, maps_shape)
    shares, live = explained_variance_shares(J, U, V), live_components(U)
    order = np.lexsort((-shares, ~live))
    return Components(U[:, order], V[:, order], shares[order], order, live[order])


def sparsity(U: Float[Array, "n P"], unmasked: Bool[np.ndarray, " n"] | None = None) -> float:
    """Share of exact zeros in U, over the unmasked rows: a masked row is zero for free."""
    zeros = np.asarray(U) == 0
    return float(np.mean(zeros if unmasked is None else zeros[np.asarray(unmasked)]))


def max_abs_cosine(V: Float[Array, "d P"], live: Bool[np.ndarray, " P"] | None = None) -> float:
    """Redundancy ``max_{i != j} |v_i . v_j|`` over live components; 0 with fewer than two.

    A dead component's direction is arbitrary, so it has no say.
    """
    columns = np.asarray(V) if live is None else np.asarray(V)[:, np.asarray(live)]
    if columns.shape[1] < 2:
        return 0.0
    gram = np.abs(columns.T @ columns)
    np.fill_diagonal(gram, 0)
    return float(gram.max())


def pixel_energy(maps: Float[Array, "... h w c"]) -> Float[Array, "... h w"]:
    """Energy per pixel: the sum of squares over albedo and depth."""
    return jnp.sum(jnp.asarray(maps) ** 2, axis=-1)


def effective_area(maps: Float[Array, "... h w c"]) -> Float[Array, "..."]:
    r"""Participation ratio of a map, as a share of the frame.

    With :math:`m_i` the norm over channels at pixel i, :math:`(\sum_i m_i)^2 / (N \sum_i m_i^2)`: 1
    for a map that is even over all N pixels, k / N for one that is even over k pixels and zero
    elsewhere; 0 for a dead map.
    """
    magnitude = jnp.sqrt(pixel_energy(maps))
    total = jnp.sum(magnitude, axis=(-2, -1)) ** 2
    squares = magnitude.shape[-1] * magnitude.shape[-2] * jnp.sum(magnitude**2, axis=(-2, -1))
    return jnp.where(squares > 0, total / jnp.where(squares > 0, squares, 1), 0)


def support(maps: Float[Array, "... h w c"]) -> Bool[Array, "... h w"]:
    """Pixels where any channel of the map is non-zero."""
    return jnp.any(jnp.asarray(maps) != 0, axis=-1)


def edit_locality(change: Float[Array, "... h w c"], map_: Float[Array, "h w c"]) -> float:
    """Share of an edit's change, in energy, inside the component's own support.

    Read it beside the support's area: a map with support everywhere scores 1 for free, and a
    change spread evenly scores the support's share of the frame.

    Args:
      change: ``f(w + t v_p) - f(w)`` as maps, one or several faces; multiply by the scale first,
        so that albedo and depth weigh as in the factorisation and the masked border drops out.
      map_: The component's map ``u_p``.

    Returns:
      A share in [0, 1]; NaN where nothing changed.

    Raises:
      FacesemError: If the shapes do not agree.
    """
    change, map_ = jnp.asarray(change), jnp.asarray(map_)
    if change.shape[-3:] != map_.shape:
        raise FacesemError(f"change has maps of {change.shape[-3:]}, the component {map_.shape}.")
    energy = pixel_energy(change)
    total = float(jnp.sum(energy))
    return float(jnp.sum(energy * support(map_))) / total if total > 0 else float("nan")
