r"""The latent of a given image, by gradient descent: inversion into W or W+.

For an image x and a generator G,

.. math::
  \min_w \; L_1(G(w), x) + \lambda_2 \, \overline{(G(w) - x)^2}
    + \lambda_p \, \tfrac{1}{d} \overline{\|M (w_l - m)\|^2}
    + \lambda_s \, \tfrac{1}{d} \overline{\|M (w_l - \bar w)\|^2}
    + \lambda_f \, D(G(w), x)

with L1 averaged over a pyramid of halved images, m and M the mean and the whitening matrix of the
latents that the mapping network gives (so that the third term is their squared Mahalanobis
distance over d: about 1 for a typical latent), and :math:`\bar w` the mean of the rows w_l of a
w_plus. The fourth term is zero in W; without it a w_plus fits an image with rows that no edit moves
together. D is the perceptual distance of `facesem_jax.semantics.perceptual`, left out without an
encoder.

Noise inputs are no unknowns here: the generators of this package store one noise map per layer,
which is a weight like others, so that an image is a function of w alone. To fit the maps too would
let them draw what no edit moves. (The bundled generator's noise strengths are 0.083 in the 4x4
layer and below 0.005 elsewhere.)

Source: Image2StyleGAN (Abdal et al. 2019, arXiv 1904.03189) inverts into W+; the Gaussian model of
the mapped latents is that of Zhu et al. (2020, arXiv 2012.09036), here without their inverse leaky
ReLU; the spread of the rows that of Tov et al. (2021, arXiv 2102.02766).
"""

import dataclasses
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from facesem_jax.checks import check_floating, check_images, check_shape, varies
from facesem_jax.errors import FacesemError
from facesem_jax.generators.encoder import Encoder
from facesem_jax.semantics.perceptual import feature_distance, unit_stages
from facesem_jax.training.losses import pyramid_l1
from facesem_jax.training.whitening import whitening

_dot = partial(jnp.dot, precision=jax.lax.Precision.HIGHEST)


class LatentPrior(NamedTuple):
    """A Gaussian fitted to latents.

    Attributes:
      mean: m (d,).
      whitener: M (d, d), symmetric: ``(w - m) M`` has unit covariance.
      deviation: Root mean square of the latents' standard deviations, a distance in W per
        coordinate.
    """

    mean: Float[Array, "d"]
    whitener: Float[Array, "d d"]
    deviation: Float[Array, ""]


@dataclasses.dataclass(frozen=True)
class InversionSettings:
    """How an image is inverted.

    Attributes:
      steps: Most steps of Adam.
      learning_rate: Its step, in units of the latents' standard deviation; it falls to a tenth by
        a cosine over ``steps``.
      l2_weight: Weight of the mean squared difference beside the mean absolute one.
      prior_weight: Weight of the squared Mahalanobis distance over d.
      spread_weight: Weight of the spread of the rows of a w_plus.
      perceptual_weight: Weight of the perceptual distance, where an encoder is given.
      patience: Stops after so many steps without progress.
      tolerance: Progress is a loss below ``1 - tolerance`` times the best one before.
    """

    steps: int = 500
    learning_rate: float = 0.05
    l2_weight: float = 1.0
    prior_weight: float = 1e-3
    spread_weight: float = 1e-2
    patience: int = 40
    tolerance: float = 1e-2
    perceptual_weight: float = 0.0

    def __post_init__(self):
        """Refuses numbers that mean nothing."""
        for name in ("steps", "patience"):
            if getattr(self, name) < 1:
                raise FacesemError(f"{name} is {getattr(self, name)}; expected at least 1.")
        if not 0 < self.learning_rate < float("inf"):
            raise FacesemError(
                f"learning_rate is {self.learning_rate}; expected a positive finite number."
            )
        weights = ("l2_weight", "prior_weight", "spread_weight", "perceptual_weight")
        for name in (*weights, "tolerance"):
            # A weight near float32's end would make the loss infinite.
            if not 0 <= getattr(self, name) <= 1e12:
                raise FacesemError(f"{name} is {getattr(self, name)}; expected 0 to 1e12.")


class InversionState(NamedTuple):
    """Where an inversion of n images stands.

    Attributes:
      w: Current latents, (n, d) or (n, L, d).
      optimizer: Adam's state.
      best: The latents with the lowest loss so far.
      best_loss: That loss.
      mark: The loss that the next progress is measured against.
      stale: Steps since the last progress.
      step: Steps taken.
      losses: Loss before every step; NaN for steps not taken.
    """

    w: Float[Array, "n *l d"]
    optimizer: optax.OptState
    best: Float[Array, "n *l d"]
    best_loss: Float[Array, "n"]
    mark: Float[Array, "n"]
    stale: Int[Array, "n"]
    step: Int[Array, "n"]
    losses: Float[Array, "n steps"]

    def done(self, settings: InversionSettings) -> Bool[np.ndarray, " n"]:
        """Images that are finished: no progress for a while, or no step left."""
        return np.asarray((self.stale >= settings.patience) | (self.step >= settings.steps))


