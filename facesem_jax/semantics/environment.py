"""Directions of global semantics (pose, light): by regression, and exactly by mean gradients."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from facesem_jax.checks import check_floating, check_shape, varies
from facesem_jax.errors import FacesemError
from facesem_jax.semantics.jacobian import single_sample
from facesem_jax.semantics.moments import MomentStep, as_pytree, stream_moments

_PRECISION = jax.lax.Precision.HIGHEST
DEFAULT_RIDGE = 1e-4
"""Relative to the mean variance of w's coordinates: far below the noise, above rounding."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class EnvironmentDirections:
    """A linear model ``y = v w + intercept`` of k semantics.

    Attributes:
      names: The semantics.
      v: Directions in the rows: gradient of y, in the semantic's unit (degrees, say) per unit of w.
      intercept: In the semantic's unit.
      r2_train: Share of y's variance explained on the samples of the fit.
      r2_heldout: The same on samples that the fit has not seen.
    """

    names: tuple[str, ...] = dataclasses.field(metadata={"static": True})
    v: Float[Array, "k d"]
    intercept: Float[Array, "k"]
    r2_train: Float[Array, "k"]
    r2_heldout: Float[Array, "k"]


def ridge_regression(
    ws: Float[Array, "n d"], ys: Float[Array, "n k"], ridge: float = DEFAULT_RIDGE
) -> tuple[Float[Array, "k d"], Float[Array, "k"]]:
    r"""Least squares over the differences of *all* pairs, in its equal centred form.

    The objective over pairs, ridge-stabilised, with lambda = ridge * tr(C) / d:

    .. math::
      \min_v \tfrac{1}{2 n^2} \sum_{i, j} \|(y_i - y_j) - v (w_i - w_j)\|^2 + \lambda \|v\|^2

    Write e_i = y_i - v w_i. Then ``sum_ij |e_i - e_j|^2 = 2 n sum_i |e_i - mean(e)|^2`` (expand the
    square), so the pair term is ``(1/n) sum_i |yc_i - v wc_i|^2`` with centred wc and yc: n rows in
    place of n^2. Its normal equations are ``(C + lambda I) v^T = wc^T yc / n`` with
    ``C = wc^T wc / n``. They are solved through the singular values of wc, which does not square
    its condition number as forming C in float32 would. `pair_regression` is the same over chosen
    pairs.

    Args:
      ws: Latents.
      ys: Semantics, each in its own unit.
      ridge: Strength relative to the mean variance of w's coordinates, a pure number >= 0.

    Returns:
      v, the directions in the rows (unit of y per unit of w), and the intercept (unit of y).

    Raises:
      FacesemError: On wrong shapes, fewer than 2 samples, or a negative ridge.

    Source:
      Zheng et al. (CVPR 2021), global representations; the ridge is ours.
    """
    _check_samples(ws, ys)
    if ws.shape[0] < 2:
        raise FacesemError(f"ws holds {ws.shape[0]} sample(s); a regression needs at least 2.")
    w_mean, y_mean = jnp.mean(ws, axis=0), jnp.mean(ys, axis=0)
    v = _solve_ridge(ws - w_mean, ys - y_mean, ridge)
    return v, y_mean - jnp.dot(v, w_mean, precision=_PRECISION)


def pair_regression(
    ws: Float[Array, "n d"],
    ys: Float[Array, "n k"],
    pairs: Int[Array, "m 2"],
    ridge: float = DEFAULT_RIDGE,
) -> Float[Array, "k d"]:
    """Least squares over the differences of given pairs, the paper's form.

    ``min_v (1/m) sum_(i,j) |dY - v dW|^2 + ridge tr(C) / d |v|^2`` with C the second moment of dW.
    Over all pairs it equals `ridge_regression`, at n times the cost; over a random subset
    (`random_pairs`) it is a noisier estimate of the same.

    Args:
      ws: Latents.
      ys: Semantics, each in its own unit.
      pairs: Indices of the two samples of each pair.
      ridge: As for `ridge_regression`.

    Returns:
      v, the directions in the rows.

    Raises:
      FacesemError: On wrong shapes or a negative ridge.

    Source:
      Zheng et al. (CVPR 2021), global representations.
    """
    _check_samples(ws, ys)
    check_shape("pairs", pairs, (None, 2))
    i, j = pairs[:, 0], pairs[:, 1]
    return _solve_ridge(ws[i] - ws[j], ys[i] - ys[j], ridge)


