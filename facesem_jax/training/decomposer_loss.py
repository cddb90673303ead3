"""The decomposer's unsupervised loss: Unsup3D's, with what keeps it from hollow faces.

Wu, Rupprecht, Vedaldi (2020, arXiv 1911.11130) reconstruct the image from (depth, albedo, light,
view) and again from mirrored depth and albedo. Added here: a convex depth prior that is released
gradually (`DecomposerConfig.depth_prior`), and consistencies that need no labels: a mirrored
image has the mirrored view and light; a face that our renderer drew in a known view and light has
that view and light; a photograph turned by a known angle and relit (its own pixels moved over its
own depth) has a view turned by that angle, and that light. The last one matters most for the scale
of yaw: the photometric terms alone are content with a third of the true angle, since hair and
background at the sides do not turn with the face and a blurred albedo adapts to the rest. What
ends that is a second view: one face in two views (`facesem_jax.training.turned_pairs`), each
rebuilt from the other's depth and albedo (`exchange`), which no albedo of one view can serve.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from facesem_jax.decomposer.camera import project, to_view, unproject
from facesem_jax.decomposer.decomposer import Decomposer, Decomposition, depth_prior, gaussian_bump
from facesem_jax.decomposer.grid_sample import bilinear_sample
from facesem_jax.decomposer.shading import lambertian_shading, normals_from_depth
from facesem_jax.decomposer.warp import apply_warp, canonical_warp
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
      symmetry: Weight of the L1 between canonical albedo and depth (in units of half its range) and
        their mirror images. Without it an asymmetric albedo takes over part of the yaw: the
        confidence maps excuse it from the mirrored reconstruction.
      gradient: Weight of the L1 of image gradients.
      coarse: Weight of the L1 at a quarter of the resolution, which widens the basin of the pose.
      smoothness: Weight of the first differences of depth's deviation from the prior, in units
        of half the depth range per pixel.
      mirror_consistency: Weight of view and light on mirrored images.
      render_consistency: Weight of view and light on our own renders.
      upright: Weight of the batch's mean pitch beyond 2.5 degrees. Tilting the canonical face and
        pitching every view back renders the same images; this settles that the mean face is
        upright, so that the nose, not the brow, is nearest.
      turn_consistency: Weight of view and light on turned and relit photographs.
      independence: Weight of the squared correlation of yaw with the light's x direction over the
        batch. A face lit from one side is easily taken for a turned one; in the data pose and light
        have nothing to do with each other.
      exchange: Weight of what partners share: each is rebuilt in its own view and light from the
        other's canonical maps, and the maps themselves agree. With it, image k and image n/2 + k
        of a batch of n must show one face in two views (`facesem_jax.training.turned_pairs`).
      render_angles: Standard deviation of the renders' change of (pitch, yaw, roll), degrees.
      turn_angles: The same for the turned photographs.
      window: Widths (x, y), in pixels of a 64-pixel image, of the Gaussian window on the
        photometric terms; its floor is 0.1. The face fills the middle, hair and background the
        sides.
    """

    hold_steps: int = 600
    ramp_steps: int = 600
    mirrored: float = 1.0
    symmetry: float = 2.0
    gradient: float = 2.0
    coarse: float = 1.0
    smoothness: float = 0.5
    mirror_consistency: float = 0.5
    render_consistency: float = 1.0
    turn_consistency: float = 3.0
    upright: float = 2.0
    independence: float = 1.0
    exchange: float = 0.0
    render_angles: tuple[float, float, float] = (8.0, 20.0, 6.0)
    turn_angles: tuple[float, float, float] = (6.0, 15.0, 6.0)
    window: tuple[float, float] = (22.0, 28.0)

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


def photometric_window(size: int, widths: tuple[float, float]) -> Float[Array, "h w"]:
    """Weights of the photometric terms: a centred Gaussian bump on a floor of 0.1."""
    return 0.1 + 0.9 * gaussian_bump(size, *widths)


