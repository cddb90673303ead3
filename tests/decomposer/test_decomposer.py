import json
import pathlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from facesem_jax.decomposer import Decomposer, DecomposerConfig, Decomposition
from facesem_jax.decomposer.decomposer import depth_prior
from facesem_jax.decomposer.naming import AXES, unsup3d_key_map
from facesem_jax.errors import FacesemError

DATA = pathlib.Path(__file__).parents[1] / "data" / "unsup3d.npz"
ATOL = 1e-4
GOLDEN_CONFIG = DecomposerConfig(
    depth_nf=16,
    depth_zdim=8,
    albedo_nf=16,
    albedo_zdim=8,
    light_nf=4,
    view_nf=4,
    confidence_nf=16,
    confidence_zdim=8,
)
SMALL = DecomposerConfig(
    image_size=32,
    depth_nf=4,
    depth_zdim=8,
    albedo_nf=4,
    albedo_zdim=8,
    light_nf=4,
    view_nf=4,
    confidence_nf=4,
    confidence_zdim=8,
    norm_groups=2,
    depth_prior=(0.6, -1.3, 22.0, 28.0),
    align_corners=True,
)


@pytest.fixture(scope="module")
def golden():
    with np.load(DATA) as data:
        return dict(data)


@pytest.fixture(scope="module")
def model(golden):
    # Shapes alone: drawing the initial values takes longer than the tests.
    model = nnx.eval_shape(lambda: Decomposer(GOLDEN_CONFIG, rngs=nnx.Rngs(0)))
    graph, state = nnx.split(model)
    flat = dict(nnx.to_flat_state(state))
    table = unsup3d_key_map(GOLDEN_CONFIG)
    names = {k.removeprefix("state/") for k in golden if k.startswith("state/")}
    assert names == set(table)
    assert {path for path, _ in table.values()} == set(flat)
    for name, (path, kind) in table.items():
        value = jnp.asarray(golden[f"state/{name}"].transpose(AXES[kind]), jnp.float32)
        assert flat[path].shape == value.shape, name
        flat[path] = flat[path].replace(value)
    return nnx.merge(graph, nnx.from_flat_state(flat))


@pytest.fixture(scope="module")
def decomposition(golden, model):
    images = jnp.asarray(golden["image"].transpose(0, 2, 3, 1))
    return nnx.jit(lambda m, x: m(x))(model, images)


def nhwc(array):
    return array.transpose(0, 2, 3, 1)


def test_decomposition_matches_the_reference(golden, decomposition):
    np.testing.assert_allclose(decomposition.depth, golden["canonical_depth"], atol=ATOL)
    np.testing.assert_allclose(decomposition.albedo, nhwc(golden["albedo"]), atol=ATOL)
    np.testing.assert_allclose(decomposition.view, golden["view"], atol=ATOL)
    np.testing.assert_allclose(decomposition.confidence_l1, nhwc(golden["conf_l1"]), atol=ATOL)
    np.testing.assert_allclose(
        decomposition.confidence_perceptual, nhwc(golden["conf_percl"]), atol=ATOL
    )
    light = np.concatenate(
        [golden["light_ambient"], golden["light_diffuse"], golden["light_raw"][:, 2:]], -1
    )
    np.testing.assert_allclose(decomposition.light, light, atol=ATOL)


def test_canonical_image_matches_the_reference(golden, model, decomposition):
    image = model.canonical_image(decomposition)
    np.testing.assert_allclose(image, nhwc(golden["canonical_image"]), atol=ATOL)
