"""Stage (a) of the generator's training: an encoder gives w, the synthesis network draws it."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from facesem_jax.conv import PRECISION
from facesem_jax.generators.encoder import Encoder
from facesem_jax.generators.stylegan2 import Synthesis
from facesem_jax.training.losses import gradient_l1, pyramid_l1


@dataclasses.dataclass(frozen=True)
class AutoencodeConfig:
    """Weights of the autoencoding loss.

    Attributes:
      gradient: Of the L1 of image gradients.
      noise: Standard deviation of the Gaussian noise on w, which keeps W smooth.
      size_penalty: Of the mean of w^2.
      anchor: Of the mean squared error of the targets read linearly from w (`Faces.targets`).
    """

    gradient: float = 2.0
    noise: float = 0.1
    size_penalty: float = 1e-3
    anchor: float = 0.6


class Faces(NamedTuple):
    """A batch of the stream.

    Attributes:
      images: In [-1, 1].
      targets: What w should hold linearly, of unit variance unless some are to count more
        (`SemanticAnchor.weighted`): the semantics of a `SemanticAnchor`, or the latents that the
        source drew the images from.
    """

    images: Float[Array, "n h w 3"]
    targets: Float[Array, "n k"]


class LinearReadout(nnx.Module):
    """The linear map from w to the targets; used in training only."""

    def __init__(self, w_dim: int, targets: int):
        """Starts at zero."""
        self.kernel = nnx.Param(jnp.zeros((w_dim, targets)))
        self.bias = nnx.Param(jnp.zeros(targets))

    def __call__(self, w: Float[Array, "n d"]) -> Float[Array, "n k"]:
        """Reads the targets."""
        return jnp.dot(w, self.kernel[...], precision=PRECISION) + self.bias[...]


class Autoencoder(nnx.Module):
    """What stage (a) trains."""

    def __init__(self, encoder: Encoder, synthesis: Synthesis, readout: LinearReadout):
        """Joins the parts."""
        self.encoder = encoder
        self.synthesis = synthesis
        self.readout = readout


def reconstruction_loss(
    drawn: Float[Array, "n h w 3"], images: Float[Array, "n h w 3"], gradient: float
) -> Float[Array, ""]:
    """L1 on a three-level pyramid plus ``gradient`` times the L1 of image gradients."""
    difference = drawn - images
    return pyramid_l1(difference) + gradient * gradient_l1(difference)


def psnr(drawn: Float[Array, "n h w 3"], images: Float[Array, "n h w 3"]) -> Float[Array, ""]:
    """Peak signal-to-noise ratio in dB, from the mean squared error per image, averaged.

    Args:
      drawn: In [-1, 1], clipped here.
      images: In [-1, 1]; the peak is 2.
    """
    error = jnp.mean(jnp.square(jnp.clip(drawn, -1, 1) - images), axis=(1, 2, 3))
    return jnp.mean(10 * jnp.log10(4 / error))


def autoencode_loss(
    model: Autoencoder, faces: Faces, key: PRNGKeyArray, config: AutoencodeConfig
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """The loss of stage (a) on a batch.

    Args:
      model: The networks.
      faces: A batch of the stream.
      key: Seeds the noise on w.
      config: Weights.

    Returns:
      The loss and its terms by name; ``psnr`` in dB, ``anchor`` the mean squared error of the
      targets, which for targets of unit variance is the share that is not explained.
    """
    w = model.encoder(faces.images)
    noisy = w + config.noise * jax.random.normal(key, w.shape)
    drawn = model.synthesis(noisy)
    reconstruction = reconstruction_loss(drawn, faces.images, config.gradient)
    size = jnp.mean(jnp.square(w))
    anchor = jnp.mean(jnp.square(model.readout(noisy) - faces.targets))
    total = reconstruction + config.size_penalty * size + config.anchor * anchor
    terms = {"psnr": psnr(drawn, faces.images), "w_square": size, "anchor": anchor}
    return total, terms