def random_pairs(key: Array, num_samples: int, num_pairs: int) -> Int[Array, "m 2"]:
    """Draws pairs of different samples, uniformly and independently.

    Args:
      key: Random key.
      num_samples: How many samples there are, at least 2.
      num_pairs: How many pairs to draw.

    Returns:
      Indices, (num_pairs, 2).
    """
    key_i, key_j = jax.random.split(key)
    i = jax.random.randint(key_i, (num_pairs,), 0, num_samples)
    offset = jax.random.randint(key_j, (num_pairs,), 1, num_samples)
    return jnp.stack([i, (i + offset) % num_samples], axis=-1)


def r_squared(
    v: Float[Array, "k d"],
    intercept: Float[Array, "k"],
    ws: Float[Array, "n d"],
    ys: Float[Array, "n k"],
) -> Float[Array, "k"]:
    """Share of the variance explained, ``1 - sum (y - y_hat)^2 / sum (y - mean y)^2``.

    Args:
      v: Directions in the rows.
      intercept: Intercepts.
      ws: Latents.
      ys: Semantics.

    Returns:
      R^2 per semantic, at most 1; negative if worse than the mean; 0 for a constant semantic,
      where there is nothing to explain.

    Raises:
      FacesemError: On wrong shapes or dtypes.
    """
    _check_samples(ws, ys)
    check_shape("v", v, (ys.shape[1], ws.shape[1]))
    check_shape("intercept", intercept, (ys.shape[1],))
    residual = ys - jnp.dot(ws, v.T, precision=_PRECISION) - intercept
    total = jnp.sum(jnp.square(ys - jnp.mean(ys, axis=0)), axis=0)
    different = varies(ys, axis=0)
    share = jnp.sum(jnp.square(residual), axis=0) / jnp.where(different, total, 1)
    return jnp.where(different, 1 - share, 0)


def regression_directions(
    ws: Float[Array, "n d"],
    ys: Float[Array, "n k"],
    names: Sequence[str],
    *,
    ridge: float = DEFAULT_RIDGE,
    heldout: float = 0.25,
) -> EnvironmentDirections:
    """Fits the directions on the first samples and scores them on the last ones.

    Nothing is shuffled, so that the split needs no seed: give independent draws of w.

    Args:
      ws: Latents.
      ys: Semantics, one column per name, each in its own unit.
      names: The semantics.
      ridge: As for `ridge_regression`.
      heldout: Share of the samples kept for `r2_heldout`, between 0 and 1.

    Returns:
      The directions with their R^2.

    Raises:
      FacesemError: On wrong shapes, or if the split leaves fewer than 2 samples on a side.

    Example:
      >>> w = jax.random.normal(jax.random.key(0), (400, 3))
      >>> yaw = 20 * w[:, :1] + 5
      >>> found = regression_directions(w, yaw, ["yaw"])
      >>> round(float(found.v[0, 0])), round(float(found.r2_heldout[0]), 3)
      (20, 1.0)
    """
    _check_samples(ws, ys)
    check_shape("ys", ys, (None, len(names)))
    num = ws.shape[0]
    if not 0 < heldout < 1:
        raise FacesemError(f"heldout is {heldout}; expected a share between 0 and 1.")
    split = num - round(num * heldout)
    if split < 2 or num - split < 2:
        raise FacesemError(
            f"heldout {heldout} of {num} samples leaves {split} to fit and {num - split} to score; "
            "expected at least 2 each."
        )
    v, intercept = ridge_regression(ws[:split], ys[:split], ridge)
    return EnvironmentDirections(
        tuple(names),
        v,
        intercept,
        r_squared(v, intercept, ws[:split], ys[:split]),
        r_squared(v, intercept, ws[split:], ys[split:]),
    )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SampleGradient:
    """``w -> dy/dw`` (k, d) by reverse mode, as a pytree.

    k semantics are few and w_dim is large, so k pulled-back cotangents (some 2 to 3 forward passes
    each) cost far less than w_dim pushed tangents. The linearisation is shared by all k.

    Attributes:
      f: Function of a batch, (n, d) -> (n, k), and a pytree (such as `EnvironmentSemantics`).
    """

    f: Callable[[Float[Array, "n d"]], Float[Array, "n k"]]

    def __call__(self, w: Float[Array, "d"]) -> Float[Array, "k d"]:
        """The gradients at one sample, in the rows."""
        y, pull = jax.vjp(single_sample(self.f), w)
        (gradients,) = jax.vmap(pull)(jnp.eye(y.shape[0], dtype=y.dtype))
        return gradients


