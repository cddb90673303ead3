"""Pictures of heads with everything known: depth, normals, albedo, view and light.

Heads stand in the decomposer's scene (Unsup3D, arXiv 1911.11130, section 3): camera, views and
Lambertian light are those of `facesem_jax.decomposer`, the visible surface is its rasteriser's.
"""

import dataclasses
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from facesem_jax.decomposer.camera import intrinsics, project, rotation_matrix, to_view
from facesem_jax.decomposer.config import DecomposerConfig
from facesem_jax.decomposer.rasterizer import rasterize
from facesem_jax.decomposer.shading import lambertian_shading
from facesem_jax.errors import FacesemError
from facesem_jax.heads.model import HeadModel, Regions, head_vertices, vertex_normals
from facesem_jax.heads.painting import hair_weight, paint_albedo
from facesem_jax.heads.sampling import HeadParameters

_HIGHEST = jax.lax.Precision.HIGHEST


@dataclasses.dataclass(frozen=True)
class HeadScene:
    """Where a head stands before the decomposer's camera.

    Attributes:
      image_size: Height and width in pixels.
      samples: Odd number of samples along each side of a pixel; the middle one gives the depth.
      scale: Scene units per decimetre.
      middle: Height and depth (y, z) on the head, in decimetres, of the point that views turn
        about, which the camera looks at.
    """

    image_size: int = 64
    samples: int = 3
    scale: float = 0.075
    middle: tuple[float, float] = (7.1, 0.75)

    def __post_init__(self):
        """Refuses an even number of samples, which has no middle."""
        if self.samples < 1 or self.samples % 2 == 0:
            raise FacesemError(f"samples is {self.samples}; use 1, 3, 5 ...")


class HeadImages(NamedTuple):
    """Pictures and their truth.

    Attributes:
      image: In [-1, 1].
      depth: In the view, scene units, at the pixels' centres; the decomposer's ``max_depth`` where
        there is no head.
      normals: Unit normals in the view, in the convention of
        `facesem_jax.decomposer.shading.normals_from_depth`: (0, 0, 1) faces the camera; 0 where
        there is no head.
      mask: Whether the pixel's centre shows the head.
      albedo: In [-1, 1], at the pixels' centres; 0 where there is no head.
    """

    image: Float[Array, "n h w 3"]
    depth: Float[Array, "n h w"]
    normals: Float[Array, "n h w 3"]
    mask: Bool[Array, "n h w"]
    albedo: Float[Array, "n h w 3"]


def canonical_vertices(
    model: HeadModel, heads: HeadParameters, scene: HeadScene, config: DecomposerConfig
) -> Float[Array, "n v 3"]:
    """The heads' vertices, frontal, in the decomposer's scene.

    Args:
      model: The linear model.
      heads: Shapes.
      scene: Placement.
      config: Gives the depth of the centre of rotation.

    Returns:
      x to the right, y down, z away from the camera; scene units.
    """
    vertices = head_vertices(model, heads.identity, heads.actions)
    scalp = hair_weight(model.template, model.regions.ears)
    outward = vertex_normals(model.mean[None], model.faces)[0] * scalp[:, None]
    vertices = vertices + heads.volume[:, None, None] * outward
    y, z = scene.middle
    moved = (vertices - jnp.array([0.0, y, z])) * jnp.array([1.0, -1.0, -1.0]) * scene.scale
    return moved + jnp.array([0.0, 0.0, config.rotation_center_depth])


@partial(jax.jit, static_argnames=("scene", "config"))
def draw_heads(
    model: HeadModel,
    heads: HeadParameters,
    scene: HeadScene | None = None,
    config: DecomposerConfig | None = None,
) -> HeadImages:
    """Draws heads in their views and lights: I = albedo (k_a + k_d max(0, <l, n>)).

    The light's direction is in the head's frame, as the decomposer's, whose canonical face is lit
    before it is turned. Pixels are means of ``scene.samples`` squared samples.

    Args:
      model: The linear model.
      heads: Parameters of n heads.
      scene: Placement and sizes; the default if ``None``.
      config: Gives camera and range of depth; the compact decomposer's if ``None``.

    Returns:
      The pictures and their truth.
    """
    scene = scene or HeadScene()
    config = config or DecomposerConfig.compact()
    vertices = canonical_vertices(model, heads, scene, config)
    # In the scene's convention a normal points away from the viewer.
    normals = -vertex_normals(vertices, model.faces)
    # One head after another: the rasteriser's loop under vmap would run every head to the longest.
    return jax.lax.map(
        lambda one: _draw_head(model, *one, scene, config), (heads, vertices, normals)
    )


def _draw_head(model, head, vertices, normals, scene: HeadScene, config: DecomposerConfig):
    size, samples = scene.image_size, scene.samples
    camera = intrinsics(size, config.fov_degrees)
    points = to_view(
        tuple(vertices[None, :, i] for i in range(3)), head.view[None], config.rotation_center_depth
    )
    u, v = project(points, camera)
    # Sample j of pixel i lies at i + (j + 1/2) / samples - 1/2.
    fine = [samples * p[0] + (samples - 1) / 2 for p in (u, v)]
    fragments = rasterize(jnp.stack([*fine, points[2][0]], -1), model.faces, samples * size)
    attributes = jnp.concatenate([model.template, normals, jnp.stack(model.regions, -1)], axis=-1)
    corners = attributes[model.faces[jnp.maximum(fragments.face_index, 0)]]
    seen = jnp.einsum("hwi,hwic->hwc", fragments.barycentric, corners, precision=_HIGHEST)
    position, normal, regions = (
        seen[..., :3],
        seen[..., 3:6],
        Regions(*jnp.moveaxis(seen, -1, 0)[6:]),
    )
    length = jnp.sqrt(jnp.sum(jnp.square(normal), -1, keepdims=True))
    normal = normal / jnp.maximum(length, 1e-12)

    batched = jax.tree.map(lambda x: x[None], (head.paint, position, regions))
    albedo = paint_albedo(*batched)[0]
    _, shading = lambertian_shading(normal[None], head.light[None])
    lit = jnp.clip((albedo + 1) * shading[0][..., None] - 1, -1, 1)
    behind = jax.image.resize(head.background, (samples * size, samples * size, 3), "cubic")
    picture = jnp.where(fragments.mask[..., None], lit, jnp.clip(behind, -1, 1))
    image = picture.reshape(size, samples, size, samples, 3).mean((1, 3))

    middle = slice(samples // 2, None, samples)
    mask = fragments.mask[middle, middle]
    turned = jnp.einsum(
        "ij,hwj->hwi", rotation_matrix(head.view[:3]), normal[middle, middle], precision=_HIGHEST
    )
    return HeadImages(
        image=image,
        depth=jnp.where(mask, fragments.depth[middle, middle], config.max_depth),
        normals=jnp.where(mask[..., None], turned, 0.0),
        mask=mask,
        albedo=jnp.where(mask[..., None], albedo[middle, middle], 0.0),
    )