def partners(x: Float[Array, "n ..."]) -> Float[Array, "n ..."]:
    """Image k and image n/2 + k change places."""
    return jnp.roll(x, x.shape[0] // 2, axis=0)


def _reconstruction(decomposer: Decomposer, parts, images, window, config: DecomposerLossConfig):
    """Reconstruction from own, mirrored and exchanged canonical maps, in one rendering."""
    sources = [(lambda x: x, 1.0), (mirror, config.mirrored)]
    if config.exchange:
        sources.append((partners, config.exchange))
    several = parts._replace(
        view=jnp.concatenate([parts.view] * len(sources)),
        light=jnp.concatenate([parts.light] * len(sources)),
        depth=jnp.concatenate([source(parts.depth) for source, _ in sources]),
        albedo=jnp.concatenate([source(parts.albedo) for source, _ in sources]),
    )
    rendered, mask = decomposer.render(several)
    n = images.shape[0]
    total, error = 0.0, None
    for k, (_, weight) in enumerate(sources):
        own = slice(k * n, (k + 1) * n)
        seen = mask[own].astype(images.dtype)
        difference = (jnp.clip(rendered[own], -1, 1.2) - images) * seen[..., None]
        weight_map = seen * window
        term = confident_l1(difference, parts.confidence_l1[..., min(k, 1)], weight_map)
        term += config.gradient * gradient_l1(difference, weight_map)
        coarse = halve(halve(difference * window[..., None] / jnp.mean(window)))
        term += config.coarse * jnp.mean(jnp.abs(coarse))
        total += weight * term
        if k == 0:
            error = masked_mean(jnp.abs(difference), seen)
    return total, error


def _turned(view, key, angles, config):
    """Views with random changes of the three angles (standard deviations in degrees)."""
    # Short of the encoder's own limit, which it could not reach.
    limit = 0.9 * jnp.radians(config.xyz_rotation_range)
    noise = jax.random.normal(key, (view.shape[0], 3)) * jnp.radians(jnp.array(angles))
    return jnp.concatenate([jnp.clip(view[:, :3] + noise, -limit, limit), view[:, 3:]], axis=1)


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
      show repeats its border, so that no empty wedge gives the view away.
    """
    config = decomposer.config
    key_view, key_light = jax.random.split(key)
    view = _turned(parts.view, key_view, angles, config)
    light = jax.random.permutation(key_light, parts.light)
    image = decomposer.canonical_image(parts, light)
    warp = canonical_warp(parts.depth, view, config)
    drawn = apply_warp(image, warp, config.align_corners, padding="border")
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

    Raises:
      FacesemError: With ``exchange`` on a batch that is no row of pairs.

    Returns:
      The loss, and its terms by name, with ``l1`` the plain mean absolute error of the
      reconstruction (in units of [-1, 1]) and ``yaw_degrees`` the spread of the yaw.
    """
    if config.exchange and images.shape[0] % 2:
        raise FacesemError(f"{images.shape[0]} images are no pairs; exchange needs an even batch.")
    c = decomposer.config
    parts = decomposer(images, config.release(step))
    window = photometric_window(c.image_size, config.window)
    reconstruction, error = _reconstruction(decomposer, parts, images, window, config)

    half_range = (c.max_depth - c.min_depth) / 2
    inner = (parts.depth - (c.min_depth + c.max_depth) / 2)[:, :, 2:-2] / half_range
    deviation = inner - jnp.tanh(depth_prior(c, images.dtype))[:, 2:-2]
    smoothness = gradient_l1(deviation[..., None])

    canonical = jnp.concatenate([parts.albedo, parts.depth[..., None] / half_range], axis=-1)
    symmetry = jnp.mean(jnp.abs(canonical - mirror(canonical)) * window[..., None])
    shared = jnp.zeros(())
    if config.exchange:
        shared = jnp.mean(jnp.abs(canonical - partners(canonical)) * window[..., None])

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
    # Own renders and turned photographs are training data for the two encoders alone.
    fixed = jax.lax.stop_gradient(parts)
    key_render, key_turn, key_light = jax.random.split(key, 3)
    rendered = pose_and_light_error(
        *jax.lax.stop_gradient(random_render(decomposer, fixed, key_render, config.render_angles))
    )
    view = _turned(fixed.view, key_turn, config.turn_angles, c)
    # Lights change hands too: a face lit from one side must not pass for a turned one.
    light = jax.random.permutation(key_light, fixed.light)
    photographs = turn_photographs(decomposer, fixed, images, view, light)
    turned = pose_and_light_error(jax.lax.stop_gradient(photographs), view, light)

    pitch = parts.view[:, 0] / jnp.radians(c.xyz_rotation_range)
    # A batch's mean strays by chance; pulling at that too would shrink the spread of pitch.
    upright = jax.nn.relu(jnp.abs(jnp.mean(pitch)) - 2.5 / c.xyz_rotation_range)

    # Both are odd under a mirror, so their means are zero over the batch and its mirror images.
    yaw, across = parts.view[:, 1], parts.light[:, 2]
    product = jnp.sum(yaw * across)
    correlation = jnp.square(product) / (
        jnp.sum(jnp.square(yaw)) * jnp.sum(jnp.square(across)) + 1e-8
    )

    total = (
        reconstruction
        + config.smoothness * smoothness
        + config.symmetry * symmetry
        + config.exchange * shared
        + config.mirror_consistency * mirrored
        + config.render_consistency * rendered
        + config.turn_consistency * turned
        + config.upright * upright
        + config.independence * correlation
    )
    terms = {
        "l1": error,
        "smoothness": smoothness,
        "symmetry": symmetry,
        "shared": shared,
        "mirror": mirrored,
        "render": rendered,
        "turned": turned,
        "upright": upright,
        "independence": correlation,
        "yaw_degrees": jnp.degrees(jnp.std(parts.view[:, 1])),
    }
    return total, terms
