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
rebuilt from the other's depth and albedo (`exchange`), which no albedo of one view can serve; or
in two lights (`facesem_jax.training.coupled_pairs`).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from facesem_jax.checks import check_shape
from facesem_jax.decomposer.decomposer import Decomposer, depth_prior, gaussian_bump
from facesem_jax.errors import FacesemError
from facesem_jax.generators.encoder import Encoder
from facesem_jax.training.decomposer_loss_config import DecomposerLossConfig
from facesem_jax.training.known_views import random_render, turn_photographs, turned_views
from facesem_jax.training.losses import confident_l1, gradient_l1, halve, masked_mean
from facesem_jax.training.perceptual_loss import (
    confident_feature_loss,
    early_features,
    feature_error,
)
from facesem_jax.training.relief import relief_of_prior
from facesem_jax.training.unfolding import LatentPose, folded_back

#: Signs under a left-right mirror: (pitch, yaw, roll, t_x, t_y, t_z), (ambient, diffuse, d_x, d_y).
MIRROR_VIEW = (1.0, -1.0, -1.0, -1.0, 1.0, 1.0)
MIRROR_LIGHT = (1.0, 1.0, -1.0, 1.0)


def mirror(x: Float[Array, "n h w ..."]) -> Float[Array, "n h w ..."]:
    """Left and right exchanged."""
    return jnp.flip(x, axis=2)


def photometric_window(size: int, widths: tuple[float, float] | None) -> Float[Array, "h w"]:
    """Weights of the photometric terms: a centred Gaussian bump on a floor of 0.1, or all 1."""
    if widths is None:
        return jnp.ones((size, size))
    return 0.1 + 0.9 * gaussian_bump(size, *widths)


