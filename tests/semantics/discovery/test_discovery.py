import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.semantics import discovery

D = 8

pytestmark = pytest.mark.usefixtures("quick_compilation")


def test_sefa_finds_the_styles_a_generator_follows(tiny_generator):
    weights = discovery.style_weights(tiny_generator)
    config = tiny_generator.config
    assert len(weights) == config.num_layers
    found = discovery.sefa_directions(weights, 3)
    A = np.concatenate([w / np.linalg.norm(w, axis=1, keepdims=True) for w in weights])
    # The leading direction changes the styles more than any of a thousand random ones.
    random = discovery.random_directions(config.w_dim, config.w_dim, seed=1).vectors
    moved = np.sum((A @ found.vectors.T) ** 2, axis=0)
    np.testing.assert_allclose(moved, found.scores, rtol=1e-6)
    assert moved[0] >= np.sum((A @ random.T) ** 2, axis=0).max()
    with pytest.raises(FacesemError, match="layers"):
        discovery.style_weights(tiny_generator, [99])


def test_ganspace_finds_the_planted_axes():
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(D, D)))[0]
    ws = (rng.normal(size=(4000, D)) * [5, 3, 1, 1, 1, 1, 1, 1]) @ axes.T + 7
    found = discovery.ganspace_directions(jnp.asarray(ws, jnp.float32), 2)
    assert np.abs(np.sum(found.vectors * axes[:, :2].T, axis=1)).min() > 0.99
    np.testing.assert_allclose(found.scores, [5, 3], rtol=0.05)


def test_robust_pca_recovers_low_rank_and_sparse():
    rng = np.random.default_rng(0)
    low = rng.normal(size=(60, 2)) @ rng.normal(size=(2, 60))
    sparse = np.where(rng.uniform(size=(60, 60)) < 0.05, 10 * rng.normal(size=(60, 60)), 0)
    found = discovery.robust_pca(low + sparse)
    assert found.rank == 2 and found.residual < 1e-6
    np.testing.assert_allclose(found.low_rank, low, atol=1e-3)
    np.testing.assert_allclose(found.sparse, sparse, atol=1e-3)


def test_low_rank_directions_spare_the_rest():
    rng = np.random.default_rng(0)
    region, rest = rng.normal(size=(40, D)), rng.normal(size=(40, D))
    region[:, 3:], rest[:, :2], rest[:, 5:] = 0, 0, 0
    grams = (region.T @ region / 40, rest.T @ rest / 40)
    found = discovery.low_rank_directions(*grams, 2, weight=10.0, name="mouth")
    assert found.names[0] == "mouth-1"
    np.testing.assert_allclose(rest @ found.vectors.T, 0, atol=1e-8)
    assert np.linalg.norm(region @ found.vectors.T, axis=0).min() > 1
    with pytest.raises(FacesemError, match="without the rest"):
        rest = np.diag(np.arange(D, 0.0, -1))  # Only the last axis is left.
        discovery.low_rank_directions(np.diag([1.0] + [0.0] * (D - 1)), rest, 2, weight=10.0)


@pytest.mark.whole_run
def test_grams_of_a_generator_add_up(tiny_generator, tiny_decomposer):
    from facesem_jax.semantics import environment_semantics, jacobian

    f = discovery.PictureSemantics(environment_semantics(tiny_generator, tiny_decomposer, size=32))
    w = tiny_generator.mapping(jax.random.normal(jax.random.key(0), (1, 16)))
    masks = np.zeros((3, 32, 32), bool)
    masks[0, :16], masks[1, 16:], masks[2] = True, True, True
    grams = discovery.region_grams(f, w, masks)
    np.testing.assert_allclose(grams[0] + grams[1], grams[2], rtol=1e-3, atol=1e-6)
    J = jacobian(lambda w: f(w[None])[0], w[0]).reshape(-1, 16)
    np.testing.assert_allclose(grams[2], J.T @ J, rtol=1e-3, atol=1e-5)


def test_pca_is_the_best_approximation():
    J = np.random.default_rng(0).normal(size=(30, D))
    found = discovery.jacobian_pca_directions(J, 3)
    best = np.sum(np.linalg.svd(J, compute_uv=False)[:3] ** 2)
    assert np.sum((J @ found.vectors.T) ** 2) == pytest.approx(best)


def test_ica_separates_planted_sources():
    rng = np.random.default_rng(0)
    sources = rng.laplace(size=(5000, 3))
    mixing = rng.normal(size=(D, 3))
    found = discovery.jacobian_ica_directions(sources @ mixing.T, 3)
    unit = mixing / np.linalg.norm(mixing, axis=0)
    cosines = np.abs(found.vectors @ unit)
    assert cosines.max(axis=1).min() > 0.99 and len(set(cosines.argmax(axis=1))) == 3


def test_random_directions_are_orthonormal_and_seeded():
    one, again, other = (discovery.random_directions(D, 5, s).vectors for s in (1, 1, 2))
    np.testing.assert_allclose(one @ one.T, np.eye(5), atol=1e-12)
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0.1


def test_regressed_and_exact_directions_agree_on_a_linear_semantic():
    rng = np.random.default_rng(0)
    v = rng.normal(size=(2, D))
    ws = jnp.asarray(rng.normal(size=(200, D)), jnp.float32)
    fit = discovery.regressed_directions(ws, ws @ v.T, ["yaw", "light_x"])
    unit = v / np.linalg.norm(v, axis=1, keepdims=True)
    np.testing.assert_allclose(fit.vectors, unit, atol=1e-3)
    exact = discovery.environment_edit_directions(jnp.asarray(v), ["yaw", "light_x"], np.ones(2))
    off = exact.vectors @ v.T
    assert off[0, 0] > 0 and abs(off[0, 1]) < 1e-5


@pytest.mark.parametrize("count", [0, D + 1])
def test_counts_out_of_range_are_refused(count):
    J = np.eye(D) + 1
    for find in (
        lambda: discovery.random_directions(D, count),
        lambda: discovery.jacobian_pca_directions(J, count),
        lambda: discovery.jacobian_ica_directions(J, count),
        lambda: discovery.sefa_directions([J], count),
    ):
        with pytest.raises(FacesemError, match="count"):
            find()


def test_a_direction_that_is_zero_is_refused():
    with pytest.raises(FacesemError, match="a-2 is zero"):
        discovery.discovered(np.array([[1.0, 0.0], [0.0, 0.0]]), "a", np.ones(2))


def test_no_more_principal_directions_than_the_jacobian_has():
    with pytest.raises(FacesemError, match="expected 1 to 3"):
        discovery.jacobian_pca_directions(np.random.default_rng(0).normal(size=(3, 8)), 5)
