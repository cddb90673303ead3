"""The mapping network z -> w, with truncation."""

import itertools

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from facesem_jax.checks import check_floating, check_shape
from facesem_jax.errors import FacesemError
from facesem_jax.generators.config import StyleGANConfig
from facesem_jax.generators.layers import Buffer, EqualizedLinear, leaky_relu, pixel_norm
from facesem_jax.one_program import one_program
from facesem_jax.stages import Stages, last_stage


def truncate(
    w: Float[Array, "n d"],
    w_avg: Float[Array, " d"],
    num_layers: int,
    psi: float = 1.0,
    cutoff: int | None = None,
) -> Float[Array, "n d"] | Float[Array, "n l d"]:
    """Pulls w towards its average: ``w_avg + psi (w - w_avg)`` (StyleGAN, appendix B).

    Args:
      w: Intermediate latents.
      w_avg: Their average over z.
      num_layers: Rows of a w_plus.
      psi: Share of the deviation that is kept; 1 leaves w as it is.
      cutoff: Truncate only the first ``cutoff`` layers; ``None`` truncates all.

    Returns:
      w of shape (n, d), or with ``cutoff`` a w_plus of shape (n, num_layers, d).

    Raises:
      FacesemError: On a cutoff outside 0..num_layers.
    """
    # In this form psi = 1 returns w to the last bit.
    truncated = w + (1.0 - psi) * (w_avg - w)
    if cutoff is None:
        return truncated
    if not 0 <= cutoff <= num_layers:
        raise FacesemError(
            f"truncation_cutoff is {cutoff}; this generator has layers 0..{num_layers}."
        )
    keep = jnp.arange(num_layers)[:, None] < cutoff
    return jnp.where(keep, truncated[:, None, :], w[:, None, :])


class Mapping(nnx.Module):
    """StyleGAN's mapping network: pixel norm, then equalised linear layers with leaky ReLU."""

    def __init__(
        self,
        z_dim: int,
        w_dim: int,
        mapping_layers: int,
        num_layers: int,
        *,
        width: int | None = None,
        lr_multiplier: float = 0.01,
        rngs: nnx.Rngs,
    ):
        """Builds the network.

        Args:
          z_dim: Size of z.
          w_dim: Size of w.
          mapping_layers: Number of layers.
          num_layers: Rows of a w_plus (the synthesis network's count).
          width: Units of the hidden layers; ``None`` for ``w_dim``.
          lr_multiplier: Learning-rate multiplier of every layer.
          rngs: Source of the initial weights.
        """
        sizes = [z_dim] + [width or w_dim] * (mapping_layers - 1) + [w_dim]
        self.layers = nnx.List(
            [
                EqualizedLinear(i, o, lr_multiplier=lr_multiplier, rngs=rngs)
                for i, o in itertools.pairwise(sizes)
            ]
        )
        self.w_avg = Buffer(jnp.zeros(w_dim))
        self.z_dim = z_dim
        self.num_layers = num_layers

    @classmethod
    def of(cls, config: StyleGANConfig, *, rngs: nnx.Rngs) -> "Mapping":
        """The untrained mapping network of a generator's config."""
        return cls(
            config.z_dim,
            config.w_dim,
            config.mapping_layers,
            config.num_layers,
            width=config.mapping_width,
            lr_multiplier=config.mapping_lr_multiplier,
            rngs=rngs,
        )

    def __call__(
        self,
        z: Float[Array, "n z"],
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Float[Array, "n d"] | Float[Array, "n l d"]:
        """Maps latents to intermediate latents.

        Args:
          z: Latents, standard normal, shape (n, z_dim).
          truncation_psi: See `truncate`.
          truncation_cutoff: See `truncate`.

        Returns:
          w of shape (n, w_dim); with a cutoff, w_plus of shape (n, num_layers, w_dim).

        Raises:
          FacesemError: On a wrong shape or dtype of z, or a cutoff out of range.
        """
        check_shape("z", z, (None, self.z_dim))
        check_floating("z", z)
        return self._mapped(z, truncation_psi, truncation_cutoff)

    @one_program(static=("cutoff",))
    def _mapped(self, z, psi, cutoff):
        return truncate(last_stage(self.stages(z)), self.w_avg[...], self.num_layers, psi, cutoff)

    def stages(self, z: Float[Array, "n z"]) -> Stages:
        """Every layer's output with its name, in order; the last is w, not truncated."""
        x = pixel_norm(z)
        for index, layer in enumerate(self.layers):
            x = leaky_relu(layer(x))
            yield f"layers.{index}", x
