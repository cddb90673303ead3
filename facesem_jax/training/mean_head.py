"""The front of the mean synthetic head, as a canonical depth map in the frame of the faces.

Pictures settle a face's surface badly: errors of the view make it flatter, and a flatter face that
turns further looks nearly alike. What heads have in common is known without any picture. A head is
flat in front and steep at its sides, where surfaces that are learned rise evenly to the nose.
"""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from facesem_jax.decomposer.camera import intrinsics, project
from facesem_jax.decomposer.config import DecomposerConfig
from facesem_jax.decomposer.rasterizer import rasterize
from facesem_jax.errors import FacesemError
from facesem_jax.heads import HeadModel
from facesem_jax.training.canonical_texture import blurred
from facesem_jax.training.relief import with_deeper_sides

#: Times that the map is blurred: a single head has edges where the mean of many has none.
_BLURS = 4


@dataclasses.dataclass(frozen=True)
class HeadFraming:
    """Where the mean head stands, so that its eyes and mouth lie where those of the faces do.

    The defaults are those of the face stream, whose pictures are cropped to 52 rows and 48 columns
    and made square: faces are broader in them than they are. Depth is stretched as width is, for a
    turn of the head exchanges the two.

    Attributes:
      scale: Scene units per decimetre, along (x, y, z).
      middle: Height and depth (y, z) on the head, in decimetres, of the point that views turn
        about, which the camera looks at.
      relief: Factor on how far the sides fall back behind the middle of their row
        (`facesem_jax.training.relief.with_deeper_sides`).
    """

    scale: tuple[float, float, float] = (0.122, 0.108, 0.122)
    middle: tuple[float, float] = (7.24, 1.32)
    relief: float = 1.0

    def __post_init__(self):
        """Refuses sizes that no head has."""
        if not all(x > 0 for x in (*self.scale, self.relief)):
            raise FacesemError(f"{self}: scales and relief must be above 0.")


def mean_head_depth(
    model: HeadModel, config: DecomposerConfig, framing: HeadFraming = HeadFraming()
) -> Float[Array, "h w"]:
    """Depth of the mean head, neutral, without hair and seen from the front.

    Args:
      model: From `facesem_jax.heads.load_heads`.
      config: Gives the camera, the centre of the rotation and the range of depth.
      framing: Where the head stands.

    Returns:
      Scene units, left and right alike, within [min_depth, max_depth]; max_depth beside the head.
    """
    center = jnp.array([0.0, *framing.middle])
    # y up and z towards the viewer become y down and z away from the camera.
    signs = jnp.array([1.0, -1.0, -1.0])
    x, y, z = ((model.mean - center) * signs * jnp.array(framing.scale)).T
    z += config.rotation_center_depth
    camera = intrinsics(config.image_size, config.fov_degrees)
    vertices = jnp.stack([*project((x, y, z), camera), z], axis=-1)
    found = rasterize(vertices, model.faces, config.image_size, pixel_center=config.pixel_center)
    depth = jnp.where(found.mask, found.depth, config.max_depth)
    depth = (depth + depth[:, ::-1])[None, ..., None] / 2
    for _ in range(_BLURS):
        depth = blurred(depth)
    deeper = with_deeper_sides(depth[0, ..., 0], framing.relief)
    return jnp.clip(deeper, config.min_depth, config.max_depth)
