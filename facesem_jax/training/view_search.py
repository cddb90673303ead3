r"""The view under which a face's own pixels look most like a face's.

A network that reads the view off a picture learns it together with an albedo that adapts to its
errors, so its reading of a face in near profile stays short of the truth, and the photometric loss
sees nothing wrong. Here nothing adapts: each view carries the picture's pixels back into the
canonical frame (`facesem_jax.training.canonical_texture`), and the model of textures there, learned
from faces that hardly turn, says how likely the result is. The search is by Levenberg and
Marquardt's method, with the texture's coordinates eliminated (variable projection). Networks that
learn from the views found, search from their own reading and learn again get nearer to the truth
than a single search: each one's errors are of its face, and a network averages them out.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from facesem_jax.conv import PRECISION
from facesem_jax.decomposer.camera import Intrinsics
from facesem_jax.decomposer.config import DecomposerConfig
from facesem_jax.errors import FacesemError
from facesem_jax.training.canonical_texture import (
    CanonicalTexture,
    in_sight,
    texture_in_view,
)

#: Largest step: radians, then scene units.
_LIMITS = (0.1, 0.1, 0.1, 0.02, 0.02, 0.05)
#: Share of the numbers that a mean over what is in sight is counted as.
_COUNTED = 0.25


@dataclasses.dataclass(frozen=True)
class ViewSearchConfig:
    """How views are searched.

    Attributes:
      window: Half axes (x, y) of the texture, in pixels of a 64-pixel image. The face's outline
        says most about pitch.
      components: Of the texture's model.
      near: Faces of less yaw than so many degrees teach the texture.
      tempering: Factor on the noise's variance: neighbouring pixels err together.
      outlier: Error of a pixel, of the range [-1, 1], at which it counts half: hair, a hand, the
        background.
      freedom: Standard deviations of (pitch, yaw, roll) about the start, degrees. The mouth and
        the brows pass for some nod, so pitch is held closer.
      steps: Of the search.
      relief: Factor on how far the sides of the mean surface fall back behind its middle
        (`facesem_jax.training.relief.with_deeper_sides`). Sides that are too flat make a head near
        the front turn too far.
    """

    window: tuple[float, float] = (28.0, 32.0)
    components: int = 100
    near: float = 15.0
    tempering: float = 8.0
    outlier: float = 0.1
    freedom: tuple[float, float, float] = (6.0, 12.0, 100.0)
    steps: int = 10
    relief: float = 1.0

    def __post_init__(self):
        """Refuses numbers that cannot be."""
        positive = *self.window, *self.freedom, self.near, self.tempering, self.outlier, self.relief
        if not all(x > 0 for x in positive) or min(self.components, self.steps) < 1:
            raise FacesemError(f"{self}: every number must be above 0.")


def solve_definite(matrix: Float[Array, "k k"], right: Float[Array, "k r"]) -> Float[Array, "k r"]:
    """Solves a positive definite system by elimination without pivots.

    In plain operations: LAPACK's batched calls inside a compiled loop stand still for ever on
    XLA's CPU backend with two threads.
    """
    k = len(matrix)

    def eliminate(i, rows):
        row = rows[i] / rows[i, i]
        column = rows[:, i].at[i].set(0)
        return (rows - column[:, None] * row).at[i].set(row)

    return jax.lax.fori_loop(0, k, eliminate, jnp.concatenate([matrix, right], axis=1))[:, k:]


@partial(jax.jit, static_argnames=("config", "camera", "search"))
def search_views(
    model: CanonicalTexture,
    images: Float[Array, "n h w 3"],
    start: Float[Array, "n 6"],
    config: DecomposerConfig,
    camera: Intrinsics,
    search: ViewSearchConfig = ViewSearchConfig(),
) -> tuple[Float[Array, "n 6"], Float[Array, " n"]]:
    r"""The likeliest view of each image near a start.

    .. math:: E(v) = \frac{M}{4 \sum_p w_p} \min_c \left[ \sum_p \frac{w_p}{\tau \sigma^2}
       \|x_p(v) - \mu_p - B_p c\|^2 + \|c\|^2 \right] + \sum_j \frac{(v_j - a_j)^2}{\rho_j^2}

    with :math:`x_p(v)` what the image shows of the canonical point p, :math:`w_p` whether it is in
    sight times :math:`1 / (1 + e_p^2 / o^2)`, which bounds what outliers cost (Geman and McClure),
    and M numbers in all. Dividing by what is seen keeps a head from hiding its errors by turning.

    Args:
      model: From `facesem_jax.training.canonical_texture.fit_texture`.
      images: From `facesem_jax.training.canonical_texture.blurred`.
      start: a, where the search begins, and what angles are held to; also t_z is searched, which
        takes up a face's size.
      config: Gives the centre of the rotation.
      camera: Intrinsics.
      search: How.

    Returns:
      The views, and E, which is nowhere above its value at the start.
    """
    basis, points = model.basis, model.points
    noise = model.noise * search.tempering
    counted = _COUNTED * len(model.mean)
    radians = jnp.radians(jnp.array(search.freedom, images.dtype))
    stiffness = jnp.concatenate([1 / radians**2, jnp.zeros(3, images.dtype)])
    limits = jnp.array(_LIMITS, images.dtype)

    def one(image, anchor):
        def texture(view):
            shown = texture_in_view(image[None], view[None], points, config, camera)
            return shown[0].reshape(-1) - model.mean

        def fit(view, coordinates):
            """Error, weights, the texture's normal matrix and its coordinates."""
            shown = texture(view)
            error = (shown - _dot(basis, coordinates)).reshape(-1, image.shape[-1])
            robust = 1 / (1 + jnp.mean(jnp.square(error), axis=1) / search.outlier**2)
            weights = jnp.repeat(in_sight(view[None], points)[0] * robust, image.shape[-1])
            normal = _dot((basis * weights[:, None]).T, basis) / noise + jnp.eye(basis.shape[1])
            right = _dot(basis.T, weights * shown)[:, None] / noise
            coordinates = solve_definite(normal, right)[:, 0]
            return shown - _dot(basis, coordinates), weights, normal, coordinates

        def energy(view, error, weights, coordinates):
            misfit = jnp.sum(weights * jnp.square(error)) / noise + jnp.sum(coordinates**2)
            held = jnp.sum(stiffness * jnp.square(view - anchor))
            return misfit * counted / jnp.maximum(jnp.sum(weights), 1e-6) + held

        def advance(carry, _):
            view, damping, value, (error, weights, normal, coordinates) = carry
            columns = jax.jacfwd(texture)(view)
            weighted = columns * weights[:, None]
            mixed = _dot(basis.T, weighted) / noise
            held = stiffness * jnp.sum(weights) / counted
            hessian = _dot(columns.T, weighted) / noise + jnp.diag(held)
            slope = _dot(weighted.T, error) / noise + held * (view - anchor)
            # What the coordinates can follow costs nothing: the Schur complement.
            reduced = hessian - _dot(mixed.T, solve_definite(normal, mixed))
            reduced += damping * jnp.diag(jnp.diagonal(hessian))
            change = -solve_definite(reduced, slope[:, None])[:, 0]
            trial = view + jnp.clip(change, -limits, limits)
            fitted = fit(trial, coordinates)
            reached = energy(trial, fitted[0], fitted[1], fitted[3])
            better = reached < value
            old, new = carry[2:], (reached, fitted)
            value, kept = jax.tree.map(partial(jnp.where, better), new, old)
            return (
                jnp.where(better, trial, view),
                jnp.where(better, 0.3 * damping, 5 * damping),
                value,
                kept,
            ), None

        # The weights need an error first, so the fit is made twice.
        begun = fit(anchor, fit(anchor, jnp.zeros(basis.shape[1], images.dtype))[3])
        value = energy(anchor, begun[0], begun[1], begun[3])
        carry = (anchor, jnp.asarray(0.05, images.dtype), value, begun)
        (view, _, value, _), _ = jax.lax.scan(advance, carry, None, search.steps)
        return view, value

    return jax.vmap(one)(images, start)


def _dot(a, b):
    return jnp.dot(a, b, precision=PRECISION)
