"""Stage (c) of the generator's training: adversarial, with the reconstruction as its anchor."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from facesem_jax.generators.encoder import Encoder
from facesem_jax.generators.mapping import Mapping
from facesem_jax.generators.stylegan2 import Synthesis
from facesem_jax.training.adversarial import (
    critic_loss,
    generator_loss,
    path_lengths,
    r1_penalty,
)
from facesem_jax.training.autoencode import Faces, psnr, reconstruction_loss
from facesem_jax.training.discriminator import Discriminator


@dataclasses.dataclass(frozen=True)
class FinetuneConfig:
    """Weights of the fine-tuning.

    Attributes:
      adversarial: Of the discriminator's verdict on samples and on reconstructions.
      reconstruction: Of the pyramid L1 and gradient L1 of encoder and synthesis.
      features: Of the L1 between discriminator features of image and reconstruction.
      gradient: Share of the gradient L1 in the reconstruction.
      noise: Standard deviation of the noise on the encoder's w.
      r1: Of the discriminator's gradient penalty.
      path: Of the path-length regularisation.
      interval: Steps between regularised steps, in which both terms count ``interval`` times.
    """

    adversarial: float = 0.1
    reconstruction: float = 1.0
    features: float = 0.1
    gradient: float = 1.0
    noise: float = 0.1
    r1: float = 0.3
    path: float = 0.02
    interval: int = 16


class GeneratorPlayer(nnx.Module):
    """What stage (c) trains against the discriminator."""

    def __init__(self, mapping: Mapping, encoder: Encoder, synthesis: Synthesis):
        """Joins the parts."""
        self.mapping = mapping
        self.encoder = encoder
        self.synthesis = synthesis


def _fakes(player: GeneratorPlayer, faces: Faces, key: PRNGKeyArray, noise: float):
    """Samples from the mapping and noisy reconstructions, in one synthesis."""
    key_z, key_noise = jax.random.split(key)
    count = faces.images.shape[0]
    z = jax.random.normal(key_z, (count, player.mapping.z_dim))
    encoded = player.encoder(faces.images)
    encoded = encoded + noise * jax.random.normal(key_noise, encoded.shape)
    sampled = player.mapping(z)
    return sampled, player.synthesis(jnp.concatenate([sampled, encoded]))


def player_loss(
    player: GeneratorPlayer,
    faces: Faces,
    discriminator: Discriminator,
    regularise: bool,
    key: PRNGKeyArray,
    config: FinetuneConfig,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """The generator's loss on a batch of real faces and as many samples."""
    key_fakes, key_path = jax.random.split(key)
    count = faces.images.shape[0]
    sampled, fakes = _fakes(player, faces, key_fakes, config.noise)
    drawn = fakes[count:]
    verdict = generator_loss(discriminator(fakes))
    reconstruction = reconstruction_loss(drawn, faces.images, config.gradient)
    features = sum(
        jnp.mean(jnp.abs(a - b))
        for a, b in zip(
            discriminator.features(drawn), discriminator.features(faces.images), strict=True
        )
    )

    def path_penalty():
        # The target is the batch's own mean: StyleGAN2's running mean without a state.
        w = jax.lax.stop_gradient(sampled[: max(count // 4, 2)])
        noise = jax.random.normal(key_path, (w.shape[0], *drawn.shape[1:]))
        lengths = path_lengths(player.synthesis, w, noise)
        return jnp.mean(jnp.square(lengths - jax.lax.stop_gradient(jnp.mean(lengths))))

    total = (
        config.adversarial * verdict
        + config.reconstruction * reconstruction
        + config.features * features
    )
    if regularise:
        total += config.path * config.interval * path_penalty()
    terms = {
        "verdict": verdict,
        "reconstruction": reconstruction,
        "features": features,
        "psnr": psnr(drawn, faces.images),
    }
    return total, terms


def discriminator_loss(
    discriminator: Discriminator,
    faces: Faces,
    player: GeneratorPlayer,
    regularise: bool,
    key: PRNGKeyArray,
    config: FinetuneConfig,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """The discriminator's loss; samples and reconstructions count as fakes alike."""
    key_fakes, _ = jax.random.split(key)
    _, fakes = _fakes(player, faces, key_fakes, config.noise)
    real, fake = discriminator(faces.images), discriminator(jax.lax.stop_gradient(fakes))
    total = critic_loss(real, fake)
    if regularise:
        total += config.r1 * config.interval * r1_penalty(discriminator, faces.images)
    return total, {"real": jnp.mean(real), "fake": jnp.mean(fake)}
