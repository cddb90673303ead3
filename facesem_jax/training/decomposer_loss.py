"""The decomposer's unsupervised loss: Unsup3D's, with what keeps it from hollow faces.

Wu, Rupprecht, Vedaldi (2020, arXiv 1911.11130) reconstruct the image from (depth, albedo, light,
view) and again from mirrored depth and albedo. Added here: a convex depth prior that is released
gradually (`DecomposerConfig.depth_prior`), and two consistencies that need no labels: a mirrored
image has the mirrored view and light; a face that our renderer drew in a known view and light has
that view and light.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from facesem_jax.decomposer.camera import normalise_pixels
from facesem_jax.decomposer.decomposer import Decomposer, depth_prior
from facesem_jax.decomposer.grid_sample import grid_sample
from facesem_jax.decomposer.warp import canonical_warp
from facesem_jax.errors import FacesemError
from facesem_jax.training.losses import confident_l1, gradient_l1, halve, masked_mean

#: Signs under a left-right mirror: (pitch, yaw, roll, t_x, t_y, t_z), (ambient, diffuse, d_x, d_y).
MIRROR_VIEW = (1.0, -1.0, -1.0, -1.0, 1.0, 1.0)
MIRROR_LIGHT = (1.0, 1.0, -1.0, 1.0)


@dataclasses.dataclass(frozen=True)
class DecomposerLossConfig:
    """Weights and schedule.

    Attributes:
      hold_steps: Steps during which depth is the prior alone, so that view, light and albedo
        settle first: this order fixes the sign of yaw.
      ramp_steps: Steps over which the depth network is then released, 0 to 1.
      mirrored: Weight of the reconstruction from mirrored depth and albedo.
      gradient: Weight of the L1 of image gradients.
      coarse: Weight of the L1 at a quarter of the resolution, which widens the basin of the pose.
      smoothness: Weight of the first differences of depth's deviation from the prior, in units
        of half the depth range per pixel.
      mirror_consistency: Weight of view and light on mirrored images.
      render_consistency: Weight of view and light on our own renders.
      render_angles: Standard deviation of the renders' change of (pitch, yaw, roll), degrees.
    """

    hold_steps: int = 600
    ramp_steps: int = 600
    mirrored: float = 0.5
    gradient: float = 1.0
    coarse: float = 1.0
    smoothness: float = 0.5
    mirror_consistency: float = 0.5
    render_consistency: float = 0.5
    render_angles: tuple[float, float, float] = (8.0, 20.0, 6.0)

    def __post_init__(self):
        """Refuses a schedule that cannot be."""
        if self.hold_steps < 0 or self.ramp_steps < 1:
            raise FacesemError(
                f"hold_steps {self.hold_steps} and ramp_steps {self.ramp_steps}: "
                "use at least 0 and 1."
            )

    def release(self, step: int | Array) -> Float[Array, ""]:
        """Share of the depth network that is let through at a step: 0, then a ramp to 1."""
        return jnp.clip((jnp.asarray(step, jnp.float32) - self.hold_steps) / self.ramp_steps, 0, 1)


def mirror(x: Float[Array, "n h w ..."]) -> Float[Array, "n h w ..."]:
    """Left and right exchanged."""
    return jnp.flip(x, axis=2)


def _reconstruction(decomposer: Decomposer, parts, images, config: DecomposerLossConfig):
    """Reconstruction terms, plain and from mirrored canonical maps, in one rendering."""
    twice = parts._replace(
        view=jnp.concatenate([parts.view] * 2),
        light=jnp.concatenate([parts.light] * 2),
        depth=jnp.concatenate([parts.depth, mirror(parts.depth)]),
        albedo=jnp.concatenate([parts.albedo, mirror(parts.albedo)]),
    )
    rendered, mask = decomposer.render(twice)
    n = images.shape[0]
    total, error = 0.0, None
    for k, weight in enumerate((1.0, config.mirrored)):
        own = slice(k * n, (k + 1) * n)
        seen = mask[own].astype(images.dtype)
        difference = (jnp.clip(rendered[own], -1, 1.2) - images) * seen[..., None]
        term = confident_l1(difference, parts.confidence_l1[..., k], seen)
        term += config.gradient * gradient_l1(difference, seen)
        term += config.coarse * jnp.mean(jnp.abs(halve(halve(difference))))
        total += weight * term
        if k == 0:
            error = masked_mean(jnp.abs(difference), seen)
    return total, error


def random_render(
    decomposer: Decomposer,
    parts,
    key: PRNGKeyArray,
    angles: tuple[float, float, float],
) -> tuple[Float[Array, "n h w 3"], Float[Array, "n 6"], Float[Array, "n 4"]]:
    """Draws each face in a view nearby and in the light of another face.

    Args:
      decomposer: Gives the renderer.
      parts: A `Decomposition` of n faces.
      key: Seeds the views and the exchange of lights.
      angles: Standard deviation of the change of (pitch, yaw, roll), in degrees.

    Returns:
      Images, and the views and lights they were drawn with. What the canonical frame does not
      show repeats its border, so that no black wedge gives the view away.
    """
    config = decomposer.config
    key_view, key_light = jax.random.split(key)
    noise = jax.random.normal(key_view, (parts.view.shape[0], 3)) * jnp.radians(jnp.array(angles))
    limit = 0.9 * jnp.radians(config.xyz_rotation_range)
    turned = jnp.clip(parts.view[:, :3] + noise, -limit, limit)
    view = jnp.concatenate([turned, parts.view[:, 3:]], axis=1)
    light = jax.random.permutation(key_light, parts.light)
    image = decomposer.canonical_image(parts, light)
    warp = canonical_warp(parts.depth, view, config)
    grid = normalise_pixels(warp.u, warp.v, *image.shape[1:3])
    drawn = grid_sample(image, grid, align_corners=config.align_corners, padding="border")
    return jnp.clip(drawn, -1, 1), view, light


def decomposer_loss(
    decomposer: Decomposer,
    images: Float[Array, "n h w 3"],
    step: int | Array,
    key: PRNGKeyArray,
    config: DecomposerLossConfig,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """The loss on a batch of unlabelled faces.

    Args:
      decomposer: The networks.
      images: In [-1, 1].
      step: Sets the release of depth.
      key: Seeds the random renders.
      config: Weights and schedule.

    Returns:
      The loss, and its terms by name, with ``l1`` the plain mean absolute error of the
      reconstruction (in units of [-1, 1]) and ``yaw_degrees`` the spread of the yaw.
    """
    c = decomposer.config
    parts = decomposer(images, config.release(step))
    reconstruction, error = _reconstruction(decomposer, parts, images, config)

    half_range = (c.max_depth - c.min_depth) / 2
    inner = (parts.depth - (c.min_depth + c.max_depth) / 2)[:, :, 2:-2] / half_range
    deviation = inner - jnp.tanh(depth_prior(c, images.dtype))[:, 2:-2]
    smoothness = gradient_l1(deviation[..., None])

    def pose_and_light_error(seen, view, light):
        angles = (decomposer.view(seen) - view) / jnp.radians(c.xyz_rotation_range)
        return jnp.mean(jnp.abs(angles[:, :3])) + 0.2 * jnp.mean(
            jnp.abs(decomposer.light(seen) - light)
        )

    mirrored = pose_and_light_error(
        mirror(images),
        parts.view * jnp.array(MIRROR_VIEW, images.dtype),
        parts.light * jnp.array(MIRROR_LIGHT, images.dtype),
    )
    # Own renders are training data for the two encoders alone.
    drawn = jax.lax.stop_gradient(
        random_render(decomposer, jax.lax.stop_gradient(parts), key, config.render_angles)
    )
    rendered = pose_and_light_error(*drawn)

    total = (
        reconstruction
        + config.smoothness * smoothness
        + config.mirror_consistency * mirrored
        + config.render_consistency * rendered
    )
    terms = {
        "l1": error,
        "smoothness": smoothness,
        "mirror": mirrored,
        "render": rendered,
        "yaw_degrees": jnp.degrees(jnp.std(parts.view[:, 1])),
    }
    return total, terms
