"""Weights and schedules of the decomposer's loss."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from facesem_jax.errors import FacesemError


@dataclasses.dataclass(frozen=True)
class DecomposerLossConfig:
    """Weights and schedule. A weight of the number 0 leaves its term out: it is not computed.

    Attributes:
      hold_steps: Steps during which depth is the prior alone, so that view, light and albedo
        settle first: this order fixes the sign of yaw.
      ramp_steps: Steps over which the depth network is then released, 0 to 1.
      rotation_steps: Steps over which rotations grow from ``rotation_start`` to their full size:
        those of the renders, of the turned photographs, and between partners. 0 for full ones from
        the first step.
      rotation_start: Share of the full rotations at the first step.
      late: Whether symmetry, upright, independence and the turned photographs wait for depth: their
        weights are multiplied by its release. They judge a view that is there; from the first step
        on they keep it from coming about (see docs/decomposer_training.md).
      mirrored: Weight of the reconstruction from mirrored depth and albedo.
      symmetry: Weight of the L1 between canonical albedo and depth (in units of half its range) and
        their mirror images. Without it an asymmetric albedo takes over part of the yaw: the
        confidence maps excuse it from the mirrored reconstruction.
      confidence: Whether the photometric and the perceptual errors are divided by predicted scales,
        see `facesem_jax.training.losses.confident_l1`; without, by 1.
      gradient: Weight of the L1 of image gradients.
      coarse: Weight of the L1 at a quarter of the resolution, which widens the basin of the pose.
      perceptual: Weight of the perceptual term of the own and the mirrored reconstruction, see
        `facesem_jax.training.perceptual_loss`.
      smoothness: Weight of the first differences of depth's deviation from the prior, in units
        of half the depth range per pixel.
      relief: Weight of the difference of the mean depth's relief from ``relief_share`` of the
        prior's (`facesem_jax.training.relief.relief_of_prior`). The pictures hardly settle how far
        the sides of a face fall back, and with it the scale of yaw; this does.
      relief_share: Share of the prior's relief that the mean depth shall have.
      surface: Weight of the mean absolute difference of the mean depth from a surface that is
        given, such as `facesem_jax.training.mean_head.mean_head_depth`, in units of half the depth
        range. Single faces differ from it as they like. It is multiplied by the release of depth.
      surface_window: Half axes (x, y), in pixels of a 64-pixel image, of the ellipse in which the
        mean depth is held to it. A head's outline is a steep wall, and a depth that is held to it
        there changes by much with every change of the face.
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
        of a batch of n must show one face in two views or lights
        (`facesem_jax.training.turned_pairs`, `facesem_jax.training.coupled_pairs`). It is
        multiplied by the release of depth: nothing is shared while depth is held.
      unfold: Weight of yaw's share of the range that it falls short of the latent's turn, for faces
        that the latent turns by more than ``unfold_from`` degrees, see
        `facesem_jax.training.unfolding`. It is multiplied by the release of depth.
      unfold_from: Degrees.
      unfold_after: Steps before this term comes into force: it needs a yaw to fit.
      unfold_spread: Standard deviation of the latent's turn, degrees. The pictures do not settle
        the scale of the angles against that of depth; this does.
      unfold_pitch: Weight of the same for pitch and the latent's nod. Pitch does not fold back, it
        stays small: albedo, which may change from top to bottom, takes up most of a nod.
      unfold_pitch_spread: Standard deviation of the latent's nod, degrees.
      render_angles: Standard deviation of the renders' change of (pitch, yaw, roll), degrees.
      turn_angles: The same for the turned photographs.
      known_shift: Standard deviation of the places (t_x, t_y) of both, scene units, for heads that
        are not in one place: a convex head that turns moves its front to the side, and a shift is
        easily taken for a turn. The shift is then part of the consistencies of known views, in
        units of half the picture. 0 where the pictures are aligned.
      place_independence: Weight of the squared correlations, over the batch, of yaw with t_x and of
        pitch with t_y, for heads whose place in the picture has nothing to do with their turn. A
        head that stands nearer to the axis that it turns about, and moves aside as it turns, shows
        the same pictures: this settles where it stands. From the first step on it keeps the pose
        from being found (docs/synthetic_heads.md).
      window: Widths (x, y), in pixels of a 64-pixel image, of the Gaussian window on the
        photometric terms; its floor is 0.1. The face fills the middle, hair and background the
        sides. ``None`` weighs all pixels alike.
    """

    hold_steps: int = 600
    ramp_steps: int = 600
    rotation_steps: int = 0
    rotation_start: float = 0.25
    late: bool = False
    mirrored: float = 1.0
    symmetry: float = 2.0
    confidence: bool = True
    gradient: float = 2.0
    coarse: float = 1.0
    perceptual: float = 0.0
    smoothness: float = 0.5
    relief: float = 0.0
    relief_share: float = 0.8
    surface: float = 0.0
    surface_window: tuple[float, float] = (25.0, 34.0)
    mirror_consistency: float = 0.5
    render_consistency: float = 1.0
    turn_consistency: float = 3.0
    upright: float = 2.0
    independence: float = 1.0
    exchange: float = 0.0
    unfold: float = 0.0
    unfold_from: float = 18.0
    unfold_after: int = 0
    unfold_spread: float = 16.0
    unfold_pitch: float = 0.0
    unfold_pitch_spread: float = 8.0
    render_angles: tuple[float, float, float] = (8.0, 20.0, 6.0)
    turn_angles: tuple[float, float, float] = (6.0, 15.0, 6.0)
    known_shift: float = 0.0
    place_independence: float = 0.0
    window: tuple[float, float] | None = (22.0, 28.0)

    def __post_init__(self):
        """Refuses schedules that cannot be."""
        if self.hold_steps < 0 or self.ramp_steps < 1:
            raise FacesemError(
                f"hold_steps {self.hold_steps} and ramp_steps {self.ramp_steps}: "
                "use at least 0 and 1."
            )
        if self.rotation_steps < 0 or not 0 <= self.rotation_start <= 1:
            raise FacesemError(
                f"rotation_steps {self.rotation_steps} and rotation_start {self.rotation_start}: "
                "use at least 0, and a share from 0 to 1."
            )
        if not all(x > 0 for x in self.surface_window):
            raise FacesemError(
                f"surface_window is {self.surface_window}; use half axes above 0, in pixels."
            )
        if self.known_shift < 0:
            raise FacesemError(f"known_shift is {self.known_shift}; use at least 0.")
        if not (self.unfold_spread > 0 and self.unfold_pitch_spread > 0):
            raise FacesemError(
                f"unfold_spread is {self.unfold_spread}, unfold_pitch_spread "
                f"{self.unfold_pitch_spread}; use degrees above 0."
            )
        if self.unfold_from < 0 or self.unfold_after < 0:
            raise FacesemError(
                f"unfold_from is {self.unfold_from}, unfold_after {self.unfold_after}; use degrees "
                "and steps of at least 0."
            )

    @property
    def unfold_pitch_from(self) -> float:
        """Degrees from which pitch is held to the latent's nod: the same share of its spread."""
        return self.unfold_from * self.unfold_pitch_spread / self.unfold_spread

    def release(self, step: int | Array) -> Float[Array, ""]:
        """Share of the depth network that is let through at a step: 0, then a ramp to 1."""
        return jnp.clip((jnp.asarray(step, jnp.float32) - self.hold_steps) / self.ramp_steps, 0, 1)

    def rotation(self, step: int | Array) -> Float[Array, ""]:
        r"""Share of the full rotations at a step, the curriculum.

        .. math:: \min(1, s_0 + (1 - s_0)\, t / T)

        with :math:`s_0` = ``rotation_start`` and :math:`T` = ``rotation_steps``.
        """
        t = jnp.asarray(step, jnp.float32)
        if not self.rotation_steps:
            return jnp.ones_like(t)
        start = self.rotation_start
        return jnp.minimum(1.0, start + (1 - start) * t / self.rotation_steps)
