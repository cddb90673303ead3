"""Starting points for the factorisation: one deterministic, the others by seed."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from facesem_jax.semantics.projections import project_unit_sphere
from facesem_jax.semantics.varimax import varimax_directions

_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


@jax.jit
def least_squares_maps(J: Float[Array, "n d"], V: Float[Array, "d P"]) -> Float[Array, "n P"]:
    """The maps that fit J best for given directions, ``J V (V^T V + eps I)^{-1}``.

    Equal to ``J V`` for orthonormal V. The ridge of 1e-3 keeps nearly parallel directions from
    asking for huge maps of opposite sign.
    """
    gram = _matmul(V.T, V) + 1e-3 * jnp.eye(V.shape[1], dtype=V.dtype)
    return jnp.linalg.solve(gram, _matmul(J, V).T).T


def perturbed_directions(
    V: Float[Array, "d P"], key: PRNGKeyArray, amount: float = 0.5
) -> Float[Array, "d P"]:
    """Adds isotropic noise of expected norm ``amount`` to every unit column and renormalises."""
    noise = jax.random.normal(key, V.shape, V.dtype) / jnp.sqrt(jnp.asarray(V.shape[0], V.dtype))
    return project_unit_sphere(V + amount * noise)


@partial(jax.jit, static_argnames=("num_components",))
def pixel_directions(
    J: Float[Array, "n d"], num_components: int, key: PRNGKeyArray
) -> Float[Array, "d P"]:
    r"""Directions taken from J's own rows, spread out as k-means++ spreads its centres.

    A pixel that belongs to one component has its gradient row along that component's direction.
    Row i is drawn with probability proportional to
    :math:`\|J_i\|^2 (1 - \max_p \cos^2(J_i, v_p))`, its energy outside the directions drawn
    already.

    Args:
      J: Scaled mean Jacobian (n, d).
      num_components: P.
      key: Seeds the draws.

    Returns:
      Unit columns V (d, P).

    Source:
      Arthur and Vassilvitskii, "k-means++" (2007), with the squared sine as the distance.
    """
    energy = jnp.sum(J**2, axis=1)

    def draw(carry, key):
        distance = carry
        weights = energy * distance
        # Once every row lies on a drawn direction, fall back to drawing by energy alone.
        weights = jnp.where(jnp.sum(weights) > 0, weights, energy)
        row = J[jax.random.categorical(key, jnp.log(weights))]
        v = project_unit_sphere(row)
        squared_cosine = _matmul(J, v) ** 2 / jnp.where(energy > 0, energy, 1)
        return jnp.minimum(distance, jnp.maximum(1 - squared_cosine, 0)), v

    _, rows = jax.lax.scan(draw, jnp.ones_like(energy), jax.random.split(key, num_components))
    return rows.T


def start_directions(
    J: Float[Array, "n d"], num_components: int, seed: int, restart: int
) -> Float[Array, "d P"]:
    """The directions that restart number ``restart`` begins from.

    Restart 0 is the varimax-rotated truncated SVD, every third one after it a perturbation of
    that, and all others are drawn from pixel rows, each with its own key.
    """
    key = jax.random.fold_in(jax.random.key(seed), restart)
    if restart % 3:
        return pixel_directions(J, num_components, key)
    fill, noise = jax.random.split(jax.random.fold_in(jax.random.key(seed), 0))
    V = varimax_directions(J, num_components, fill)
    if restart:
        noise = jax.random.fold_in(noise, restart)
        V = perturbed_directions(V, noise)
    return V
