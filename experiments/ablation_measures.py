"""What `experiments.decomposer_ablation` measures of a trained decomposer."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from experiments.ablation_faces import EDITS, HeldOut
from experiments.agreement import agreement
from experiments.face_measures import depth_curvature, in_central_third, nearest_points
from experiments.run_record import finite
from facesem_jax.checks import check_shape
from facesem_jax.decomposer import Decomposer
from facesem_jax.metrics import linear_predictability
from facesem_jax.training.decomposer_loss import photometric_window
from facesem_jax.training.losses import masked_mean

_BATCH = 64
_ANGLES = ("pitch", "yaw", "roll")
# The training's own window on what counts as the face.
_WINDOW = (22.0, 28.0)
#: Least correlation of yaw with the landmarks' that says which sign it has.
CLEAR = 0.1


@jax.jit
def _decompose(decomposer, images):
    parts = decomposer(images)
    drawn, mask = decomposer.render(parts)

    def error(drawn, image, mask):
        return masked_mean(jnp.abs(drawn - image)[None], mask[None])

    return {
        "angles": jnp.degrees(parts.view[:, :3]),
        "depth": parts.depth,
        "albedo": parts.albedo,
        "error": jax.vmap(error)(jnp.clip(drawn, -1, 1), images, mask.astype(images.dtype)),
    }


def decomposed(
    decomposer: Decomposer, images: Float[np.ndarray, "n h w 3"]
) -> dict[str, np.ndarray]:
    """Angles in degrees (n, 3), depth, albedo, and each reconstruction's mean absolute error.

    Args:
      decomposer: The networks.
      images: In [-1, 1].
    """
    pieces = []
    for start in range(0, len(images), _BATCH):
        piece = np.asarray(images[start : start + _BATCH], np.float32)
        padded = np.pad(piece, ((0, _BATCH - len(piece)), (0, 0), (0, 0), (0, 0)))
        found = _decompose(decomposer, padded)
        pieces.append({k: np.asarray(v)[: len(piece)] for k, v in found.items()})
    return {k: np.concatenate([p[k] for p in pieces]) for k in pieces[0]}


def relative_change(
    pairs: Float[np.ndarray, "m 2 *b"], weight: Float[np.ndarray, "*b"]
) -> float | None:
    r"""How far two maps of one face are apart, as a share of how far two faces' are.

    .. math:: \frac{\sum_i \langle |x_i - x'_i| \rangle}{\sum_i \langle |x_i - x_{i+1}| \rangle}

    Args:
      pairs: Maps of m faces, two each.
      weight: Of every place in the means.

    Returns:
      0 for maps that depend on the face alone, 1 for such as tell two pictures of a face apart as
      they do two faces; ``None`` where all faces have the same map.
    """
    pairs = np.asarray(pairs, np.float64)
    check_shape("pairs", pairs, (None, 2, *np.shape(weight)))
    first, second = pairs[:, 0], pairs[:, 1]
    own = np.sum(np.abs(first - second) * weight)
    strangers = np.sum(np.abs(first - np.roll(first, 1, axis=0)) * weight)
    scale = np.sum(np.abs(first) * weight)
    # Rounding alone makes no difference between faces.
    return float(own / strangers) if strangers > 1e-6 * scale else None


def measure(decomposer: Decomposer, faces: HeldOut) -> dict[str, float | None]:
    """Everything that the table shows.

    Args:
      decomposer: The networks.
      faces: The held-out faces.

    Returns:
      By name: ``error``, the reconstruction's mean absolute error in units of [-1, 1];
      ``convex_faces``, the share of faces whose depth bends as a face's and is nearest in the
      central third, and ``curvature``, the mean of `depth_curvature`; ``yaw``, ``pitch``, ``roll``,
      correlations with the landmarks' angles, and ``yaw_slope``; ``yaw_r2``, the share of the
      landmarks' yaw that a line in the decomposer's explains; ``yaw_linear_r2``, the held-out R^2
      of the decomposer's yaw from z; and of either edit the `relative_change` of the maps,
      ``albedo_pose`` and so on. ``None`` for what could not be measured.
    """
    found = decomposed(decomposer, faces.images)
    convex = (depth_curvature(found["depth"]) > 0) & in_central_third(
        nearest_points(found["depth"])
    )
    result = {
        "error": float(found["error"].mean()),
        "convex_faces": float(convex.mean()),
        "curvature": float(depth_curvature(found["depth"]).mean()),
        "yaw_spread": float(found["angles"][:, 1].std()),
    }
    if faces.landmarks:
        follows = {
            k: agreement(found["angles"][:, i], faces.landmarks[k]) for i, k in enumerate(_ANGLES)
        }
        result |= {k: finite(one.correlation) for k, one in follows.items()}
        result["yaw_slope"] = finite(follows["yaw"].slope)
        result["yaw_r2"] = finite(follows["yaw"].correlation ** 2)
    linear = linear_predictability(faces.latents, {"yaw": found["angles"][:, 1]})
    result["yaw_linear_r2"] = finite(linear["yaw"].mean)
    size = faces.images.shape[1]
    window = np.asarray(photometric_window(size, _WINDOW), np.float64)
    for name, pictures in zip(EDITS, faces.edited, strict=True):
        maps = decomposed(decomposer, pictures.reshape(-1, *pictures.shape[2:]))
        for kind in ("albedo", "depth"):
            pairs = maps[kind].reshape(len(pictures), 2, *maps[kind].shape[1:])
            weight = window[..., None] * np.ones(3) if kind == "albedo" else window
            result[f"{kind}_{name}"] = relative_change(pairs, weight)
    return result


def summary(results: Sequence[Mapping]) -> dict:
    """One variant's seeds together.

    Args:
      results: From `measure`; of a training that diverged, without numbers.

    Returns:
      ``seeds``, ``diverged``; ``convex_seeds``, the share of seeds with more than half of the faces
      convex; ``yaw_sign``, the share with the landmarks' sign of yaw (a correlation above `CLEAR`;
      ``None`` without landmarks); and of every number its mean and standard deviation over the
      seeds that have it, ``None`` where none has, the latter also where only one has.
    """
    finished = [r for r in results if "error" in r]
    names = dict.fromkeys(k for r in finished for k in r)
    numbers = {}
    for name in names:
        values = [r[name] for r in finished if r.get(name) is not None]
        numbers[name] = {
            "mean": float(np.mean(values)) if values else None,
            "spread": float(np.std(values)) if len(values) > 1 else None,
        }
    measured = any("yaw" in r for r in finished)
    count = len(results)
    return {
        "seeds": count,
        "diverged": count - len(finished),
        "convex_seeds": sum(r["convex_faces"] > 0.5 for r in finished) / count,
        "yaw_sign": sum((r.get("yaw") or 0) > CLEAR for r in finished) / count
        if measured
        else None,
        **numbers,
    }
