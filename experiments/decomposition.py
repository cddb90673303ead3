"""Faces taken apart, and the sheet that shows it."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from experiments.localized_results import Faces
from facesem_jax.decomposer.decomposer import Decomposer
from facesem_jax.decomposer.shading import normals_from_depth
from facesem_jax.viz.sheets import decomposition_sheet


@jax.jit
def _decompose_and_draw(decomposer, images, release):
    parts = decomposer(images, release)
    drawn, _ = decomposer.render(parts)
    normals = normals_from_depth(parts.depth, decomposer.camera)
    return parts, drawn, normals, decomposer.canonical_image(parts)


def decompose_faces(
    decomposer: Decomposer, images: Float[np.ndarray, "m h w 3"], release: float = 1.0
) -> Faces:
    """Decomposes faces and draws what was found.

    Args:
      decomposer: The networks.
      images: In [-1, 1], in the decomposer's framing.
      release: Share of the depth network, see `Decomposer.depth`.
    """
    parts, drawn, normals, canonical = jax.tree.map(
        np.asarray, _decompose_and_draw(decomposer, jnp.asarray(images), release)
    )
    return Faces(
        images=np.asarray(images),
        reconstruction=drawn,
        albedo=parts.albedo,
        depth=parts.depth,
        normals=normals,
        canonical=canonical,
        view=np.degrees(parts.view[:, :3]),
        light=parts.light,
    )


def faces_sheet(faces: Faces, near: float = 0.9, far: float = 1.1) -> UInt8[np.ndarray, "H W 3"]:
    """A column per face, see `viz.sheets.decomposition_sheet`.

    Args:
      faces: The faces.
      near: Depth shown white, scene units.
      far: Depth shown black.
    """
    return decomposition_sheet(
        faces.images,
        faces.reconstruction,
        faces.albedo,
        faces.depth,
        faces.normals,
        faces.canonical,
        near,
        far,
    )
