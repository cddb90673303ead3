"""What every generator offers: ``synthesis(mapping(z))``."""

from flax import nnx
from jaxtyping import Array, Float


class Generator(nnx.Module):
    """Base of the generators.

    Attributes:
      config: Sizes, with ``z_dim``, ``w_dim`` and ``resolution``.
      mapping: ``(z, truncation_psi, truncation_cutoff)`` to w or w_plus.
      synthesis: w or w_plus to images (n, resolution, resolution, 3), nominally in [-1, 1].
    """

    def __call__(
        self,
        z: Float[Array, "n z"],
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Float[Array, "n h w 3"]:
        """Draws images from latents z, standard normal (n, z_dim); see mapping and synthesis."""
        return self.synthesis(self.mapping(z, truncation_psi, truncation_cutoff))

    @property
    def params(self) -> dict:
        """All weights and buffers as a nested dictionary of arrays."""
        return nnx.to_pure_dict(nnx.state(self))