def stream_exact_directions(
    f: Callable[[Float[Array, "n d"]], Float[Array, "n k"]],
    ws: Float[Array, "n d"],
    *,
    batch_size: int = 8,
) -> Iterator[MomentStep]:
    r"""Streams the exact directions ``v = E_w[grad_w y(w)]`` over samples.

    ``last.moments.mean`` holds v, (k, d). By Stein's identity,
    ``Cov(w)^{-1} Cov(w, y) = E[grad y]`` for Gaussian w: the regression estimates the same
    direction there, and elsewhere the two differ by what w lacks in Gaussianity.

    Args:
      f: Pure function of a batch, (n, d) -> (n, k); best a pytree such as `EnvironmentSemantics`.
      ws: The samples.
      batch_size: Samples per step.

    Yields:
      A `MomentStep` per batch.

    Raises:
      FacesemError: On bad arguments; or, naming the samples' indices, if a gradient is not finite.

    Source:
      Stein, "Estimation of the mean of a multivariate normal distribution" (1981), lemma 2.

    Example:
      >>> w = jax.random.normal(jax.random.key(0), (8, 3))
      >>> *_, last = stream_exact_directions(lambda w: jnp.sin(w[:, :1]), w, batch_size=4)
      >>> bool(jnp.allclose(last.moments.mean[0], jnp.array([jnp.cos(w[:, 0]).mean(), 0, 0])))
      True
    """
    derivative = SampleGradient(as_pytree(f))
    yield from stream_moments(derivative, ws, batch_size=batch_size, name="gradient")


def direction_cosine(a: Float[Array, "k d"], b: Float[Array, "k d"]) -> Float[Array, "k"]:
    """Cosine between corresponding rows, such as regression and exact directions.

    Args:
      a: Directions in the rows.
      b: As many others.

    Returns:
      Cosines in [-1, 1]; 0 where a row is zero.
    """
    norms = jnp.linalg.norm(a, axis=-1) * jnp.linalg.norm(b, axis=-1)
    cosine = jnp.sum(a * b, axis=-1) / jnp.where(norms > 0, norms, 1)
    return jnp.where(norms > 0, jnp.clip(cosine, -1, 1), 0)


def _check_samples(ws: Array, ys: Array) -> None:
    check_shape("ws", ws, (None, None))
    check_shape("ys", ys, (ws.shape[0], None))
    check_floating("ws", ws)
    check_floating("ys", ys)


def _solve_ridge(dw: Array, dy: Array, ridge: float) -> Array:
    """``argmin_v mean |dy - v dw|^2 + ridge mean(dw^2) |v|^2`` by singular values."""
    if isinstance(ridge, (int, float, np.number)) and not ridge >= 0:
        raise FacesemError(f"ridge is {ridge}; expected a number >= 0.")
    left, s, right = jnp.linalg.svd(dw, full_matrices=False)
    # sum(s^2) / d = m tr(C) / d, so this is ridge * tr(C) / d times the m of the mean.
    penalty = ridge * jnp.sum(jnp.square(s)) / dw.shape[1]
    # Directions in which w does not vary get 0 (the minimum-norm solution), also at ridge 0. Their
    # singular values are rounding, some eps of the largest however many samples there are.
    known = s > max(16, min(dw.shape)) * jnp.finfo(s.dtype).eps * s[0]
    gain = jnp.where(known, s / jnp.where(known, jnp.square(s) + penalty, 1), 0)
    projected = jnp.dot(left.T, dy, precision=_PRECISION)
    return jnp.dot(projected.T * gain, right, precision=_PRECISION)
