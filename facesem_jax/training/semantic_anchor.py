"""What w should hold linearly: the semantics that a decomposer sees, as standardised targets.

The paper's premise is a W that encodes semantics linearly. A w that was trained on pixels alone
spends itself on colour and light, which cover most pixels; the mouth covers few. Here a linear map
must read from w, beside view and light, the principal components of the canonical depth, of the
canonical albedo, and once more of the albedo about the mouth and about the eyes, each at unit
variance: where a part is small its components count as much as the whole face's. No labels are
involved: the decomposer has seen none.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facesem_jax.checks import check_shape
from facesem_jax.conv import PRECISION
from facesem_jax.decomposer import Decomposer
from facesem_jax.errors import FacesemError
from facesem_jax.semantics.regions import Atlas
from facesem_jax.training.losses import halve
from facesem_jax.training.principal_components import unit_components

#: Parts of the face whose albedo counts once more, and the atlas's regions they are made of.
PARTS = {
    "mouth": ("mouth", "philtrum", "chin"),
    "eyes": ("left eye", "right eye", "left brow", "right brow"),
}
_ANGLES, _LIGHT = 3, 4


@dataclasses.dataclass(frozen=True)
class AnchorConfig:
    """How many principal components of each kind are targets.

    Attributes:
      albedo: Of the canonical albedo at half resolution.
      part: Of the albedo about the mouth, and as many about the eyes, less the part's mean colour.
      depth: Of the canonical depth at a quarter of the resolution.
    """

    albedo: int = 32
    part: int = 24
    depth: int = 24

    @property
    def size(self) -> int:
        """Number of targets: three angles, four of light, and the components."""
        return _ANGLES + _LIGHT + self.albedo + len(PARTS) * self.part + self.depth


def target_scale(
    config: AnchorConfig = AnchorConfig(), *, angles: float = 1.0, mouth: float = 1.0
) -> Float[np.ndarray, " k"]:
    """What to multiply the targets by, so that some of them count more than once.

    Args:
      config: Numbers of components.
      angles: Weight of the squared error of each of the three angles.
      mouth: The same of each component of the albedo about the mouth.

    Returns:
      The weights' square roots, a factor per target; those of the others are 1.

    Raises:
      FacesemError: On a weight that is negative or not finite.
    """
    for name, weight in (("angles", angles), ("mouth", mouth)):
        if not 0 <= weight < float("inf"):
            raise FacesemError(f"{name} is {weight}; a weight is finite and not below 0.")
    scale = np.ones(config.size, np.float32)
    scale[:_ANGLES] = np.sqrt(angles)
    first = _ANGLES + _LIGHT + config.albedo + list(PARTS).index("mouth") * config.part
    scale[first : first + config.part] = np.sqrt(mouth)
    return scale


class Projection(NamedTuple):
    """An affine map from `semantic_features` to targets of zero mean and unit variance.

    Attributes:
      mean: Of the features.
      matrix: Applied to what is left.
    """

    mean: Float[Array, " f"]
    matrix: Float[Array, "f k"]


def semantic_features(
    decomposer: Decomposer, images: Float[Array, "n h w 3"]
) -> Float[Array, "n f"]:
    """Angles, light, canonical albedo at half and depth at a quarter of the resolution, flat."""
    parts = decomposer(images)
    albedo = halve(parts.albedo)
    depth = halve(halve(parts.depth[..., None]))
    flat = (x.reshape(x.shape[0], -1) for x in (albedo, depth))
    return jnp.concatenate([parts.view[:, :_ANGLES], parts.light, *flat], axis=1)


def fit_projection(
    features: Float[np.ndarray, "n f"], size: int, config: AnchorConfig = AnchorConfig()
) -> Projection:
    """Finds the targets' affine map from the features of many faces.

    Args:
      features: `semantic_features` of the faces, more of them than components.
      size: Height and width of the decomposer's images.
      config: Numbers of components.

    Returns:
      The map; over the given faces every target has zero mean and unit variance, and those of one
      kind are uncorrelated.

    Raises:
      FacesemError: On a wrong shape, or features that vary in too few directions.
    """
    half, quarter = size // 2, size // 4
    counts = (_ANGLES + _LIGHT, 3 * half**2, quarter**2)
    check_shape("features", features, (None, sum(counts)))
    features = np.asarray(features, np.float64)
    mean = features.mean(axis=0)
    first, second = np.cumsum(counts)[:2]
    few, albedo, depth = np.split(features - mean, [first, second], axis=1)
    deviation = few.std(axis=0)
    if not deviation.min() > 0:
        raise FacesemError("an angle or a value of the light is the same for all faces.")
    matrix = np.zeros((features.shape[1], config.size))
    matrix[:first, :first] = np.diag(1 / deviation)
    columns = [unit_components(albedo, config.albedo)]
    atlas = Atlas(half, half)
    for names in PARTS.values():
        weight = sum(atlas.masks[atlas.names.index(name)] for name in names)
        weight = np.repeat(weight.reshape(-1, 1), 3, axis=1)
        total = weight.sum(axis=0)
        x = albedo.reshape(len(albedo), -1, 3)
        colour = np.sum(weight * x, axis=1, keepdims=True) / total
        found = unit_components((weight * (x - colour)).reshape(len(x), -1), config.part)
        # The same map, applied to the albedo itself: <weight (a - colour), v> = <v', a> with
        # v' = weight v - weight <weight, v> / <weight>, per colour channel.
        v = weight * found.T.reshape(config.part, -1, 3)
        v = v - weight * np.sum(v, axis=1, keepdims=True) / total
        columns.append(v.reshape(config.part, -1).T)
    columns = np.concatenate(columns, axis=1)
    matrix[first:second, first : first + columns.shape[1]] = columns
    matrix[second:, first + columns.shape[1] :] = unit_components(depth, config.depth)
    return Projection(mean.astype(np.float32), matrix.astype(np.float32))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SemanticAnchor:
    """Images to targets.

    Attributes:
      decomposer: Sees the semantics.
      projection: Makes targets of them.
    """

    decomposer: Decomposer
    projection: Projection

    def __call__(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n k"]:
        """The targets of images in [-1, 1], of zero mean over the faces.

        Their variance is 1, or the weight where `weighted` gave one.
        """
        features = semantic_features(self.decomposer, images)
        mean, matrix = self.projection
        return jnp.dot(features - mean, matrix, precision=PRECISION)

    def weighted(self, *, angles: float = 1.0, mouth: float = 1.0) -> "SemanticAnchor":
        """The anchor with some targets larger, so that their errors count more (`target_scale`)."""
        scale = target_scale(angles=angles, mouth=mouth)
        mean, matrix = self.projection
        return dataclasses.replace(self, projection=Projection(mean, matrix * scale))
