"""Starting points for the factorisation: one deterministic, the others by seed."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from facesem_jax.semantics.projections import project_unit_sphere
from facesem_jax.semantics.varimax import varimax_directions

_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


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
      J: Scaled mean Jacobian (n, d). Rows of zeros are never drawn, and leave the draws of the
        others as they are.
      num_components: P.
      key: Seeds the draws.

    Returns:
      Unit columns V (d, P).

    Source:
      Arthur and Vassilvitskii, "k-means++" (2007), with the squared sine as the distance.
    """
    energy = jnp.sum(J**2, axis=1)
    # The largest of log weight plus Gumbel noise is a draw; each row's noise goes by its number
    # among the rows that are not zero.
    number = jnp.maximum(jnp.cumsum(energy > 0) - 1, 0)

    def draw(distance, key):
        weights = energy * distance
        # Once every row lies on a drawn direction, fall back to drawing by energy alone.
        weights = jnp.where(jnp.sum(weights) > 0, weights, energy)
        noise = jax.random.gumbel(key, energy.shape, energy.dtype)[number]
        drawn = jnp.argmax(jnp.log(weights) + noise)
        v = project_unit_sphere(jnp.take(J, drawn[None], axis=0)[0])
        squared_cosine = _matmul(J, v) ** 2 / jnp.where(energy > 0, energy, 1)
        return jnp.minimum(distance, jnp.maximum(1 - squared_cosine, 0)), v

    _, rows = jax.lax.scan(draw, jnp.ones_like(energy), jax.random.split(key, num_components))
    return rows.T


@partial(jax.jit, static_argnames=("num_components", "restarts"))
def start_directions(
    J: Float[Array, "n d"], num_components: int, seed: int | Int[Array, ""], restarts: int
) -> Float[Array, "restarts d P"]:
    """The directions that the restarts begin from.

    Restart 0 is the varimax-rotated truncated SVD, every third one after it a perturbation of
    that, and all others are drawn from pixel rows, each with its own key: a restart does not
    depend on how many there are.

    Args:
      J: Scaled mean Jacobian (n, d).
      num_components: P.
      seed: Seeds every start (the first one only beyond J's numerical rank).
      restarts: Number of starts.

    Returns:
      Unit columns, per restart.
    """
    root = jax.random.key(seed)
    fill, noise = jax.random.split(jax.random.fold_in(root, 0))
    first = varimax_directions(J, num_components, fill)
    drawn = [r for r in range(restarts) if r % 3]
    keys = [jax.random.fold_in(root, r) for r in drawn]
    # All at once: a draw reads the whole of J.
    draw = jax.vmap(partial(pixel_directions, J, num_components))
    rows = dict(zip(drawn, draw(jnp.stack(keys)), strict=True)) if drawn else {}
    turned = {
        r: perturbed_directions(first, jax.random.fold_in(noise, r)) for r in range(3, restarts, 3)
    }
    starts = {0: first} | rows | turned
    return jnp.stack([starts[r] for r in range(restarts)])
