r"""The latent direction of a nod, from what a nod does to pictures.

What a decomposer reads as pitch is partly something else, such as an open mouth or raised brows,
and a direction that is fitted to the reading (`facesem_jax.training.turned_pairs.turn_direction`)
has that from it. But its depth says what a nod does to a photograph: its own pixels move over its
own surface. Here is the direction along which the generator's pictures change most like that. Its
errors are of another kind, so the mean of the two directions is better than either.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from facesem_jax.conv import PRECISION
from facesem_jax.decomposer.decomposer import Decomposer
from facesem_jax.training.decomposer_loss import photometric_window
from facesem_jax.training.decomposer_loss_config import DecomposerLossConfig
from facesem_jax.training.known_views import turn_photographs
from facesem_jax.training.losses import halve

#: delta of `view_changes`: radians, and scene units.
_STEPS = (*(math.radians(4.0),) * 3, 0.012, 0.012, 0.02)
#: Pitch; then roll, t_x, t_y, t_z, which aligning a nodding face to the frame adds.
_NOD = (0, 2, 3, 4, 5)


def soften(images: Float[Array, "n h w 3"]) -> Float[Array, "n m"]:
    """The face at a quarter of the resolution, flat: there a nod of some degrees is nearly linear.

    Args:
      images: Height and width divisible by 4.
    """
    weight = jnp.sqrt(photometric_window(images.shape[1], DecomposerLossConfig.window))[..., None]
    small = halve(halve(images * weight.astype(images.dtype)))
    return small.reshape(len(images), -1)


def view_changes(
    decomposer: Decomposer, images: Float[Array, "n h w 3"], of: Sequence[int] = range(6)
) -> Float[Array, "n m k"]:
    r"""How photographs change as they are moved over their own depth by some degrees.

    .. math:: (s(x_{v + \delta e_k}) - s(x_{v - \delta e_k})) / 2 \delta_k

    with s the softened picture (`soften`), :math:`\delta` four degrees, or two pixels. No
    derivative: where nothing moves every sample lies on a pixel, and there bilinear sampling has
    two slopes.

    Args:
      decomposer: Gives depth, view and camera.
      images: The photographs.
      of: The k entries of the view that are changed.

    Returns:
      By each of them, per radian or per scene unit.
    """
    parts = decomposer(images)

    def turned(change):
        view = parts.view + change
        return soften(turn_photographs(decomposer, parts, images, view, None))

    # A face depends on its own view alone, so one change serves them all.
    changes = jnp.diag(jnp.array(_STEPS, images.dtype))[jnp.array(of)]
    steps = jnp.sum(changes, axis=1)
    ahead, behind = (jax.lax.map(turned, sign * changes) for sign in (1, -1))
    return jnp.moveaxis(ahead - behind, 0, -1) / (2 * steps)


def nod_direction(
    decomposer: Decomposer,
    draw: Callable[[Float[Array, "n d"]], Float[Array, "n h w 3"]],
    latents: Float[Array, "n d"],
    ridge: float = 10.0,
) -> Float[Array, " d"]:
    r"""The unit direction along which pictures change as by a nod over their own depth.

    .. math:: \min_{v, a} \sum_i \|J_i v - t_i - \sum_k a_k s_{ik}\|^2
       + \lambda \frac{\operatorname{tr} \sum_i J_i^T J_i}{d} \|v\|^2

    with :math:`J_i` the exact Jacobian of the softened picture with respect to its latent,
    :math:`t_i` its change by pitch and :math:`s_{ik}` those by roll, shift and scale, in which a
    picture that is aligned by the face's landmarks differs from one that only nods.

    Args:
      decomposer: The networks.
      draw: Latents to images in [-1, 1], each on its own; traceable.
      latents: Of unit covariance.
      ridge: lambda. Small ones follow the few faces into directions that hardly any face
        varies along.

    Returns:
      v / ||v||, of positive pitch.
    """
    d = latents.shape[1]

    def picture(z):
        image = draw(z[None])
        return soften(image)[0], image

    def products(z):
        columns, image = jax.jacfwd(picture, has_aux=True)(z)
        both = jnp.concatenate([columns, view_changes(decomposer, image, _NOD)[0]], axis=1)
        return jnp.dot(both.T, both, precision=PRECISION)

    # One face at a time: a Jacobian holds as many pictures as the latent has coordinates.
    sums = jnp.sum(jax.lax.map(products, latents), axis=0)
    # In units of their own lengths, radians and scene units are alike to the solver.
    scale = 1 / jnp.sqrt(jnp.maximum(jnp.diagonal(sums), 1e-12))
    scale = scale.at[:d].set(1 / jnp.sqrt(jnp.maximum(jnp.trace(sums[:d, :d]) / d, 1e-12)))
    scaled = sums * scale[:, None] * scale
    # The column after the latent's is the pitch's; what is left of the rows are the unknowns.
    pitch, system = jnp.delete(scaled[:, d], d), jnp.delete(jnp.delete(scaled, d, 0), d, 1)
    penalty = jnp.where(jnp.arange(len(system)) < d, ridge, 1e-6)
    found = jnp.linalg.solve(system + jnp.diag(penalty), pitch)[:d]
    return _unit(found)


def between(one: Float[Array, " d"], other: Float[Array, " d"]) -> Float[Array, " d"]:
    """The unit direction half-way between two directions, whatever their lengths."""
    return _unit(_unit(one) + _unit(other))


def _unit(x):
    return x / jnp.maximum(jnp.linalg.norm(x), 1e-12)
