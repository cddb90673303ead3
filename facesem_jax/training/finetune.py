"""Stage (c) of the generator's training: adversarial, with the reconstruction as its anchor."""

import dataclasses

import jax
import jax.numpy as jnp
import optax
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
      adversarial: Of the discriminator's verdict on samples and on reconstructions. It is the
        price of texture: what w does not say of it can be drawn like the faces', or be left out,
        which has the smaller error.
      reconstruction: Of the pyramid L1 and gradient L1 of encoder and synthesis.
      features: Of the L1 between discriminator features of image and reconstruction.
      gradient: Share of the gradient L1 in the reconstruction; it punishes texture in the wrong
        place more than no texture.
      noise: Standard deviation of the noise on the encoder's w.
      r1: Of the discriminator's gradient penalty.
      path: Of the path-length regularisation.
      interval: Steps between regularised steps, in which both terms count ``interval`` times.
      mapping_rate: Learning rate of the mapping network as a share of the synthesis network's. It
        begins where it already gives the encodings' distribution, and must not lose variety.
      encoder_rate: The same of the encoder. 0 keeps W as it is, with the semantics that it holds
        linearly; only what is drawn from it changes.
    """

    adversarial: float = 0.6
    reconstruction: float = 1.0
    features: float = 0.25
    gradient: float = 0.0
    noise: float = 0.05
    r1: float = 0.05
    path: float = 0.01
    interval: int = 16
    mapping_rate: float = 0.1
    encoder_rate: float = 0.0


class GeneratorPlayer(nnx.Module):
    """What stage (c) trains against the discriminator."""

    def __init__(self, mapping: Mapping, encoder: Encoder, synthesis: Synthesis):
        """Joins the parts."""
        self.mapping = mapping
        self.encoder = encoder
        self.synthesis = synthesis


def player_optimizer(
    schedule: optax.ScalarOrSchedule, config: FinetuneConfig
) -> optax.GradientTransformation:
    """Adam without momentum (StyleGAN2's), every part of the player at its own rate.

    Args:
      schedule: Learning rate of the synthesis network.
      config: Shares of it for mapping network and encoder.
    """
    rates = {"mapping": config.mapping_rate, "encoder": config.encoder_rate, "synthesis": 1.0}
    after = {k: optax.scale(r) if r else optax.set_to_zero() for k, r in rates.items()}

    def part(path, _):
        return path[0].key

    def labels(params):
        return jax.tree_util.tree_map_with_path(part, params)

    return optax.chain(
        optax.adam(schedule, b1=0.0, b2=0.99),
        optax.partition(after, labels),
    )


def _fakes(player: GeneratorPlayer, faces: Faces, key: PRNGKeyArray, config: FinetuneConfig):
    """Samples from the mapping and noisy reconstructions, in one synthesis."""
    key_z, key_noise = jax.random.split(key)
    count = faces.images.shape[0]
    z = jax.random.normal(key_z, (count, player.mapping.z_dim))
    encoded = player.encoder(faces.images)
    if not config.encoder_rate:
        encoded = jax.lax.stop_gradient(encoded)
    encoded = encoded + config.noise * jax.random.normal(key_noise, encoded.shape)
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
    sampled, fakes = _fakes(player, faces, key_fakes, config)
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
    _, fakes = _fakes(player, faces, key_fakes, config)
    real, fake = discriminator(faces.images), discriminator(jax.lax.stop_gradient(fakes))
    total = critic_loss(real, fake)
    if regularise:
        total += config.r1 * config.interval * r1_penalty(discriminator, faces.images)
    return total, {"real": jnp.mean(real), "fake": jnp.mean(fake)}
