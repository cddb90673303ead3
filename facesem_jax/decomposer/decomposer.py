"""The decomposer: image -> view, light, depth, albedo, confidence; and its renderer."""

from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from facesem_jax.checks import check_images
from facesem_jax.decomposer.camera import Intrinsics, intrinsics
from facesem_jax.decomposer.config import DecomposerConfig
from facesem_jax.decomposer.networks import ConfidenceNet, Encoder, EncoderDecoder
from facesem_jax.decomposer.shading import shade
from facesem_jax.decomposer.warp import apply_warp, canonical_warp
from facesem_jax.one_program import one_program


class Decomposition(NamedTuple):
    """The semantics of a batch of faces.

    Attributes:
      view: (pitch, yaw, roll) in radians, then (t_x, t_y, t_z) in scene units.
      light: (ambient, diffuse) in [0, 1], then the light direction's (d_x, d_y) before
        normalisation of (d_x, d_y, 1), in [-1, 1].
      depth: Canonical depth in scene units, in [min_depth, max_depth].
      albedo: Canonical albedo in [-1, 1].
      confidence_l1: Scales (sigma) of the photometric loss, for the reconstruction and the one
        from flipped canonical maps.
      confidence_perceptual: The same for the perceptual loss, at a quarter of the resolution.
    """

    view: Float[Array, "n 6"]
    light: Float[Array, "n 4"]
    depth: Float[Array, "n h w"]
    albedo: Float[Array, "n h w 3"]
    confidence_l1: Float[Array, "n h w 2"]
    confidence_perceptual: Float[Array, "n h4 w4 2"]


def _squared_radius(size: int, width_x: float, width_y: float, dtype) -> Float[Array, "size size"]:
    """(x / width_x)^2 + (y / width_y)^2 from the centre, widths in pixels of a 64-pixel image."""
    centred = (jnp.arange(size, dtype=dtype or jnp.result_type(float)) - (size - 1) / 2) * (
        64 / size
    )
    x, y = centred[None, :] / width_x, centred[:, None] / width_y
    return x**2 + y**2


def gaussian_bump(
    size: int, sigma_x: float, sigma_y: float, dtype=None
) -> Float[Array, "size size"]:
    """exp(-(x / sigma_x)^2 - (y / sigma_y)^2), x and y measured from the image centre.

    Args:
      size: Height and width of the image in pixels.
      sigma_x: Width, in pixels of a 64-pixel image.
      sigma_y: Height, likewise.
      dtype: Of the result; JAX's default floating point if ``None``.
    """
    return jnp.exp(-_squared_radius(size, sigma_x, sigma_y, dtype))


def depth_prior(config: DecomposerConfig, dtype=None) -> Float[Array, "h w"]:
    """The convex surface in the argument of tanh, zero without a prior. Smaller is nearer.

    Args:
      config: See `DecomposerConfig.depth_prior` and `DecomposerConfig.prior_shape`.
      dtype: Of the result; JAX's default floating point if ``None``.

    Returns:
      (image_size, image_size).
    """
    size = config.image_size
    if config.depth_prior is None:
        return jnp.zeros((size, size), dtype)
    offset, height, *widths = config.depth_prior
    if config.prior_shape == "bump":
        return offset + height * gaussian_bump(size, *widths, dtype)
    inside = jnp.maximum(1 - _squared_radius(size, *widths, dtype), 0)
    return jnp.arctanh(offset + height * jnp.sqrt(inside))


def _rescale(x, low: float, high: float):
    """[-1, 1] to [low, high]."""
    return (1 + x) / 2 * high + (1 - x) / 2 * low