class Inversion(NamedTuple):
    """What was found.

    Attributes:
      w: Latents, (n, d) or (n, L, d).
      images: The generator's images of them, clipped to [-1, 1].
      psnr: Peak signal-to-noise ratio in dB, see `psnr`.
      losses: Loss before every step; NaN for steps not taken.
      steps: Steps taken.
    """

    w: Float[np.ndarray, "n *l d"]
    images: Float[np.ndarray, "n h w 3"]
    psnr: Float[np.ndarray, " n"]
    losses: Float[np.ndarray, "n steps"]
    steps: Int[np.ndarray, " n"]


def fit_latent_prior(ws: Float[Array, "n d"]) -> LatentPrior:
    """Fits the Gaussian of `LatentPrior`.

    Variances below a thousandth of the largest are raised to it, so that directions in which the
    latents hardly vary are stiff, not forbidden.

    Args:
      ws: Mapped latents, at least 2, better several times d.

    Raises:
      FacesemError: On a wrong shape or dtype, fewer than 2 latents, or latents without variance.
    """
    check_shape("ws", ws, (None, None))
    check_floating("ws", ws)
    if ws.shape[0] < 2:
        raise FacesemError(f"ws holds {ws.shape[0]} latent(s); expected at least 2.")
    deviation = jnp.sqrt(jnp.mean(jnp.var(ws, axis=0)))
    if not (np.isfinite(deviation) and bool(varies(ws, axis=0).any())):
        raise FacesemError("the latents do not vary, or are not finite: they have no distribution.")
    mean, matrix, _ = whitening(jnp.asarray(ws))
    return LatentPrior(mean, matrix, deviation)


def mahalanobis(w: Float[Array, "*n d"], prior: LatentPrior) -> Float[Array, "*n"]:
    """Squared Mahalanobis distance over d: ``|(w - m) M|^2 / d``, about 1 for a typical latent."""
    return jnp.mean(jnp.square(_dot(w - prior.mean, prior.whitener)), axis=-1)


def psnr(images: Float[Array, "n h w 3"], targets: Float[Array, "n h w 3"]) -> Float[Array, "n"]:
    """Peak signal-to-noise ratio ``10 log10(2^2 / mean squared difference)`` in dB.

    Args:
      images: Clipped to [-1, 1] first.
      targets: In [-1, 1].
    """
    error = jnp.mean(jnp.square(jnp.clip(images, -1, 1) - targets), axis=(1, 2, 3))
    return 10 * jnp.log10(4 / error)


def start_inversion(
    w: Float[Array, "n *l d"], settings: InversionSettings = InversionSettings()
) -> InversionState:
    """The state before the first step.

    Args:
      w: Where to start: (n, d) inverts into W, (n, num_layers, d) into W+.
      settings: As for `stream_inversion`.

    Raises:
      FacesemError: On a wrong shape or dtype.
    """
    check_floating("w", w)
    if jnp.ndim(w) not in (2, 3):
        raise FacesemError(f"w has shape {jnp.shape(w)}; expected (n, d) or (n, num_layers, d).")
    w = jnp.asarray(w)
    n = w.shape[0]
    return InversionState(
        w,
        jax.vmap(_adam(settings).init)(w),
        w,
        jnp.full(n, jnp.inf),
        jnp.full(n, jnp.inf),
        jnp.zeros(n, jnp.int32),
        jnp.zeros(n, jnp.int32),
        jnp.full((n, settings.steps), jnp.nan),
    )


