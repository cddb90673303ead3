"""Principal components of pictures: latents for pictures that come without any."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from facesem_jax.checks import check_shape
from facesem_jax.conv import PRECISION
from facesem_jax.errors import FacesemError
from facesem_jax.training.losses import halve


class PictureComponents(NamedTuple):
    """A linear map from pictures to numbers of zero mean and unit variance.

    Attributes:
      mean: Of the pictures at half their size, flattened.
      basis: (p, k): ``(x - mean) basis`` are the components.
    """

    mean: Float[Array, " p"]
    basis: Float[Array, "p k"]

    def __call__(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n k"]:
        """The components of pictures, the strongest first."""
        flat = halve(images).reshape(images.shape[0], -1)
        return jnp.dot(flat - self.mean, self.basis, precision=PRECISION)


def picture_components(images: Float[Array, "n h w 3"], count: int) -> PictureComponents:
    r"""The principal components of pictures at half their size, scaled to unit variance.

    .. math:: c(x) = \sqrt{n}\, S^{-1} V^\top (x - \bar x), \quad X - \bar x = U S V^\top

    Args:
      images: Of even height and width; more of them than components.
      count: k, how many components.

    Raises:
      FacesemError: If there are not more pictures than components, or fewer pixels.
    """
    check_shape("images", images, (None, None, None, 3))
    flat = halve(images).reshape(images.shape[0], -1)
    if not 0 < count < min(flat.shape[0], flat.shape[1] + 1):
        raise FacesemError(
            f"{count} components of {flat.shape[0]} pictures with {flat.shape[1]} numbers: use at "
            "least 1, fewer than there are pictures, and at most as many as there are numbers."
        )
    mean = jnp.mean(flat, axis=0)
    _, deviation, directions = jnp.linalg.svd(flat - mean, full_matrices=False)
    # Constant pictures have no components: nothing is to be blown up there.
    scale = jnp.sqrt(flat.shape[0]) / jnp.maximum(deviation[:count], 1e-6 * deviation[0] + 1e-12)
    return PictureComponents(mean, directions[:count].T * scale)
