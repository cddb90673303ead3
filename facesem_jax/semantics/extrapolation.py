"""Guided extrapolation: faces that a data set lacks, along the direction of a semantic.

The use that Zheng et al. (CVPR 2021) name for their directions: balancing unbalanced data.
"""

import numpy as np
from jaxtyping import Float

from facesem_jax.checks import check_shape, varies
from facesem_jax.errors import FacesemError


def semantic_per_label(
    latents: Float[np.ndarray, "n d"],
    labels: Float[np.ndarray, " n"],
    gradient: Float[np.ndarray, " d"],
) -> float:
    r"""How far the decomposer's semantic ``s = v w`` moves per unit of somebody else's label.

    The slope of s on the label, ``cov(s, y) / var(y)``, and not the inverse of y's slope on s: a
    set of faces is narrow because it was selected by y, which biases the latter towards 0 and
    leaves the former alone.

    Args:
      latents: w of the faces.
      labels: Their labels y.
      gradient: v, the semantic's unit per unit of w.

    Raises:
      FacesemError: On wrong shapes, if the labels do not vary (by more than rounding), or the
        semantic does not follow them.

    Example:
      >>> w = np.random.default_rng(0).normal(size=(50, 2))
      >>> round(semantic_per_label(w, 3 * w[:, 0], np.array([1.5, 0.0])), 6)
      0.5
    """
    check_shape("latents", latents, (None, None))
    check_shape("labels", labels, (len(latents),))
    check_shape("gradient", gradient, (latents.shape[1],))
    s = latents @ gradient
    labels = np.asarray(labels, np.float64)
    if not varies(labels):
        raise FacesemError(
            f"the labels of {len(labels)} faces do not vary, or are not finite; nothing follows."
        )
    centred = labels - labels.mean()
    slope = float(np.mean(centred * s) / np.mean(centred**2))
    if not np.isfinite(slope) or slope <= 0:
        raise FacesemError(
            f"the direction does not follow the labels (slope {slope:.3g} over {len(labels)} "
            "faces); no face can be extrapolated along it."
        )
    return slope


def extrapolate(
    latents: Float[np.ndarray, "n d"],
    labels: Float[np.ndarray, " n"],
    targets: Float[np.ndarray, " n"],
    step: Float[np.ndarray, " d"],
    per_label: float,
) -> Float[np.ndarray, "n d"]:
    """Moves faces to where their label should be ``targets``: ``w + per_label (y' - y) step``.

    The new label is predicted, not measured.

    Args:
      latents: w of the faces.
      labels: Their labels y.
      targets: The labels y' wanted.
      step: Move of w by one unit of the semantic, such as `unit_step` or `decorrelated_steps` give.
      per_label: As `semantic_per_label` finds on faces with labels.

    Raises:
      FacesemError: On wrong shapes.

    Example:
      >>> w, step = np.zeros((2, 3)), np.array([0.0, 0.5, 0.0])
      >>> extrapolate(w, np.zeros(2), np.array([-10.0, 10.0]), step, per_label=0.2)
      array([[ 0., -1.,  0.],
             [ 0.,  1.,  0.]])
    """
    check_shape("latents", latents, (None, None))
    check_shape("labels", labels, (len(latents),))
    check_shape("targets", targets, (len(latents),))
    check_shape("step", step, (latents.shape[1],))
    return latents + (per_label * (targets - labels))[:, None] * step
