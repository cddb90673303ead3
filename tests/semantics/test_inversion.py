import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.semantics.inversion import (
    InversionSettings,
    fit_latent_prior,
    inversion_result,
    invert,
    mahalanobis,
    psnr,
    pyramid_levels,
    start_inversion,
    stream_inversion,
)

pytestmark = pytest.mark.usefixtures("quick_compilation")

D, SIZE, LAYERS = 6, 4, 3
PLAIN = InversionSettings(prior_weight=0.0, learning_rate=0.1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Linear:
    """An image linear in w, or in the rows of a w_plus with a share of the pixels each."""

    matrix: jax.Array

    def synthesis(self, w):
        if w.ndim == 3:
            w = jnp.einsum("nld,ld->nd", w, jnp.eye(LAYERS).repeat(D // LAYERS, axis=1))
        out = jnp.dot(w, self.matrix, precision=jax.lax.Precision.HIGHEST)
        return out.reshape(-1, SIZE, SIZE, 3)


@pytest.fixture(scope="module")
def generator():
    matrix = np.random.default_rng(0).normal(size=(D, SIZE * SIZE * 3)) * 0.02
    return Linear(jnp.asarray(matrix, jnp.float32))


@pytest.fixture(scope="module")
def latents():
    """Correlated latents, far from the origin."""
    rng = np.random.default_rng(1)
    mixed = rng.normal(size=(512, D)) @ (np.eye(D) + 0.3 * rng.normal(size=(D, D)))
    return jnp.asarray(mixed * 1.5 + 2, jnp.float32)


@pytest.fixture(scope="module")
def prior(latents):
    return fit_latent_prior(latents)


def test_the_distance_is_mahalanobis(latents, prior):
    w = np.asarray(latents, np.float64)
    centred = w - w.mean(axis=0)
    inverse = np.linalg.inv(centred.T @ centred / len(w))
    expected = np.einsum("ni,ij,nj->n", centred, inverse, centred) / D
    np.testing.assert_allclose(mahalanobis(latents, prior), expected, rtol=2e-4)
    np.testing.assert_allclose(np.mean(mahalanobis(latents, prior)), 1, rtol=1e-4)
    np.testing.assert_allclose(prior.deviation, np.sqrt(np.mean(w.var(axis=0))), rtol=1e-5)


def test_psnr_of_a_known_difference():
    images = jnp.zeros((2, 4, 4, 3))
    np.testing.assert_allclose(psnr(images, images + jnp.array([0.2, 0.02])[:, None, None, None]),
                               [20, 40], rtol=1e-5)  # fmt: skip
    # What lies outside the range is clipped first.
    np.testing.assert_allclose(psnr(images + 3, images + 0.8)[0], 20, rtol=1e-5)


def test_a_planted_latent_is_found(generator, latents, prior):
    targets = latents[:2]
    images = generator.synthesis(targets)
    start = jnp.repeat(prior.mean[None], 2, axis=0)
    found = invert(generator, images, start, prior, PLAIN)
    before = np.linalg.norm(start - targets, axis=1)
    assert (np.linalg.norm(found.w - targets, axis=1) < 0.02 * before).all()
    assert (found.steps <= PLAIN.steps).all() and found.images.shape == images.shape
    assert found.w.dtype == np.float32


def test_losses_are_those_of_the_steps_and_the_best_is_kept(generator, latents, prior):
    images = generator.synthesis(latents[:1])
    # Long steps: the loss jumps up and down.
    settings = dataclasses.replace(PLAIN, learning_rate=2.0, steps=30, patience=30)
    *_, state = stream_inversion(generator, images, prior.mean[None], prior, settings)
    losses = np.asarray(state.losses[0])
    assert np.isfinite(losses).all() and (np.diff(losses) > 0).any()
    assert float(state.best_loss[0]) == losses.min()
    drawn = np.asarray(generator.synthesis(state.best) - images, np.float64)
    halves = [drawn[0]]
    while len(halves) < pyramid_levels(SIZE):
        h = halves[-1]
        halves.append(h.reshape(len(h) // 2, 2, len(h) // 2, 2, 3).mean(axis=(1, 3)))
    expected = np.mean([np.abs(h).mean() for h in halves]) + np.mean(drawn**2)
    np.testing.assert_allclose(losses.min(), expected, rtol=1e-4)


def test_it_stops_where_nothing_is_gained(generator, latents, prior):
    images = generator.synthesis(latents[:1])
    settings = dataclasses.replace(PLAIN, patience=5)
    found = invert(generator, images, latents[:1], prior, settings)
    # The first step is progress (from infinity), five more are not.
    assert found.steps[0] == 6
    assert np.isfinite(found.losses[0, :6]).all() and np.isnan(found.losses[0, 6:]).all()
    np.testing.assert_array_equal(found.w, latents[:1])
    assert found.psnr[0] > 60


def test_blocks_and_batches_change_nothing(generator, latents, prior):
    images = generator.synthesis(latents[:2])
    start = jnp.stack([prior.mean, latents[1]])
    settings = dataclasses.replace(PLAIN, steps=40, patience=10)
    whole = invert(generator, images, start, prior, settings)
    assert whole.steps[1] < whole.steps[0] == 40
    states = list(stream_inversion(generator, images, start, prior, settings, block=7))
    assert [int(s.step[0]) for s in states] == [7, 14, 21, 28, 35, 40]
    np.testing.assert_allclose(
        inversion_result(generator, images, states[-1]).w, whole.w, atol=1e-5
    )
    alone = invert(generator, images[:1], start[:1], prior, settings)
    np.testing.assert_allclose(alone.w, whole.w[:1], atol=1e-4)


def test_the_prior_holds_latents_at_the_mean(generator, latents, prior):
    images = generator.synthesis(latents[:1] + 10)
    free = invert(generator, images, prior.mean[None], prior, PLAIN)
    settings = dataclasses.replace(PLAIN, prior_weight=100.0)
    held = invert(generator, images, prior.mean[None], prior, settings)
    assert float(mahalanobis(held.w, prior)[0]) < 0.05 < float(mahalanobis(free.w, prior)[0])


def test_the_spread_of_rows_is_weighed(generator, latents, prior):
    rows = jnp.stack([latents[:3]])
    images = generator.synthesis(rows)
    start = jnp.repeat(prior.mean[None, None], LAYERS, axis=1)
    spreads = []
    for weight in (0.0, 10.0):
        settings = dataclasses.replace(PLAIN, spread_weight=weight)
        found = invert(generator, images, start, prior, settings)
        assert found.w.shape == (1, LAYERS, D)
        spreads.append(np.std(found.w[0], axis=0).mean())
    assert spreads[1] < 0.1 * spreads[0]


def test_the_pyramid_fits_the_size():
    assert [pyramid_levels(s) for s in (1, 2, 3, 4, 6, 8, 64, 1024)] == [1, 2, 1, 3, 2, 3, 3, 3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"patience": 0}, "patience is 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"prior_weight": -1.0}, "prior_weight is -1.0"),
        ({"spread_weight": float("inf")}, "spread_weight is inf"),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(FacesemError, match=message):
        InversionSettings(**changes)


def test_bad_arrays_are_refused(generator, latents, prior):
    images = np.asarray(generator.synthesis(latents[:1]))

    def first(images, start):
        return next(stream_inversion(generator, images, start, prior))

    with pytest.raises(FacesemError, match="images has shape"):
        first(images[..., :2], latents[:1])
    with pytest.raises(FacesemError, match=r"images has shape \(1, 2, 2, 3\); expected \(1, 4, 4"):
        first(images[:, :2, :2], latents[:1])
    with pytest.raises(FacesemError, match="start has shape"):
        first(images, latents[:2])
    with pytest.raises(FacesemError, match="start holds NaN"):
        first(images, latents[:1] * np.nan)
    with pytest.raises(FacesemError, match="images holds NaN"):
        first(images * np.nan, latents[:1])
    with pytest.raises(FacesemError, match=r"w has shape \(6,\)"):
        start_inversion(latents[0])
    with pytest.raises(FacesemError, match="at least 2"):
        fit_latent_prior(latents[:1])
    with pytest.raises(FacesemError, match="do not vary"):
        fit_latent_prior(jnp.ones((4, D)))


def test_equal_latents_have_no_distribution():
    with pytest.raises(FacesemError, match="do not vary"):
        fit_latent_prior(jnp.full((300, 4), 0.1))
