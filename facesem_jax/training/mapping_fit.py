"""Stage (b) of the generator's training: a mapping whose w has the encoder's distribution.

No images are involved: sliced Wasserstein distance and a small critic, on a whitened W
(`whitening`), where every direction counts alike.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from facesem_jax.conv import PRECISION
from facesem_jax.generators.mapping import Mapping
from facesem_jax.training.adversarial import critic_loss, generator_loss, r1_penalty
from facesem_jax.training.sliced_wasserstein import sliced_wasserstein


@dataclasses.dataclass(frozen=True)
class MappingFitConfig:
    """Weights of the fit.

    Attributes:
      sliced: Of the sliced Wasserstein distance.
      adversarial: Of the critic's verdict.
      r1: Of the critic's gradient penalty.
      r1_interval: Steps between penalties.
      width: Hidden units of the critic.
    """

    sliced: float = 10.0
    adversarial: float = 0.3
    r1: float = 0.1
    r1_interval: int = 4
    width: int = 256


class LatentBatch(NamedTuple):
    """A batch of the fit.

    Attributes:
      z: Standard normal latents.
      w: Encodings of stream faces, of unit covariance.
    """

    z: Float[Array, "n z"]
    w: Float[Array, "n d"]


class LatentCritic(nnx.Module):
    """Three-layer perceptron: w to a logit.

    It sees w beside its squares, which saves it learning the second moments.
    """

    def __init__(self, w_dim: int, width: int, *, rngs: nnx.Rngs):
        """Draws the weights."""
        sizes = [(2 * w_dim, width), (width, width), (width, 1)]
        self.layers = nnx.List(nnx.Linear(i, o, precision=PRECISION, rngs=rngs) for i, o in sizes)

    def __call__(self, w: Float[Array, "n d"]) -> Float[Array, " n"]:
        """Judges each latent."""
        x = jnp.concatenate([w, jnp.square(w) / jnp.sqrt(2.0)], axis=-1)
        for layer in self.layers[:-1]:
            x = jax.nn.leaky_relu(layer(x), 0.2)
        return self.layers[-1](x)[:, 0]


def mapping_loss(
    mapping: Mapping,
    batch: LatentBatch,
    critic: LatentCritic,
    key: PRNGKeyArray,
    config: MappingFitConfig,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """The mapping's loss; its terms hold ``sliced``, in units of w's variance."""
    w = mapping(batch.z)
    sliced = sliced_wasserstein(w, batch.w, key)
    verdict = generator_loss(critic(w))
    total = config.sliced * sliced + config.adversarial * verdict
    return total, {"sliced": sliced, "verdict": verdict}


def latent_critic_loss(
    critic: LatentCritic,
    batch: LatentBatch,
    mapping: Mapping,
    regularise: bool,
    config: MappingFitConfig,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """The critic's loss; its terms hold ``accuracy``, 0.5 where it cannot tell the two apart."""
    fakes = mapping(batch.z)
    real, fake = critic(batch.w), critic(fakes)
    accuracy = (jnp.mean(real > 0) + jnp.mean(fake <= 0)) / 2
    total = critic_loss(real, fake)
    if regularise:
        # The interval as a factor keeps the regulariser's weight per step.
        total += config.r1 * config.r1_interval * r1_penalty(critic, batch.w)
    return total, {"accuracy": accuracy}
