"""Sizes and physical ranges of a decomposer, as plain data that a JSON file can hold."""

import dataclasses
from typing import Literal, get_args

from facesem_jax.configs import config_from_dict
from facesem_jax.errors import FacesemError

PriorShape = Literal["bump", "ellipsoid"]


@dataclasses.dataclass(frozen=True)
class DecomposerConfig:
    """Sizes and ranges of Unsup3D (Wu, Rupprecht, Vedaldi 2020, arXiv 1911.11130).

    The defaults are those of the released CelebA model; `compact` gives a decomposer that
    trains on a CPU. Canonical depth is

        depth = rescale(tanh(prior + release * depth_gain * network)),

    with ``rescale`` mapping [-1, 1] to [min_depth, max_depth] and ``release`` an argument of the
    forward pass (1 but for a warm-up in training).

    Attributes:
      image_size: Height and width of the images in pixels, a multiple of 16, at least 32.
      depth_nf: Feature maps of the depth network at half resolution.
      depth_zdim: Size of the depth network's bottleneck.
      albedo_nf: The same for the albedo network.
      albedo_zdim: The same for the albedo network.
      light_nf: Feature maps of the light encoder at half resolution.
      view_nf: Feature maps of the view encoder at half resolution.
      confidence_nf: Feature maps of the confidence network at half resolution.
      confidence_zdim: Size of the confidence network's bottleneck.
      norm_groups: Groups of the first group normalisation; doubles with the feature maps.
      min_depth: Nearest canonical depth, in scene units.
      max_depth: Farthest canonical depth, in scene units.
      clamp_border: Whether the outer two columns on each side get ``border_depth``.
      border_depth: Depth of those columns; ``None`` is 0.7 max_depth + 0.3 min_depth.
      fov_degrees: Field of view of the camera, in degrees.
      xyz_rotation_range: Largest pitch, yaw and roll, in degrees.
      xy_translation_range: Largest translation along x and y, in scene units.
      z_translation_range: Largest translation along z, in scene units.
      min_ambient: Ambient light at raw output -1.
      max_ambient: Ambient light at raw output 1.
      min_diffuse: Diffuse light at raw output -1.
      max_diffuse: Diffuse light at raw output 1.
      align_corners: How sampling grids in [-1, 1] meet pixels: ``True`` puts -1 and 1 at the
        centres of the outer pixels, as the camera does and PyTorch 1.2 did (with which the
        released checkpoints were trained); ``False`` at their outer edges, as the same code
        does under PyTorch since 1.3.
      pixel_center: The rasteriser's offset of a pixel's centre: 0 puts pixel i at u = i, as the
        intrinsics do; 0.5 is the half-pixel shift of the reference's rasteriser.
      depth_prior: ``None``, or (offset, height, width_x, width_y) of the convex surface that
        ``prior`` is: with x, y measured from the image centre, both widths in pixels of a
        64-pixel image, and a negative height for a surface that bulges towards the camera.
      depth_gain: Factor on the depth network's output.
      center_depth: Whether the network's output has its mean over the image removed.
      prior_shape: "bump", prior = offset + height exp(-(x/width_x)^2 - (y/width_y)^2); or
        "ellipsoid", tanh(prior) = offset + height sqrt(1 - (x/width_x)^2 - (y/width_y)^2), offset
        outside: with offset 0 its centre is the point that views rotate about.
    """

    image_size: int = 64
    depth_nf: int = 64
    depth_zdim: int = 256
    albedo_nf: int = 64
    albedo_zdim: int = 256
    light_nf: int = 32
    view_nf: int = 32
    confidence_nf: int = 64
    confidence_zdim: int = 128
    norm_groups: int = 16
    min_depth: float = 0.9
    max_depth: float = 1.1
    clamp_border: bool = True
    border_depth: float | None = None
    fov_degrees: float = 10.0
    xyz_rotation_range: float = 60.0
    xy_translation_range: float = 0.1
    z_translation_range: float = 0.0
    min_ambient: float = 0.0
    max_ambient: float = 1.0
    min_diffuse: float = 0.0
    max_diffuse: float = 1.0
    align_corners: bool = False
    pixel_center: float = 0.0
    depth_prior: tuple[float, float, float, float] | None = None
    depth_gain: float = 1.0
    center_depth: bool = True
    prior_shape: PriorShape = dataclasses.field(default="bump", metadata={"added": True})

    def __post_init__(self):
        """Refuses sizes and ranges that no decomposer can have."""
        if self.image_size < 32 or self.image_size % 16:
            raise FacesemError(
                f"image_size is {self.image_size}; use a multiple of 16, at least 32."
            )
        if not 0 < self.min_depth < self.max_depth:
            raise FacesemError(
                f"min_depth {self.min_depth} and max_depth {self.max_depth} must satisfy "
                "0 < min_depth < max_depth."
            )
        if self.norm_groups < 1:
            raise FacesemError(f"norm_groups is {self.norm_groups}; use at least 1.")
        for name in ("depth_nf", "albedo_nf", "confidence_nf"):
            width = getattr(self, name)
            if width < 1 or width % self.norm_groups:
                raise FacesemError(
                    f"{name} is {width}; use a positive multiple of norm_groups "
                    f"({self.norm_groups})."
                )
        if self.depth_prior is not None and len(self.depth_prior) != 4:
            raise FacesemError(
                "depth_prior must be None or (offset, height, width_x, width_y), "
                f"found {self.depth_prior!r}."
            )
        if self.prior_shape not in get_args(PriorShape):
            raise FacesemError(
                f"prior_shape is {self.prior_shape!r}; use {' or '.join(get_args(PriorShape))}."
            )
        if self.depth_prior is not None and self.prior_shape == "ellipsoid":
            offset, height, *widths = self.depth_prior
            if not (max(abs(offset), abs(offset + height)) < 1 and min(widths) > 0):
                raise FacesemError(
                    f"depth_prior {self.depth_prior!r} is no ellipsoid: offset and offset + height "
                    "are between -1 and 1 (half the depth range), the widths above 0."
                )

    @classmethod
    def compact(cls, **overrides) -> "DecomposerConfig":
        """A decomposer small enough to train on a CPU, with a convex depth prior.

        The prior settles the concave-convex ambiguity: without it the face may come out hollow
        with the sign of yaw flipped.

        Args:
          **overrides: Fields to set otherwise.

        Returns:
          The config.
        """
        fields = {
            "depth_nf": 16,
            "depth_zdim": 128,
            "albedo_nf": 16,
            "albedo_zdim": 128,
            "light_nf": 16,
            "view_nf": 16,
            "confidence_nf": 16,
            "confidence_zdim": 128,
            "align_corners": True,
            "depth_prior": (0.6, -1.3, 22.0, 28.0),
            "depth_gain": 0.5,
            "center_depth": False,
        }
        return cls(**(fields | overrides))

    @property
    def border(self) -> float:
        """Depth given to the clamped border columns, in scene units."""
        if self.border_depth is not None:
            return self.border_depth
        return 0.7 * self.max_depth + 0.3 * self.min_depth

    @property
    def rotation_center_depth(self) -> float:
        """Depth of the point (0, 0, z) that views rotate about, in scene units."""
        return (self.min_depth + self.max_depth) / 2

    def to_dict(self) -> dict:
        """The fields as a JSON-able dictionary."""
        return {
            k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_dict(cls, data: dict) -> "DecomposerConfig":
        """Builds a config from `to_dict`'s dictionary.

        Args:
          data: Every field by name; lists become tuples.

        Returns:
          The config.

        Raises:
          FacesemError: On an unknown or a missing field, naming it.
        """
        return config_from_dict(cls, data)
