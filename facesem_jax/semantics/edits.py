"""Edits of a latent, each in the unit of the semantic that it moves."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facesem_jax.checks import check_floating, check_shape
from facesem_jax.errors import FacesemError


def unit_step(v: Float[Array, "... d"]) -> Float[Array, "... d"]:
    r"""The shortest step that moves a semantic by one unit, ``v / ||v||^2``.

    ``y(w + t v / ||v||^2) = y(w) + t v.v / ||v||^2 = y(w) + t`` to first order: t is in y's own
    unit (degrees for an angle).

    Args:
      v: Gradient of the semantic (its unit per unit of w); one, or several in the rows.

    Returns:
      Steps of the same shape, in units of w per unit of the semantic.

    Raises:
      FacesemError: If a direction is zero or not finite (not checked under jit).

    Example:
      >>> unit_step(jnp.array([0.0, 4.0])).tolist()
      [0.0, 0.25]
    """
    check_floating("v", v)
    # Scaled by the largest entry first: squares of entries below 1e-19 underflow in float32.
    largest = jnp.max(jnp.abs(v), axis=-1, keepdims=True)
    if not isinstance(v, jax.core.Tracer):
        bad = ~(np.isfinite(largest) & (np.asarray(largest) > 0))
        if bad.any():
            raise FacesemError(
                f"Direction {int(np.flatnonzero(bad)[0])} is zero or not finite: the semantic does "
                "not depend on w, so no edit moves it. Leave it out."
            )
    scaled = v / largest
    return scaled / jnp.sum(jnp.square(scaled), axis=-1, keepdims=True) / largest


def decorrelated_steps(
    v: Float[Array, "k d"], names: Sequence[str] | None = None, *, rtol: float | None = None
) -> Float[Array, "k d"]:
    r"""Steps that each move one semantic by one unit and every other listed one by 0.

    Row i solves ``min ||d|| s.t. V d = e_i``, the minimum-norm edit; all rows together are the
    transposed pseudo-inverse of V. Rows are brought to unit length first, since degrees and pure
    numbers differ by orders of magnitude, and solved by a QR factorisation of V^T, which does not
    square the condition number as the Gram matrix V V^T would:
    ``V^T = Q R  =>  V d = R^T (Q^T d) = e_i  =>  d = Q R^{-T} e_i``.

    Args:
      v: Gradients of the semantics in the rows.
      names: Their names, for errors.
      rtol: Singular values of the normalised V below ``rtol`` times the largest count as zero;
        ``None`` takes ``max(k, d)`` times the dtype's epsilon.

    Returns:
      Steps in the rows, in units of w per unit of the semantic.

    Raises:
      FacesemError: If a direction is zero, or the directions are linearly dependent (names the two
        that coincide most); neither is checked under jit.

    Example:
      >>> v = jnp.array([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
      >>> (decorrelated_steps(v) @ v.T).round(5).tolist()  # Its own by 1, the other by 0.
      [[1.0, 0.0], [0.0, 1.0]]
    """
    check_shape("v", v, (None, None))
    check_floating("v", v)
    k, d = v.shape
    names = [f"direction {i}" for i in range(k)] if names is None else list(names)
    if len(names) != k:
        raise FacesemError(f"names holds {len(names)} names for the {k} directions of v.")
    if not 1 <= k <= d:
        raise FacesemError(
            f"{k} directions in {d} dimensions; expected at least 1, and no more than can be moved "
            "independently."
        )
    # By the largest entry first: squares of very small or large entries would leave the range.
    peak = jnp.max(jnp.abs(v), axis=-1, keepdims=True)
    norm = peak * jnp.linalg.norm(v / peak, axis=-1, keepdims=True)
    unit = v / norm
    if not isinstance(v, jax.core.Tracer):
        _check_independent(np.asarray(unit), names, rtol)
    q, r = jnp.linalg.qr(unit.T)
    # Step i is column i of Q R^{-T}, so all of them in the rows are R^{-1} Q^T. A row of V longer
    # by a factor needs a step shorter by it.
    return jax.scipy.linalg.solve_triangular(r, q.T, lower=False) / norm


def apply_edit(
    w: Float[Array, "*n d"], step: Float[Array, "d"], amount: float | Float[Array, "n"]
) -> Float[Array, "*n d"]:
    """Moves latents: ``w + amount * step``.

    With a step of `unit_step` or `decorrelated_steps` the amount is in the semantic's unit; with a
    unit vector v_p of a local component (``w + t v_p``) it is a distance in W. The direction of W
    is added to every layer of a w_plus.

    Args:
      w: Latents, (d,), (n, d), or w_plus (n, num_layers, d).
      step: The step per unit of ``amount``.
      amount: One number, or one per sample.

    Returns:
      Moved latents of w's shape.

    Raises:
      FacesemError: On wrong shapes or dtypes.

    Example:
      >>> apply_edit(jnp.zeros((2, 3)), unit_step(jnp.array([2.0, 0.0, 0.0])), 10.0).tolist()
      [[5.0, 0.0, 0.0], [5.0, 0.0, 0.0]]
    """
    _check_latents(w, step)
    amount = jnp.asarray(amount, jnp.result_type(w))
    if amount.ndim:
        check_shape("amount", amount, (w.shape[0] if w.ndim > 1 else None,))
        if w.ndim == 1:
            raise FacesemError("amount has one number per sample, but w is one sample; see sweep.")
        amount = amount.reshape(-1, *[1] * (w.ndim - 1))
    return w + amount * step


def sweep(
    w: Float[Array, "*n d"], step: Float[Array, "d"], amounts: Float[Array, "t"]
) -> Float[Array, "t *n d"]:
    """Moves every latent by every amount, as a manipulation strip shows them.

    Args:
      w: Latents, (d,), (n, d), or w_plus (n, num_layers, d).
      step: The step per unit of the amounts.
      amounts: Amounts; see `apply_edit` for the unit.

    Returns:
      Moved latents, the amounts along the first axis.

    Raises:
      FacesemError: On wrong shapes or dtypes.

    Example:
      >>> sweep(jnp.zeros((5, 3)), jnp.ones(3), jnp.array([-1.0, 0.0, 1.0])).shape
      (3, 5, 3)
    """
    _check_latents(w, step)
    amounts = jnp.asarray(amounts, jnp.result_type(w))
    check_shape("amounts", amounts, (None,))
    return w + amounts.reshape(-1, *[1] * w.ndim) * step


def _check_latents(w: Array, step: Array) -> None:
    check_floating("w", w)
    check_floating("step", step)
    if not 1 <= jnp.ndim(w) <= 3:
        raise FacesemError(f"w has shape {w.shape}; expected (d,), (n, d) or (n, num_layers, d).")
    check_shape("step", step, (w.shape[-1],))


def _check_independent(unit: np.ndarray, names: Sequence[str], rtol: float | None) -> None:
    finite = np.isfinite(unit).all(axis=1)
    if not finite.all():
        raise FacesemError(
            f"The direction of {names[int(np.argmin(finite))]} is zero or not finite: no edit "
            "moves it. Leave it out."
        )
    singular = np.linalg.svd(unit, compute_uv=False)
    if rtol is None:
        rtol = max(unit.shape) * float(np.finfo(unit.dtype).eps)
    if singular[-1] <= rtol * singular[0]:
        cosine = unit @ unit.T
        np.fill_diagonal(cosine, 0)
        i, j = np.unravel_index(np.argmax(np.abs(cosine)), cosine.shape)
        raise FacesemError(
            f"The directions are linearly dependent, {names[i]} and {names[j]} the most alike "
            f"(cosine {cosine[i, j]:.6f}): one cannot move without the other. Leave one out."
        )
