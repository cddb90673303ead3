"""Face generators as Flax NNX modules, used as pure functions."""

from facesem_jax.generators.config import StyleGAN1Config, StyleGAN2Config
from facesem_jax.generators.dcgan import DCGAN, DCGANConfig
from facesem_jax.generators.encoder import Encoder, EncoderConfig
from facesem_jax.generators.stylegan1 import StyleGAN1
from facesem_jax.generators.stylegan2 import StyleGAN2

__all__ = [
    "DCGAN",
    "DCGANConfig",
    "Encoder",
    "EncoderConfig",
    "StyleGAN1",
    "StyleGAN1Config",
    "StyleGAN2",
    "StyleGAN2Config",
]