def partners(x: Float[Array, "n ..."]) -> Float[Array, "n ..."]:
    """Image k and image n/2 + k change places."""
    return jnp.roll(x, x.shape[0] // 2, axis=0)


def _left_out(weight) -> bool:
    """Whether a weight is the number 0; a traced one is not known to be."""
    return isinstance(weight, int | float) and weight == 0


def _squared_cosine(a, b, floor=1e-12):
    """Squared cosine over the batch; the floor keeps it finite where one is 0."""
    return jnp.square(jnp.sum(a * b)) / (jnp.sum(jnp.square(a)) * jnp.sum(jnp.square(b)) + floor)


def _reconstruction(
    decomposer: Decomposer, parts, images, window, config: DecomposerLossConfig, share, encoder
):
    """Reconstruction from own, mirrored and exchanged canonical maps, in one rendering.

    Each source has its weight and its channel of the confidence maps; ``share`` multiplies the
    weight of the exchange.
    """
    sources = [(lambda x: x, 1.0, 0)]
    if not _left_out(config.mirrored):
        sources.append((mirror, config.mirrored, 1))
    own_maps = len(sources)
    if config.exchange:
        sources.append((partners, config.exchange * share, 1))
    several = parts._replace(
        view=jnp.concatenate([parts.view] * len(sources)),
        light=jnp.concatenate([parts.light] * len(sources)),
        depth=jnp.concatenate([source(parts.depth) for source, _, _ in sources]),
        albedo=jnp.concatenate([source(parts.albedo) for source, _, _ in sources]),
    )
    rendered, mask = decomposer.render(several)
    n = images.shape[0]
    seen = mask.astype(images.dtype).reshape(-1, *images.shape[:3])
    rendered = jnp.clip(rendered, -1, 1.2).reshape(-1, *images.shape)
    difference = (rendered - images) * seen[..., None]
    total = 0.0
    for k, (_, weight, channel) in enumerate(sources):
        weight_map = seen[k] * window
        sigma = parts.confidence_l1[..., channel]
        term = confident_l1(
            difference[k], sigma if config.confidence else jnp.ones_like(sigma), weight_map
        )
        term += config.gradient * gradient_l1(difference[k], weight_map)
        coarse = halve(halve(difference[k] * window[..., None] / jnp.mean(window)))
        term += config.coarse * jnp.mean(jnp.abs(coarse))
        total += weight * term
    perceptual = jnp.zeros(())
    if not _left_out(config.perceptual):
        # Where a reconstruction shows nothing it takes the image's own pixels: no difference.
        shown = images + difference[:own_maps]
        found = early_features(encoder, shown.reshape(-1, *images.shape[1:]))
        target = [jnp.tile(y, (own_maps, 1, 1, 1)) for y in early_features(encoder, images)]
        error = feature_error(found, target)
        sigma = jnp.moveaxis(parts.confidence_perceptual[..., :own_maps], -1, 0)
        sigma = sigma.reshape(error.shape) if config.confidence else jnp.ones_like(error)
        weight = halve(halve((seen[:own_maps] * window).reshape(-1, *images.shape[1:3], 1)))
        for k, (_, own_weight, _) in enumerate(sources[:own_maps]):
            own = slice(k * n, (k + 1) * n)
            perceptual += own_weight * confident_feature_loss(
                error[own], sigma[own], weight[own, ..., 0]
            )
        total += config.perceptual * perceptual
    return total, masked_mean(jnp.abs(difference[0]), seen[0]), perceptual


def decomposer_loss(
    decomposer: Decomposer,
    images: Float[Array, "n h w 3"],
    step: int | Array,
    key: PRNGKeyArray,
    config: DecomposerLossConfig,
    encoder: Encoder | None = None,
    pose: LatentPose | None = None,
    surface: Float[Array, "h w"] | None = None,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """The loss on a batch of unlabelled faces.

    Args:
      decomposer: The networks.
      images: In [-1, 1].
      step: Sets the release of depth and the share of the rotations.
      key: Seeds the random renders.
      config: Weights and schedule.
      encoder: Whose features the perceptual term compares; its weights are not trained.
      pose: Yaw, and pitch if wanted, as the faces' latents have them
        (`facesem_jax.training.unfolding.linear_reading`).
      surface: What the mean depth is held to, scene units.

    Raises:
      FacesemError: With ``exchange`` on a batch that is no row of pairs, or with ``perceptual``
        but no encoder, or with ``unfold`` or ``unfold_pitch`` but no such angle, or with
        ``relief`` but no prior of depth, or with ``surface`` but none of the faces' size.

    Returns:
      The loss, and its terms by name, with ``l1`` the plain mean absolute error of the
      reconstruction (in units of [-1, 1]) and ``yaw_degrees`` the spread of the yaw.
    """
    if config.exchange and images.shape[0] % 2:
        raise FacesemError(f"{images.shape[0]} images are no pairs; exchange needs an even batch.")
    if encoder is None and not _left_out(config.perceptual):
        raise FacesemError("The perceptual term needs an encoder; give one, or weight 0.")
    for angle, weight in (("yaw", config.unfold), ("pitch", config.unfold_pitch)):
        if getattr(pose, angle, None) is None and not _left_out(weight):
            raise FacesemError(
                f"The term against folded {angle} needs the latents' {angle}; give it, or weight 0."
            )
    c = decomposer.config
    if c.depth_prior is None and not _left_out(config.relief):
        raise FacesemError(
            "The term for relief compares with the prior's, and there is no prior; give "
            "DecomposerConfig.depth_prior, or weight 0."
        )
    if not _left_out(config.surface):
        if surface is None:
            raise FacesemError("The term for the mean surface needs one; give it, or weight 0.")
        check_shape("surface", surface, (c.image_size, c.image_size))
    release, share = config.release(step), config.rotation(step)
    parts = decomposer(images, release)
    window = photometric_window(c.image_size, config.window)
    reconstruction, error, perceptual = _reconstruction(
        decomposer, parts, images, window, config, release, encoder
    )

    half_width = c.rotation_center_depth * jnp.tan(jnp.radians(c.fov_degrees) / 2)
    half_range = (c.max_depth - c.min_depth) / 2
    inner = (parts.depth - (c.min_depth + c.max_depth) / 2)[:, :, 2:-2] / half_range
    deviation = inner - jnp.tanh(depth_prior(c, images.dtype))[:, 2:-2]
    smoothness = gradient_l1(deviation[..., None])

    relief = jnp.zeros(())
    if not _left_out(config.relief):
        relief = relief_of_prior(parts.depth, c, window)
    off_surface = jnp.zeros(())
    if not _left_out(config.surface):
        off = jnp.abs(jnp.mean(parts.depth, axis=0) - surface) / half_range
        held = window * (gaussian_bump(c.image_size, *config.surface_window) > jnp.exp(-1.0))
        off_surface = jnp.mean(off * held)
    canonical = jnp.concatenate([parts.albedo, parts.depth[..., None] / half_range], axis=-1)
    symmetry = jnp.mean(jnp.abs(canonical - mirror(canonical)) * window[..., None])
    shared = jnp.zeros(())
    if config.exchange:
        shared = jnp.mean(jnp.abs(canonical - partners(canonical)) * window[..., None])

    def pose_and_light_error(seen, view, light):
        difference = decomposer.view(seen) - view
        angles = difference[:, :3] / jnp.radians(c.xyz_rotation_range)
        error = jnp.mean(jnp.abs(angles)) + 0.2 * jnp.mean(jnp.abs(decomposer.light(seen) - light))
        if config.known_shift:
            error += jnp.mean(jnp.abs(difference[:, 3:5])) / half_width
        return error

    mirrored, rendered, turned = jnp.zeros(()), jnp.zeros(()), jnp.zeros(())
    if not _left_out(config.mirror_consistency):
        mirrored = pose_and_light_error(
            mirror(images),
            parts.view * jnp.array(MIRROR_VIEW, images.dtype),
            parts.light * jnp.array(MIRROR_LIGHT, images.dtype),
        )
    # Own renders and turned photographs are training data for the two encoders alone.
    fixed = jax.lax.stop_gradient(parts)
    key_render, key_turn, key_light = jax.random.split(key, 3)
    shift = share * config.known_shift if config.known_shift else None
    if not _left_out(config.render_consistency):
        angles = share * jnp.array(config.render_angles)
        known = jax.lax.stop_gradient(random_render(decomposer, fixed, key_render, angles, shift))
        rendered = pose_and_light_error(*known)
    if not _left_out(config.turn_consistency):
        angles = share * jnp.array(config.turn_angles)
        view = turned_views(fixed.view, key_turn, angles, c, shift)
        # Lights change hands too: a face lit from one side must not pass for a turned one.
        light = jax.random.permutation(key_light, fixed.light)
        photographs = turn_photographs(decomposer, fixed, images, view, light)
        turned = pose_and_light_error(jax.lax.stop_gradient(photographs), view, light)

    pitch = parts.view[:, 0] / jnp.radians(c.xyz_rotation_range)
    # A batch's mean strays by chance; pulling at that too would shrink the spread of pitch.
    upright = jax.nn.relu(jnp.abs(jnp.mean(pitch)) - 2.5 / c.xyz_rotation_range)

    def folded(angle, extrapolated, trusted):
        radians = folded_back(angle, extrapolated, jnp.radians(trusted))
        share = jnp.mean(radians) / jnp.radians(c.xyz_rotation_range)
        return share * (jnp.asarray(step) >= config.unfold_after)

    short, short_pitch = jnp.zeros(()), jnp.zeros(())
    if not _left_out(config.unfold):
        short = folded(parts.view[:, 1], pose.yaw, config.unfold_from)
    if not _left_out(config.unfold_pitch):
        short_pitch = folded(parts.view[:, 0], pose.pitch, config.unfold_pitch_from)

    # Odd under a mirror, so that their means are zero over the batch and its mirror images.
    yaw, across = parts.view[:, 1], parts.light[:, 2]
    correlation = _squared_cosine(yaw, across, 1e-8)
    place = jnp.zeros(())
    if not _left_out(config.place_independence):
        upward = [x - jnp.mean(x) for x in (parts.view[:, 0], parts.view[:, 4])]
        place = _squared_cosine(yaw, parts.view[:, 3]) + _squared_cosine(*upward)

    total = (
        reconstruction
        + config.smoothness * smoothness
        + config.relief * release * jnp.abs(relief - config.relief_share)
        + config.surface * release * off_surface
        + config.exchange * release * shared
        + config.mirror_consistency * mirrored
        + config.render_consistency * rendered
        + release * (config.unfold * short + config.unfold_pitch * short_pitch)
        + (release if config.late else 1.0)
        * (
            config.symmetry * symmetry
            + config.turn_consistency * turned
            + config.upright * upright
            + config.independence * correlation
            + config.place_independence * place
        )
    )
    terms = {
        "l1": error,
        "perceptual": perceptual,
        "smoothness": smoothness,
        "relief": relief,
        "surface": off_surface,
        "symmetry": symmetry,
        "shared": shared,
        "mirror": mirrored,
        "render": rendered,
        "turned": turned,
        "upright": upright,
        "folded": short,
        "folded_pitch": short_pitch,
        "independence": correlation,
        "place": place,
        "pitch_degrees": jnp.degrees(jnp.std(parts.view[:, 0])),
        "yaw_degrees": jnp.degrees(jnp.std(parts.view[:, 1])),
    }
    return total, terms
