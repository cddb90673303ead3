"""The mean surface of many heads in files of pictures, round by round (`pooled_surface`)."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from facesem_jax.decomposer.camera import Intrinsics
from facesem_jax.decomposer.config import DecomposerConfig
from facesem_jax.errors import FacesemError
from facesem_jax.training.canonical_texture import canonical_points
from facesem_jax.training.pooled_shading import (
    pooled_shading,
    shading_equations,
    shading_with_mirror_images,
)
from facesem_jax.training.pooled_surface import (
    PooledSurfaceConfig,
    parallax_equations,
    pooled_textures,
    surface_functions,
    surface_step,
    view_bins,
    with_mirror_images,
)

_AT_ONCE = 100
#: Share of the range of depth that the surface stays away from its ends.
_MARGIN = 0.01


def fitted_surface(
    images: Float[np.ndarray, "n h w 3"],
    view: Float[np.ndarray, "n 6"],
    light: Float[np.ndarray, "n 4"] | None,
    start: Float[np.ndarray, "h w"],
    sizes: DecomposerConfig,
    camera: Intrinsics,
    config: PooledSurfaceConfig,
) -> tuple[Float[np.ndarray, "h w"], list[float]]:
    """Fits the mean surface to pictures whose views are known roughly.

    Args:
      images: From `facesem_jax.training.canonical_texture.blurred`.
      view: Theirs, as in `facesem_jax.decomposer.Decomposition.view`.
      light: Theirs, (ambient, diffuse, d_x, d_y); needed if ``config.shading`` is above 0.
      start: Where the surface begins, scene units; left and right are made alike.
      sizes: Of the decomposer: the range of depth, and the centre of the rotation.
      camera: Intrinsics.
      config: How.

    Returns:
      The surface in scene units, left and right alike, and what was left before each round.

    Raises:
      FacesemError: If no point is seen from two sides, views have a wrong shape, or light is needed
        and not given.
    """
    if config.shading and light is None:
        raise FacesemError("shading needs the light of the pictures; give it, or shading 0.")
    start = np.asarray(start, np.float64)
    start = (start + start[:, ::-1]) / 2
    functions = surface_functions(len(start), config)
    bins, count = view_bins(view, config), config.shape[0] * config.shape[1]
    given = images, view, light, bins
    pieces = [
        jax.tree.map(lambda x, k=k: x[k : k + _AT_ONCE], given)
        for k in range(0, len(images), _AT_ONCE)
    ]

    @jax.jit
    def sums(points, images, view, light, bins):
        textures = pooled_textures(images, view, bins, points, sizes, camera, count + 1)
        # The last bin is of the views that are in none.
        textures = jax.tree.map(lambda x: x[:-1], textures)
        if not config.shading:
            return textures, None
        return textures, pooled_shading(images, view, light, points, sizes, camera)

    margin = _MARGIN * (sizes.max_depth - sizes.min_depth)
    bounds = sizes.min_depth + margin, sizes.max_depth - margin

    def surface(coefficients):
        return np.clip(start + np.tensordot(coefficients, functions.maps, 1), *bounds)

    coefficients, left = np.zeros(len(functions.bending)), []
    for _ in range(config.rounds):
        depth = jnp.asarray(surface(coefficients), jnp.float32)
        points = canonical_points(depth, camera, config.window)
        parts = [sums(points, *piece) for piece in pieces]
        textures, shading = jax.tree.map(
            lambda *x: sum(np.asarray(y, np.float64) for y in x), *parts
        )
        parallax = parallax_equations(
            with_mirror_images(textures, points, config), functions, config
        )
        if shading is not None:
            shading = shading_with_mirror_images(shading, points)
            shading = shading_equations(shading, functions, depth, camera, config)
        coefficients = surface_step(parallax, shading, functions, coefficients, config)
        left.append(parallax.left)
    return surface(coefficients).astype(np.float32), left
