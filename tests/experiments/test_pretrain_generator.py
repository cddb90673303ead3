import dataclasses
import functools
import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from experiments import autoencode_stage, mapping_stage, pretrain_generator
from experiments.autoencode_stage import init_autoencoder
from experiments.generator_recipe import Options
from experiments.pretrain_generator import main, trained_player
from facesem_jax.generators.config import StyleGAN2Config
from facesem_jax.generators.encoder import EncoderConfig
from facesem_jax.training.autoencode import Faces
from facesem_jax.training.discriminator import DiscriminatorConfig
from facesem_jax.training.finetune import FinetuneConfig

pytestmark = pytest.mark.usefixtures("quick_compilation")
GENERATOR = StyleGAN2Config(8, (4, 4), z_dim=6, w_dim=6, mapping_layers=2, mapping_lr_multiplier=1)
STEPS = {"autoencode": 6, "flow": 6, "mapping": 6, "finetune": 7}


@pytest.fixture
def small(monkeypatch):
    """The four stages on networks of 8 x 8 pixels and a stream of shades."""

    def pictures(seed, size):
        def batch(slope, step):
            key = jax.random.fold_in(jax.random.key(seed), step)
            shade = jax.random.uniform(key, (size, 1, 1, 3), minval=-1)
            return Faces(shade * slope[None, :, None, None] * jnp.ones((8, 1)), shade[:, 0, 0])

        return Partial(batch, jnp.linspace(0.5, 1, 8)), 3

    def encoder_config(resolution, w_dim):
        return EncoderConfig(resolution, (4, 4), w_dim, groups=2)

    for module in (autoencode_stage, pretrain_generator):
        monkeypatch.setattr(module, "EncoderConfig", encoder_config)
        monkeypatch.setattr(module, "stream_batches", pictures)
    for module in (autoencode_stage, mapping_stage, pretrain_generator):
        monkeypatch.setattr(module, "GENERATOR", GENERATOR)
    critic = functools.partial(DiscriminatorConfig, channels=(4,))
    monkeypatch.setattr(pretrain_generator, "DiscriminatorConfig", critic)
    monkeypatch.setattr(mapping_stage, "_PROBED", 64)


def _run(directory, steps_per_call):
    options = Options("autoencode", directory, batch_size=8, encodings=128, carried=64, anchor="")
    options = dataclasses.replace(
        options, steps_per_call=steps_per_call, finetune=FinetuneConfig(interval=3)
    )
    for stage, steps in STEPS.items():
        main(dataclasses.replace(options, stage=stage, steps=steps))
    return trained_player(dataclasses.replace(options, stage="finetune", steps=STEPS["finetune"]))


@pytest.mark.whole_run
def test_all_stages_train_and_several_steps_per_call_come_to_the_same(small, tmp_path):
    players = [_run(tmp_path / str(count), count) for count in (1, 4)]
    # Adam turns rounding into steps of its own where a gradient is nearly 0.
    chex.assert_trees_all_close(*players, atol=2e-2)
    started = init_autoencoder(0, 3).synthesis
    moved = np.abs(players[0].synthesis.convs[0].kernel[...] - started.convs[0].kernel[...])
    assert moved.max() > 1e-3
    z = jax.random.normal(jax.random.key(0), (5, 6))
    drawn = [player.synthesis(player.mapping(z)) for player in players]
    chex.assert_shape(drawn, (5, 8, 8, 3))
    np.testing.assert_allclose(*drawn, atol=0.1)
    for stage, steps in STEPS.items():
        logs = [(tmp_path / k / stage / "log.jsonl").read_text().splitlines() for k in ("1", "4")]
        last = [json.loads(lines[-1]) for lines in logs]
        assert [line["step"] for line in last] == [steps, steps]
        assert last[0]["loss"] == pytest.approx(last[1]["loss"], rel=0.02)
