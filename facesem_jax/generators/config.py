"""Sizes of a generator, as plain data that a JSON file can hold."""

import dataclasses
import math

from facesem_jax.errors import FacesemError

# Far above any published generator; a hostile description must not have us build a billion layers.
_MOST_MAPPING_LAYERS = 64


@dataclasses.dataclass(frozen=True)
class StyleGANConfig:
    """Sizes that every StyleGAN has.

    Attributes:
      resolution: Height and width of the image in pixels, a power of two, at least 8.
      channels: Feature maps at 4x4, 8x8, ..., ``resolution``.
      z_dim: Size of the latent z.
      w_dim: Size of the intermediate latent w.
      mapping_layers: Number of fully connected layers from z to w.
      mapping_lr_multiplier: Learning-rate multiplier of the mapping network; weights are
        stored divided by it.
      image_channels: Channels of the image.
      mapping_width: Hidden units of the mapping network; ``None`` for ``w_dim``.
    """

    resolution: int
    channels: tuple[int, ...]
    z_dim: int = 512
    w_dim: int = 512
    mapping_layers: int = 8
    mapping_lr_multiplier: float = 0.01
    image_channels: int = 3
    mapping_width: int | None = dataclasses.field(default=None, metadata={"added": True})

    def __post_init__(self):
        check_resolution_channels(self.resolution, self.channels)
        if not 1 <= self.mapping_layers <= _MOST_MAPPING_LAYERS:
            raise FacesemError(
                f"mapping_layers is {self.mapping_layers}; expected 1 to {_MOST_MAPPING_LAYERS}."
            )
        if self.mapping_width is not None and self.mapping_width < 1:
            raise FacesemError(f"mapping_width is {self.mapping_width}; expected at least 1.")

    @property
    def num_layers(self) -> int:
        """Number of rows of w_plus: two per resolution, from 4x4 up."""
        return 2 * int(math.log2(self.resolution)) - 2

    def to_dict(self) -> dict:
        """The fields as JSON-able values."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class StyleGAN2Config(StyleGANConfig):
    """Sizes of a StyleGAN2 generator (Karras et al. 2020, arXiv 1912.04958).

    Attributes:
      conv_clamp: Activations are clamped to [-conv_clamp, conv_clamp] (StyleGAN2-ADA's
        guard for float16), or ``None``.
    """

    conv_clamp: float | None = None

    def __post_init__(self):
        """Checks the sizes and the clamp.

        Raises:
          FacesemError: On sizes that cannot be, or a clamp that is not a number above 0.
        """
        super().__post_init__()
        clamp = self.conv_clamp
        if clamp is not None and not (isinstance(clamp, int | float) and 0 < clamp < math.inf):
            raise FacesemError(f"conv_clamp is {clamp!r}; expected a number above 0, or none.")


@dataclasses.dataclass(frozen=True)
class StyleGAN1Config(StyleGANConfig):
    """Sizes of a StyleGAN 1 generator (Karras et al. 2019, arXiv 1812.04948).

    Attributes:
      fused_resolution: From this resolution up, maps are doubled by a transposed convolution, below
        it by nearest up-sampling and a convolution (the reference's ``fused_scale = 'auto'``).
    """

    fused_resolution: int = 128


def check_resolution_channels(resolution: int, channels: tuple[int, ...]) -> None:
    """Raises unless ``channels`` has one entry per resolution from 4 to ``resolution``.

    Args:
      resolution: Image size in pixels.
      channels: Feature maps at 4, 8, ..., ``resolution``.

    Raises:
      FacesemError: On a resolution that is no power of two, or a wrong number of entries.
    """
    if resolution < 8 or resolution & (resolution - 1):
        raise FacesemError(f"resolution is {resolution}; expected a power of two, at least 8.")
    expected = int(math.log2(resolution)) - 1
    if len(channels) != expected:
        raise FacesemError(
            f"channels has {len(channels)} entries; resolution {resolution} needs {expected}, "
            "one for each of 4, 8, ..., resolution."
        )
