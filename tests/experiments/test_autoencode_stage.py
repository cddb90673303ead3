import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments import autoencode_stage, mapping_stage
from experiments.autoencode_stage import WhiteSpace, previous_state, white_space
from experiments.generator_recipe import RECIPE, Options
from facesem_jax.errors import FacesemError
from facesem_jax.generators.config import StyleGAN2Config
from facesem_jax.generators.encoder import Encoder, EncoderConfig
from facesem_jax.generators.stylegan2 import Synthesis
from facesem_jax.training.autoencode import Faces

pytestmark = pytest.mark.usefixtures("quick_compilation")


def test_a_stage_takes_its_recipe_where_nothing_is_given():
    assert Options(stage="flow").recipe().steps == RECIPE["flow"][0]
    assert Options(stage="flow", steps=3).recipe().steps == 3


@pytest.mark.whole_run
def test_later_stages_take_given_networks_in_the_place_of_the_first_ones(
    monkeypatch, tmp_path, random_module
):
    encoder = random_module(
        lambda: Encoder(EncoderConfig(8, (4, 4), 6, groups=2), rngs=nnx.Rngs(0))
    )
    config = StyleGAN2Config(8, (4, 4), z_dim=5, w_dim=6, mapping_layers=1)
    synthesis = random_module(lambda: Synthesis(config, rngs=nnx.Rngs(1)), unit_kernels=True)
    asked = []

    def load(module):
        return lambda name: asked.append(name) or module

    def batch(step):
        images = jax.random.uniform(jax.random.key(step), (64, 8, 8, 3), minval=-1)
        return Faces(images, jnp.zeros((64, 1)))

    digest = "0123456789abcdef"
    monkeypatch.setattr(autoencode_stage, "resolve", lambda name, role: f"{name}/{role}")
    monkeypatch.setattr(
        autoencode_stage, "checkpoint_digest", {"some/pair/encoder": digest}.__getitem__
    )
    monkeypatch.setattr(autoencode_stage, "load_encoder", load(encoder))
    generator = types.SimpleNamespace(synthesis=synthesis)
    monkeypatch.setattr(autoencode_stage, "load_generator", load(generator))
    monkeypatch.setattr(autoencode_stage, "stream_batches", lambda seed, size: (batch, 1))

    options = Options(stage="flow", directory=tmp_path, start="some/pair", encodings=200)
    space = white_space(options)
    assert asked == ["some/pair", "some/pair"]
    assert space.encodings.shape == (200, 6)
    np.testing.assert_allclose(space.encodings.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(np.cov(space.encodings.T, bias=True), np.eye(6), atol=1e-3)
    images = batch(0).images
    # The pictures are the same; only W is written otherwise.
    np.testing.assert_allclose(
        space.synthesis(space.encoder(images)), synthesis(encoder(images)), atol=1e-4
    )
    # Encodings are kept under the weights' digest, and read again.
    (kept,) = (tmp_path / "autoencode").glob("*.npy")
    assert kept.name == f"encodings_{space.name}.npy" == "encodings_0123456789ab_200.npy"
    monkeypatch.setattr(autoencode_stage, "stream_batches", lambda seed, size: (None, 1))
    np.testing.assert_array_equal(white_space(options).encodings, space.encodings)


@pytest.mark.whole_run
def test_flow_and_mapping_share_coordinates(monkeypatch, tmp_path, random_module):
    config = StyleGAN2Config(8, (4, 4), z_dim=5, w_dim=6, mapping_layers=1)
    synthesis = random_module(lambda: Synthesis(config, rngs=nnx.Rngs(1)), unit_kernels=True)
    space = WhiteSpace(None, synthesis, jax.random.normal(jax.random.key(0), (70, 6)), "white")
    options = Options(stage="flow", directory=tmp_path)
    first = mapping_stage._coordinates(options, space)
    np.testing.assert_allclose(first.forward @ first.inverse, np.eye(6), atol=1e-4)
    assert (tmp_path / "flow" / "probes_white.npy").is_file()
    monkeypatch.setattr(mapping_stage, "metric_probes", None)  # Not probed again.
    for one, other in zip(first, mapping_stage._coordinates(options, space), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_stage_that_was_not_run_is_named(tmp_path):
    with pytest.raises(FacesemError, match="run --stage mapping first"):
        previous_state(tmp_path, "mapping", None)