def stream_inversion(
    generator,
    images: Float[Array, "n h w 3"],
    start: Float[Array, "n *l d"],
    prior: LatentPrior,
    settings: InversionSettings = InversionSettings(),
    *,
    block: int = 25,
    encoder: Encoder | None = None,
) -> Iterator[InversionState]:
    """Inverts images, a block of steps at a time, so that progress can be shown.

    Every image is inverted by itself: in a batch it gets what it would get alone, up to rounding.

    Args:
      generator: Pytree with ``synthesis(w)`` to images in [-1, 1].
      images: In [-1, 1], at the generator's size.
      start: Where to start, see `start_inversion`.
      prior: Of the mapped latents, see `fit_latent_prior`.
      settings: Weights and stopping.
      block: Most steps between two states that are yielded.
      encoder: Sees the images for the perceptual distance; unused at weight 0.

    Yields:
      The state after every block; the last one is finished.

    Raises:
      FacesemError: On wrong shapes or dtypes, images or a start that is not finite.
    """
    check_images("images", images)
    state = start_inversion(start, settings)
    check_shape("start", state.w, (images.shape[0], *state.w.shape[1:-1], prior.mean.shape[0]))
    for name, array in (("images", images), ("start", state.w)):
        if not np.isfinite(np.asarray(array)).all():
            raise FacesemError(f"{name} holds NaN or infinite values.")
    drawn = jax.eval_shape(lambda g, w: g.synthesis(w), generator, state.w)
    check_shape("images", images, drawn.shape)
    levels = pyramid_levels(images.shape[1])
    encoder = encoder if settings.perceptual_weight > 0 else None
    while not state.done(settings).all():
        state = _advance(
            generator, encoder, jnp.asarray(images), prior, state, settings, block, levels
        )
        yield state


def invert(
    generator,
    images: Float[Array, "n h w 3"],
    start: Float[Array, "n *l d"],
    prior: LatentPrior,
    settings: InversionSettings = InversionSettings(),
    *,
    encoder: Encoder | None = None,
) -> Inversion:
    """Inverts images; see `stream_inversion` for arguments and errors."""
    *_, state = stream_inversion(
        generator, images, start, prior, settings, block=settings.steps, encoder=encoder
    )
    return inversion_result(generator, images, state)


def inversion_result(
    generator, images: Float[Array, "n h w 3"], state: InversionState
) -> Inversion:
    """What a state has found so far: its best latents and their images.

    Args:
      generator: As for `stream_inversion`.
      images: The inverted images.
      state: A state that was yielded.
    """
    drawn = jnp.clip(_synthesize(generator, state.best), -1, 1)
    found = (state.best, drawn, psnr(drawn, jnp.asarray(images)), state.losses, state.step)
    return Inversion(*map(np.asarray, found))


def pyramid_levels(size: int, most: int = 3) -> int:
    """Scales of the pyramid: as many halvings as the size allows, at most ``most`` scales."""
    levels = 1
    while levels < most and size % 2**levels == 0:
        levels += 1
    return levels


def _adam(settings: InversionSettings) -> optax.GradientTransformation:
    # Steps in units of the latents' deviation: the updates are multiplied by it.
    schedule = optax.cosine_decay_schedule(settings.learning_rate, settings.steps, alpha=0.1)
    return optax.adam(schedule, b1=0.9, b2=0.99)


def _loss(w, generator, encoder, seen, image, prior, settings: InversionSettings, levels: int):
    drawn = generator.synthesis(w[None])
    difference = drawn - image
    total = pyramid_l1(difference, levels) + settings.l2_weight * jnp.mean(jnp.square(difference))
    total = total + settings.prior_weight * jnp.mean(mahalanobis(w, prior))
    if w.ndim == 2:
        apart = _dot(w - jnp.mean(w, axis=0), prior.whitener)
        total = total + settings.spread_weight * jnp.mean(jnp.square(apart))
    if encoder is not None:
        apart = feature_distance(unit_stages(encoder, drawn), seen)
        total = total + settings.perceptual_weight * apart[0]
    return total


@partial(jax.jit, static_argnames=("settings", "block", "levels"))
def _advance(generator, encoder, images, prior, state, settings, block, levels):
    adam = _adam(settings)

    def one(image, state):
        last = jnp.minimum(state.step + block, settings.steps)
        seen = None if encoder is None else unit_stages(encoder, image[None])

        def unfinished(s):
            return (s.step < last) & (s.stale < settings.patience)

        def advance(s):
            loss, gradient = jax.value_and_grad(_loss)(
                s.w, generator, encoder, seen, image[None], prior, settings, levels
            )
            updates, optimizer = adam.update(gradient, s.optimizer)
            better = loss < s.best_loss
            progress = loss < s.mark * (1 - settings.tolerance)
            return InversionState(
                s.w + prior.deviation * updates,
                optimizer,
                jnp.where(better, s.w, s.best),
                jnp.where(better, loss, s.best_loss),
                jnp.where(progress, loss, s.mark),
                jnp.where(progress, 0, s.stale + 1),
                s.step + 1,
                s.losses.at[s.step].set(loss),
            )

        return jax.lax.while_loop(unfinished, advance, state)

    return jax.vmap(one)(images, state)


@jax.jit
def _synthesize(generator, w):
    return generator.synthesis(w)
