import pathlib

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from facesem_jax.decomposer import Decomposer, DecomposerConfig
from facesem_jax.decomposer.naming import AXES, unsup3d_key_map

DATA = pathlib.Path(__file__).parents[1] / "data" / "unsup3d.npz"
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


@pytest.fixture(scope="session")
def golden():
    """The reference's weights and intermediates; images NHWC."""
    with np.load(DATA) as data:
        arrays = dict(data)
    for name in (
        "image albedo conf_l1 conf_percl shading canonical_image "
        "grid_sample_align_false grid_sample_align_true"
    ).split():
        arrays[name] = arrays[name].transpose(0, 2, 3, 1)
    return arrays


@pytest.fixture(scope="session")
def golden_model(golden):
    """A decomposer with the reference's weights."""
    # Shapes alone: drawing the initial values takes longer than the tests.
    graph, state = nnx.split(nnx.eval_shape(lambda: Decomposer(GOLDEN_CONFIG, rngs=nnx.Rngs(0))))
    flat = dict(nnx.to_flat_state(state))
    table = unsup3d_key_map(GOLDEN_CONFIG)
    names = {name.removeprefix("state/") for name in golden if name.startswith("state/")}
    assert names == set(table)
    assert {path for path, _ in table.values()} == set(flat)
    for name, (path, kind) in table.items():
        value = jnp.asarray(golden[f"state/{name}"].transpose(AXES[kind]), jnp.float32)
        assert flat[path].shape == value.shape, name
        flat[path] = flat[path].replace(value)
    return nnx.merge(graph, nnx.from_flat_state(flat))
