"""Pictures whose view and light are known: own renders, and photographs turned and relit."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from facesem_jax.decomposer.camera import project, to_view, unproject
from facesem_jax.decomposer.config import DecomposerConfig
from facesem_jax.decomposer.decomposer import Decomposer, Decomposition
from facesem_jax.decomposer.grid_sample import bilinear_sample
from facesem_jax.decomposer.shading import lambertian_shading, normals_from_depth
from facesem_jax.decomposer.warp import apply_warp, canonical_warp


def turned_views(
    view: Float[Array, "n 6"],
    key: PRNGKeyArray,
    angles: Sequence[float] | Float[Array, "3"],
    config: DecomposerConfig,
    shift: float | Float[Array, ""] | None = None,
) -> Float[Array, "n 6"]:
    """Views with random changes of the three angles, and of the place.

    Args:
      view: The views to change.
      key: Seeds the changes.
      angles: Standard deviations of the change of (pitch, yaw, roll), degrees.
      config: Gives the range of the view, of which nine tenths are kept to.
      shift: Standard deviation of the change of t_x and of t_y, scene units; ``None`` leaves them.
    """
    # Short of the encoder's own limit, which it could not reach.
    limit = 0.9 * jnp.radians(config.xyz_rotation_range)
    noise = jax.random.normal(key, (view.shape[0], 3)) * jnp.radians(jnp.asarray(angles))
    turned = jnp.clip(view[:, :3] + noise, -limit, limit)
    if shift is None:
        return jnp.concatenate([turned, view[:, 3:]], axis=1)
    # From a key of its own: without shifts the turns are what they were before there were any.
    moved = jax.random.normal(jax.random.fold_in(key, 1), (view.shape[0], 2)) * shift
    far = 0.9 * config.xy_translation_range
    place = jnp.clip(view[:, 3:5] + moved, -far, far)
    return jnp.concatenate([turned, place, view[:, 5:]], axis=1)


def turn_photographs(
    decomposer: Decomposer,
    parts: Decomposition,
    images: Float[Array, "n h w 3"],
    view: Float[Array, "n 6"],
    light: Float[Array, "n 4"] | None = None,
) -> Float[Array, "n h w 3"]:
    """Shows photographs in another view and light: their own pixels, moved over their own depth.

    Every target pixel's ray meets the canonical surface under the new view; the point is projected
    back into the photograph's own view and the photograph is sampled there (its border repeated).
    A new light multiplies it by the ratio of the two shadings of that surface. Texture, hair and
    background stay real, which a render of the canonical maps cannot offer.

    Args:
      decomposer: Gives camera and ranges.
      parts: The photographs' `Decomposition`.
      images: The photographs.
      view: The new views.
      light: The new lights; ``None`` leaves the photographs' own.

    Returns:
      Images (n, h, w, 3) in [-1, 1].
    """
    config, camera = decomposer.config, decomposer.camera
    warp = canonical_warp(parts.depth, view, config)
    surface = bilinear_sample(parts.depth[..., None], warp.u, warp.v, padding="border")[..., 0]
    points = unproject(warp.u, warp.v, surface, camera)
    u, v = project(to_view(points, parts.view, config.rotation_center_depth), camera)
    turned = bilinear_sample(images, u, v, padding="border")
    if light is None:
        return turned
    normals = normals_from_depth(parts.depth, camera)
    before, after = (lambertian_shading(normals, x)[1] for x in (parts.light, light))
    # Where the old light hardly reaches, the pixel's noise would be blown up.
    ratio = jnp.clip((after + 0.05) / (before + 0.05), 0.25, 4)
    ratio = bilinear_sample(ratio[..., None], warp.u, warp.v, padding="border")
    return jnp.clip((turned + 1) * ratio - 1, -1, 1)


def random_render(
    decomposer: Decomposer,
    parts: Decomposition,
    key: PRNGKeyArray,
    angles: Sequence[float] | Float[Array, "3"],
    shift: float | Float[Array, ""] | None = None,
) -> tuple[Float[Array, "n h w 3"], Float[Array, "n 6"], Float[Array, "n 4"]]:
    """Draws each face in a view nearby and in the light of another face.

    Args:
      decomposer: Gives the renderer.
      parts: A `Decomposition` of n faces.
      key: Seeds the views and the exchange of lights.
      angles: Standard deviation of the change of (pitch, yaw, roll), in degrees.
      shift: Standard deviation of the change of t_x and of t_y, scene units; ``None`` leaves them.

    Returns:
      Images, and the views and lights they were drawn with. What the canonical frame does not
      show repeats its border, so that no empty wedge gives the view away.
    """
    config = decomposer.config
    key_view, key_light = jax.random.split(key)
    view = turned_views(parts.view, key_view, angles, config, shift)
    light = jax.random.permutation(key_light, parts.light)
    image = decomposer.canonical_image(parts, light)
    warp = canonical_warp(parts.depth, view, config)
    drawn = apply_warp(image, warp, config.align_corners, padding="border")
    return jnp.clip(drawn, -1, 1), view, light
