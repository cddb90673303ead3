import itertools
import types

import jax.numpy as jnp
import numpy as np
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.semantics.regions import Atlas
from facesem_jax.training.semantic_anchor import (
    PARTS,
    AnchorConfig,
    Projection,
    SemanticAnchor,
    fit_projection,
    semantic_features,
    target_scale,
)

SIZE = 16
CONFIG = AnchorConfig(albedo=5, part=3, depth=4)
FEW, ALBEDO, DEPTH = 7, 3 * 8 * 8, 4 * 4


@pytest.fixture(scope="module")
def features():
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(600, 40)) @ rng.normal(size=(40, FEW + ALBEDO + DEPTH))
    return mixed * rng.uniform(0.01, 3, mixed.shape[1]) + 5


@pytest.fixture(scope="module")
def targets(features):
    mean, matrix = fit_projection(features, SIZE, CONFIG)
    return (features - mean) @ matrix


def test_targets_are_standardised_and_uncorrelated_within_a_kind(targets):
    assert targets.shape == (600, CONFIG.size)
    np.testing.assert_allclose(targets.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(targets.std(axis=0), 1, atol=1e-3)
    ends = np.cumsum([FEW, 5, 3, 3, 4])
    for begin, end in itertools.pairwise(ends):
        found = np.corrcoef(targets[:, begin:end].T)
        np.testing.assert_allclose(found, np.eye(end - begin), atol=1e-3)


def test_a_part_does_not_see_what_lies_elsewhere_nor_its_own_colour(features):
    _, matrix = fit_projection(features, SIZE, CONFIG)
    atlas = Atlas(8, 8)
    for k, names in enumerate(PARTS.values()):
        weight = sum(atlas.masks[atlas.names.index(n)] for n in names)
        own = matrix[FEW : FEW + ALBEDO, FEW + 5 + 3 * k :][:, :3].reshape(8, 8, 3, 3)
        # A change of every pixel's colour by the same amount moves no target of a part.
        np.testing.assert_allclose(own.sum(axis=(0, 1)), 0, atol=1e-4)
        size = np.abs(own).max(axis=(2, 3))
        assert size[weight < 1e-3].max(initial=0) < 0.01 * size.max()
        assert size[weight > 0.5].max() > 0.3 * size.max()


def test_features_are_the_decomposers_semantics():
    rng = np.random.default_rng(1)
    parts = types.SimpleNamespace(
        view=jnp.asarray(rng.normal(size=(2, 6))),
        light=jnp.asarray(rng.normal(size=(2, 4))),
        albedo=jnp.asarray(rng.normal(size=(2, SIZE, SIZE, 3))),
        depth=jnp.asarray(rng.normal(size=(2, SIZE, SIZE))),
    )
    found = semantic_features(lambda images: parts, jnp.zeros((2, SIZE, SIZE, 3)))
    assert found.shape == (2, FEW + ALBEDO + DEPTH)
    np.testing.assert_array_equal(found[:, :3], parts.view[:, :3])
    np.testing.assert_array_equal(found[:, 3:7], parts.light)
    np.testing.assert_allclose(found[:, 7:10], parts.albedo[:, :2, :2].mean(axis=(1, 2)), rtol=1e-5)
    np.testing.assert_allclose(found[:, -1], parts.depth[:, -4:, -4:].mean(axis=(1, 2)), rtol=1e-5)


def test_the_anchor_applies_the_projection(features):
    projection = fit_projection(features, SIZE, CONFIG)
    mean, matrix = projection
    parts = types.SimpleNamespace(
        view=jnp.zeros((1, 6)), light=jnp.ones((1, 4)),
        albedo=jnp.zeros((1, SIZE, SIZE, 3)), depth=jnp.ones((1, SIZE, SIZE)),
    )  # fmt: skip
    found = SemanticAnchor(lambda images: parts, projection)(jnp.zeros((1, SIZE, SIZE, 3)))
    flat = np.concatenate([np.zeros(3), np.ones(4), np.zeros(ALBEDO), np.ones(DEPTH)])
    np.testing.assert_allclose(found[0], (flat - mean) @ matrix, rtol=1e-4, atol=1e-4)


def test_weights_of_angles_and_mouth_reach_their_targets_alone(features):
    scale = target_scale(CONFIG, angles=9.0, mouth=4.0)
    np.testing.assert_array_equal(scale[:3], 3)
    mouth = np.zeros(CONFIG.size, bool)
    first = FEW + CONFIG.albedo
    mouth[first : first + CONFIG.part] = True  # The mouth is the first part.
    np.testing.assert_array_equal(scale[mouth], 2)
    np.testing.assert_array_equal(scale[3:][~mouth[3:]], 1)
    # Those columns read the atlas's mouth, and no other part of the albedo.
    _, matrix = fit_projection(features, SIZE, CONFIG)
    atlas = Atlas(SIZE // 2, SIZE // 2)
    there = sum(atlas.masks[atlas.names.index(name)] for name in PARTS["mouth"]) > 0
    albedo = matrix[FEW : FEW + ALBEDO, mouth].reshape(*there.shape, -1)
    assert np.abs(albedo[there]).max() > 0
    np.testing.assert_array_equal(albedo[~there], 0)


def test_a_weighted_anchor_gives_the_larger_targets():
    size = AnchorConfig().size
    rng = np.random.default_rng(1)
    mean, matrix = (
        rng.normal(size=FEW + ALBEDO + DEPTH),
        rng.normal(size=(FEW + ALBEDO + DEPTH, size)),
    )
    parts = types.SimpleNamespace(
        view=jnp.ones((1, 6)), light=jnp.ones((1, 4)),
        albedo=jnp.ones((1, SIZE, SIZE, 3)), depth=jnp.ones((1, SIZE, SIZE)),
    )  # fmt: skip
    anchor = SemanticAnchor(lambda images: parts, Projection(mean, matrix))
    images, weights = jnp.zeros((1, SIZE, SIZE, 3)), {"angles": 9.0, "mouth": 4.0}
    found, scale = anchor.weighted(**weights)(images), target_scale(**weights)
    np.testing.assert_allclose(found, anchor(images) * scale, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("wrong", [{"angles": -1.0}, {"mouth": float("nan")}])
def test_weights_that_cannot_be(wrong):
    with pytest.raises(FacesemError, match=next(iter(wrong))):
        target_scale(CONFIG, **wrong)


def test_errors(features):
    with pytest.raises(FacesemError, match="features has shape"):
        fit_projection(features[:, 1:], SIZE, CONFIG)
    with pytest.raises(FacesemError, match="fewer than 41 directions"):
        fit_projection(features, SIZE, AnchorConfig(albedo=41, part=3, depth=4))
    still = features.copy()
    still[:, 1] = 2.0
    with pytest.raises(FacesemError, match="the same for all faces"):
        fit_projection(still, SIZE, CONFIG)
