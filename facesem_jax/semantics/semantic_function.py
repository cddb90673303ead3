"""The semantics of a latent as a pure function, ``f(w) = D(crop(G(w)))``.

Both functions are registered dataclasses: the generator and the decomposer are pytree children,
so ``jax.jit(jacobian)(f, w)`` takes the weights as arguments. Closing over them instead would bake
megabytes of constants into the compiled program (slow to compile, and recompiled for every model).
"""

import dataclasses
import math
from collections.abc import Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from facesem_jax.checks import check_floating, check_images, check_shape
from facesem_jax.decomposer.crop import crop_and_resize
from facesem_jax.errors import FacesemError
from facesem_jax.semantics.waist import Waist

_DEGREES = 180.0 / math.pi

# name -> (which head of the decomposer, column, factor from its unit to ours, our unit)
_SEMANTICS = {
    "pitch": ("view", 0, _DEGREES, "degrees"),
    "yaw": ("view", 1, _DEGREES, "degrees"),
    "roll": ("view", 2, _DEGREES, "degrees"),
    "translation_x": ("view", 3, 1.0, "depth units"),
    "translation_y": ("view", 4, 1.0, "depth units"),
    "translation_z": ("view", 5, 1.0, "depth units"),
    "ambient": ("light", 0, 1.0, "1"),
    "diffuse": ("light", 1, 1.0, "1"),
    "light_x": ("light", 2, 1.0, "1"),
    "light_y": ("light", 3, 1.0, "1"),
}

ENVIRONMENT_NAMES = ("pitch", "yaw", "roll", "ambient", "diffuse", "light_x", "light_y")
"""The global semantics listed by default; translations are available by name."""

ENVIRONMENT_UNITS = {name: entry[3] for name, entry in _SEMANTICS.items()}
"""Unit of every global semantic; "1" marks a pure number, "depth units" canonical depth's."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LocalSemantics:
    """Canonical albedo and depth of a latent; see `local_semantics`.

    Attributes:
      generator: Pytree with ``synthesis(w) -> images`` in [-1, 1].
      decomposer: Pytree with ``albedo(images)`` and ``depth(images)``; where it also has their
        halves ``albedo_code``, ``albedo_from_code`` and so on, as `Decomposer` does, Jacobians
        are cheaper.
      crop_box: The box that `crop_and_resize` cuts out, or ``None`` for none.
      size: Height and width in pixels that the decomposer reads.
      synthesis_resolution: Where synthesis stops; see `local_semantics`.
    """

    generator: Any
    decomposer: Any
    crop_box: Hashable = dataclasses.field(default=None, metadata={"static": True})
    size: int = dataclasses.field(default=64, metadata={"static": True})
    synthesis_resolution: int | None = dataclasses.field(default=None, metadata={"static": True})

    def __call__(self, w: Float[Array, "n d"]) -> Float[Array, "n h w 4"]:
        """Albedo (in [-1, 1]) in channels 0 to 2, depth (0.9 to 1.1) in channel 3."""
        images = framed_images(self, w)
        albedo = self.decomposer.albedo(images)
        depth = self.decomposer.depth(images)
        check_shape("depth", depth, albedo.shape[:3])
        return jnp.concatenate([albedo, depth[..., None]], axis=-1)

    @property
    def waist(self) -> Waist | None:
        """The same function cut at the decomposer's codes; ``None`` if it does not offer them."""
        d = self.decomposer
        if not hasattr(d, "albedo_code"):
            return None

        def encode(w):
            images = framed_images(self, w[None])
            return d.albedo_code(images)[0], d.depth_code(images)[0]

        def albedo(code):
            return d.albedo_from_code(code[None])[0]

        def depth(code):
            return d.depth_from_code(code[None])[0, :, :, None]

        return Waist(encode, (albedo, depth))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class EnvironmentSemantics:
    """Named scalars of pose and light of a latent; see `environment_semantics`.

    Attributes:
      generator: Pytree with ``synthesis(w) -> images`` in [-1, 1].
      decomposer: Pytree with ``view(images)`` and ``light(images)``.
      crop_box: The box that `crop_and_resize` cuts out, or ``None`` for none.
      size: Height and width in pixels that the decomposer reads.
      names: The semantics, in the order of the output's columns.
    """

    generator: Any
    decomposer: Any
    crop_box: Hashable = dataclasses.field(default=None, metadata={"static": True})
    size: int = dataclasses.field(default=64, metadata={"static": True})
    names: tuple[str, ...] = dataclasses.field(default=ENVIRONMENT_NAMES, metadata={"static": True})

    def __call__(self, w: Float[Array, "n d"]) -> Float[Array, "n k"]:
        """One column per name: angles in degrees, light as pure numbers."""
        images = framed_images(self, w)
        entries = [_SEMANTICS[name] for name in self.names]
        # Only the heads that are asked for run: their networks are what a gradient costs.
        heads = {
            h: getattr(self.decomposer, h)(images) for h in dict.fromkeys(e[0] for e in entries)
        }
        return jnp.stack(
            [heads[h][:, column] * factor for h, column, factor, _ in entries], axis=-1
        )