class Decomposer(nnx.Module):
    """Unsup3D (Wu, Rupprecht, Vedaldi 2020, arXiv 1911.11130): one image to its parts.

    Each part has a method of its own, so that a Jacobian of one pays for no other.

    Attributes:
      config: Sizes and ranges.
      depth_net: `EncoderDecoder` to one map.
      albedo_net: `EncoderDecoder` to three maps.
      light_net: `Encoder` to four values.
      view_net: `Encoder` to six values.
      confidence_net: `ConfidenceNet`.
    """

    def __init__(self, config: DecomposerConfig, *, rngs: nnx.Rngs):
        """Initialises the networks.

        Args:
          config: Sizes and ranges.
          rngs: Source of the ``params`` key, such as ``nnx.Rngs(seed)``.
        """
        self.config = config
        size = {"image_size": config.image_size, "rngs": rngs}
        grouped = size | {"groups": config.norm_groups}
        self.depth_net = EncoderDecoder(1, config.depth_nf, config.depth_zdim, **grouped)
        self.albedo_net = EncoderDecoder(3, config.albedo_nf, config.albedo_zdim, **grouped)
        self.light_net = Encoder(4, config.light_nf, **size)
        self.view_net = Encoder(6, config.view_nf, **size)
        self.confidence_net = ConfidenceNet(config.confidence_nf, config.confidence_zdim, **grouped)

    @property
    def camera(self) -> Intrinsics:
        """Intrinsics of the canonical and of the view's camera."""
        return intrinsics(self.config.image_size, self.config.fov_degrees)

    @property
    def params(self) -> dict:
        """The parameters as a nested dictionary of arrays."""
        return nnx.to_pure_dict(nnx.state(self, nnx.Param))

    def _check(self, images):
        check_images("images", images, self.config.image_size)

    def depth(
        self, images: Float[Array, "n h w 3"], release: float | Float[Array, ""] = 1.0
    ) -> Float[Array, "n h w"]:
        """Canonical depth: rescale(tanh(prior + release * depth_gain * network)).

        Args:
          images: In [-1, 1].
          release: Factor in [0, 1] on the network's term, for a warm-up on the prior alone.

        Returns:
          Depth in [min_depth, max_depth], scene units; the outer two columns on each side are
          ``config.border`` with ``clamp_border``.

        Raises:
          FacesemError: If the images have a wrong shape or dtype.
        """
        return self.depth_from_code(self.depth_code(images), release)

    def depth_code(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n z"]:
        """The depth network's bottleneck, (n, depth_zdim), none below 0; errors as for `depth`."""
        self._check(images)
        return self.depth_net.encode(images)

    @one_program
    def depth_from_code(
        self, code: Float[Array, "n z"], release: float | Float[Array, ""] = 1.0
    ) -> Float[Array, "n h w"]:
        """`depth` of the images that have this `depth_code`."""
        config = self.config
        raw = self.depth_net.decode(code)[..., 0]
        if config.center_depth:
            raw = raw - jnp.mean(raw, (1, 2), keepdims=True)
        raw = raw * (release * config.depth_gain)
        depth = jnp.tanh(depth_prior(config, raw.dtype) + raw)
        depth = _rescale(depth, config.min_depth, config.max_depth)
        if config.clamp_border:
            column = jnp.arange(config.image_size)
            border = (column < 2) | (column >= config.image_size - 2)
            depth = jnp.where(border, jnp.asarray(config.border, depth.dtype), depth)
        return depth

    def albedo(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n h w 3"]:
        """Canonical albedo in [-1, 1]; arguments and errors as for `depth`."""
        return self.albedo_from_code(self.albedo_code(images))

    def albedo_code(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n z"]:
        """The albedo network's bottleneck, (n, albedo_zdim), none below 0; errors as `depth`."""
        self._check(images)
        return self.albedo_net.encode(images)

    @one_program
    def albedo_from_code(self, code: Float[Array, "n z"]) -> Float[Array, "n h w 3"]:
        """`albedo` of the images that have this `albedo_code`."""
        return jnp.tanh(self.albedo_net.decode(code))

    def view(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n 6"]:
        """Radians about x, y, z, then scene units; arguments and errors as for `depth`."""
        self._check(images)
        return self._view(images)

    @one_program
    def _view(self, images):
        config = self.config
        raw = self.view_net(images)
        radians = config.xyz_rotation_range * (jnp.pi / 180)
        xy, z = config.xy_translation_range, config.z_translation_range
        return raw * jnp.array([radians] * 3 + [xy, xy, z], raw.dtype)

    def light(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n 4"]:
        """(ambient, diffuse, d_x, d_y); arguments and errors as for `depth`."""
        self._check(images)
        return self._light(images)

    @one_program
    def _light(self, images):
        config = self.config
        raw = self.light_net(images)
        ambient = _rescale(raw[:, :1], config.min_ambient, config.max_ambient)
        diffuse = _rescale(raw[:, 1:2], config.min_diffuse, config.max_diffuse)
        return jnp.concatenate([ambient, diffuse, raw[:, 2:]], -1)

    def confidence(
        self, images: Float[Array, "n h w 3"]
    ) -> tuple[Float[Array, "n h w 2"], Float[Array, "n h4 w4 2"]]:
        """Photometric and perceptual scale maps; arguments and errors as for `depth`."""
        self._check(images)
        return self.confidence_net(images)

    def __call__(
        self, images: Float[Array, "n h w 3"], release: float | Float[Array, ""] = 1.0
    ) -> Decomposition:
        """Decomposes images.

        Args:
          images: (n, image_size, image_size, 3) in [-1, 1].
          release: As for `depth`.

        Returns:
          The decomposition.

        Raises:
          FacesemError: If the images have a wrong shape or dtype.
        """
        confidence_l1, confidence_perceptual = self.confidence(images)
        return Decomposition(
            view=self.view(images),
            light=self.light(images),
            depth=self.depth(images, release),
            albedo=self.albedo(images),
            confidence_l1=confidence_l1,
            confidence_perceptual=confidence_perceptual,
        )

    @one_program
    def canonical_image(
        self, decomposition: Decomposition, light: Float[Array, "n 4"] | None = None
    ) -> Float[Array, "n h w 3"]:
        """The shaded canonical face.

        Args:
          decomposition: Gives depth, albedo and light.
          light: Replaces the decomposition's light.

        Returns:
          (n, h, w, 3); -1 is black, values above 1 are over-exposed.
        """
        light = decomposition.light if light is None else light
        return shade(decomposition.albedo, decomposition.depth, light, self.camera)

    @one_program(static=("method",))
    def render(
        self,
        decomposition: Decomposition,
        view: Float[Array, "n 6"] | None = None,
        light: Float[Array, "n 4"] | None = None,
        method: str = "fixed_point",
    ) -> tuple[Float[Array, "n h w 3"], Bool[Array, "n h w"]]:
        """The image of a decomposition, under its own or another view and light.

        Args:
          decomposition: Gives what is not replaced.
          view: Replaces the decomposition's view.
          light: Replaces the decomposition's light.
          method: "fixed_point" or "rasterizer", see `facesem_jax.decomposer.warp`.

        Returns:
          The image, nominally in [-1, 1], and the mask of pixels that show the canonical frame.

        Raises:
          FacesemError: On an unknown method.
        """
        view = decomposition.view if view is None else view
        image = self.canonical_image(decomposition, light)
        warp = canonical_warp(decomposition.depth, view, self.config, method)
        return apply_warp(image, warp, self.config.align_corners), warp.mask
