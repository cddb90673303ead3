import chex
import jax
import numpy as np
import pytest
from checkpoint_files import dcgan_state
from jax.tree_util import Partial

from convert.dcgan import read_dcgan
from convert.tensors import Tensors
from experiments import face_sources
from experiments.face_sources import stream_batches
from experiments.semantic_targets import anchored_batches
from facesem_jax.checkpoint import module_from_arrays
from facesem_jax.generators.dcgan import DCGAN
from facesem_jax.training.semantic_anchor import Projection

pytestmark = pytest.mark.usefixtures("quick_compilation")
COUNT, Z = 3, 5


@jax.tree_util.register_pytree_node_class
class MeanColour:
    """An anchor whose targets are a picture's mean colour, times an array of its own."""

    projection = Projection(None, np.zeros((1, 3)))

    def __init__(self, scale):
        self.scale = scale

    def tree_flatten(self):
        return (self.scale,), None

    @classmethod
    def tree_unflatten(cls, _, children):
        return cls(*children)

    def __call__(self, images):
        return self.scale * images.mean(axis=(1, 2))


@pytest.fixture
def batches(monkeypatch):
    converted = read_dcgan(Tensors(dcgan_state(2, Z, 3)), {})
    dcgan = module_from_arrays(DCGAN, converted.config, converted.arrays)
    monkeypatch.setattr(face_sources, "load_dcgan", lambda: dcgan)
    return lambda seed: stream_batches(seed, COUNT)


def test_the_stream_is_a_function_of_seed_and_step(batches):
    batch, z_dim = batches(4)
    faces = batch(7)
    assert z_dim == Z
    chex.assert_shape(faces.images, (COUNT, 64, 64, 3))
    chex.assert_shape(faces.targets, (COUNT, Z))
    chex.assert_trees_all_equal(batches(4)[0](7), faces)
    for other in (batch(8), batches(5)[0](7)):
        assert np.abs(other.targets - faces.targets).min() > 1e-6
        assert np.abs(other.images - faces.images).mean() > 0.01


def test_batches_are_drawn_within_a_compiled_program_with_their_arrays_as_arguments(batches):
    stream = batches(4)[0]
    anchored, targets = anchored_batches(stream, MeanColour(np.float32(2.0)))
    assert targets == 3
    weights = len(jax.tree.leaves(batches(4)[0].args))
    for batch, arrays in ((stream, weights), (anchored, weights + 1)):
        assert isinstance(batch, Partial)
        # As constants of the program, networks and whole sets of encodings would swell it.
        assert len(jax.tree.leaves(batch)) == arrays > 0
        drawn = jax.jit(lambda batch, step: batch(step))(batch, 7)
        chex.assert_trees_all_close(drawn, batch(7), rtol=1e-4, atol=1e-5)
    faces = anchored(7)
    np.testing.assert_allclose(faces.targets, 2 * faces.images.mean(axis=(1, 2)), rtol=1e-5)