def local_semantics(
    generator,
    decomposer,
    crop_box: Hashable = None,
    *,
    size: int = 64,
    synthesis_resolution: int | None = None,
) -> LocalSemantics:
    """The pixel-level semantics ``w -> [albedo, depth]`` whose Jacobian is factorised.

    Args:
      generator: Pytree (an NNX module, say) with ``synthesis(w)`` giving images (n, H, W, 3)
        in [-1, 1]; w is (n, w_dim), or (n, num_layers, w_dim) where it takes w_plus.
      decomposer: Pytree with ``albedo(images)``, (n, h, w, 3) in [-1, 1], and
        ``depth(images)``, (n, h, w) in canonical units (0.9 to 1.1).
      crop_box: From the generator's framing to the decomposer's, hashable, as
        `facesem_jax.decomposer.crop.crop_and_resize` takes it; ``None`` when the image as it is
        fits.
      size: Height and width in pixels that the decomposer reads.
      synthesis_resolution: An approximation for large generators: synthesis stops at this
        resolution, because a small crop of a large image is almost determined by the first layers.
        Needs a generator whose ``synthesis(w, resolution)`` can stop (StyleGAN2), and a crop box.
        ``None`` for the whole image.

    Returns:
      A pure function and pytree, (n, w_dim) -> (n, h, w, 4).

    Raises:
      FacesemError: When called, if the images do not have the decomposer's size and no box is
        given, or if the generator cannot stop at that resolution.

    Source:
      Zheng et al. (CVPR 2021), local representations: ``J = d[albedo, depth]/dw``.

    Example:
      >>> generator, decomposer = facesem_jax.load_generator(), facesem_jax.load_decomposer()
      >>> f = local_semantics(generator, decomposer, size=64)
      >>> jax.eval_shape(f, jnp.zeros((2, 128))).shape  # Three of albedo, one of depth.
      (2, 64, 64, 4)
    """
    return LocalSemantics(generator, decomposer, crop_box, size, synthesis_resolution)


def environment_semantics(
    generator,
    decomposer,
    crop_box: Hashable = None,
    *,
    size: int = 64,
    names: Sequence[str] = ENVIRONMENT_NAMES,
) -> EnvironmentSemantics:
    """The global semantics ``w -> (pitch, yaw, ..., light_y)``.

    Args:
      generator: As for `local_semantics`.
      decomposer: Pytree with ``view(images)``, (n, 6): pitch, yaw, roll in radians and three
        translations; and ``light(images)``, (n, 4): ambient, diffuse, direction x and y.
      crop_box: As for `local_semantics`.
      size: Height and width in pixels that the decomposer reads.
      names: Which semantics, in the output's order; units in `ENVIRONMENT_UNITS`.

    Returns:
      A pure function and pytree, (n, w_dim) -> (n, k).

    Raises:
      FacesemError: On an unknown or repeated name, or none at all.

    Source:
      Zheng et al. (CVPR 2021), global representations.

    Example:
      >>> generator, decomposer = facesem_jax.load_generator(), facesem_jax.load_decomposer()
      >>> f = environment_semantics(generator, decomposer, size=64)
      >>> f.names[:3], jax.eval_shape(f, jnp.zeros((2, 128))).shape
      (('pitch', 'yaw', 'roll'), (2, 7))
    """
    names = (names,) if isinstance(names, str) else tuple(names)
    unknown = [name for name in names if name not in _SEMANTICS]
    if unknown or not names or len(set(names)) != len(names):
        raise FacesemError(
            f"names is {names}; expected one or more different names out of {tuple(_SEMANTICS)}."
        )
    return EnvironmentSemantics(generator, decomposer, crop_box, size, names)


def framed_images(f: LocalSemantics | EnvironmentSemantics, w: Array) -> Array:
    """Images of ``w`` in the framing and at the size that the decomposer reads."""
    check_floating("w", w)
    stop = getattr(f, "synthesis_resolution", None)
    images = f.generator.synthesis(w) if stop is None else _stopped(f.generator, w, stop)
    check_images("the generator's images", images)
    if f.crop_box is not None:
        return crop_and_resize(images, f.crop_box, f.size)
    if images.shape[1:3] != (f.size, f.size):
        raise FacesemError(
            f"The generator makes images of {images.shape[1]}x{images.shape[2]} pixels and the "
            f"decomposer reads {f.size}x{f.size}; give the crop_box that joins them."
        )
    return images


def _stopped(generator, w, resolution):
    if not hasattr(generator.synthesis, "to_rgbs"):
        raise FacesemError(
            f"{type(generator).__name__} draws no image before its last layer, so that "
            "synthesis_resolution cannot stop it; leave that option out."
        )
    return generator.synthesis(w, resolution)
