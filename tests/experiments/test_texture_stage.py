import dataclasses
import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.tree_util import Partial

from experiments import judged_stage, texture_stage
from experiments.generator_recipe import Options
from experiments.pretrain_generator import main, trained_player
from experiments.texture_stage import wanted_patches
from facesem_jax.checkpoint import Description, save_module
from facesem_jax.errors import FacesemError
from facesem_jax.generators.config import StyleGAN2Config
from facesem_jax.generators.encoder import Encoder, EncoderConfig
from facesem_jax.generators.stylegan2 import StyleGAN2
from facesem_jax.training.autoencode import Faces
from facesem_jax.training.judged_texture import JudgeConfig
from facesem_jax.training.texture import TextureConfig, wanted_values

pytestmark = pytest.mark.usefixtures("quick_compilation")
_GENERATOR = StyleGAN2Config(16, (4, 4, 4), z_dim=6, w_dim=6, mapping_layers=2)
_ENCODER = EncoderConfig(16, (4, 4, 4), 6, groups=2)
_TEXTURE = TextureConfig(faces=64, directions=8)
_JUDGE = JudgeConfig(
    adversarial=1.0, channels=(4, 4), warm_steps=3, steps=2, recent=3, r1_faces=2, interval=4
)


def _stream(seed, size):
    """Noise, as loud on the left as on the right."""

    def batch(loudness, step):
        key = jax.random.fold_in(jax.random.key(seed), step)
        return Faces(loudness * jax.random.normal(key, (size, 16, 16, 3)), jnp.zeros((size, 1)))

    return Partial(batch, jnp.float32(0.5)), 1


@pytest.fixture
def options(tmp_path, monkeypatch):
    for module in (texture_stage, judged_stage):
        monkeypatch.setattr(module, "stream_batches", _stream)
    generator = StyleGAN2(_GENERATOR, rngs=nnx.Rngs(0, noise=1))
    encoder = Encoder(_ENCODER, rngs=nnx.Rngs(2))
    for name, kind, module in (
        ("generator", "stylegan2", generator),
        ("encoder", "encoder", encoder),
    ):
        config = dataclasses.asdict(module.config)
        save_module(tmp_path / "pair" / name, module, Description(kind, config, None, "a test"))
    return Options(
        "texture",
        tmp_path / "run",
        steps=9,
        batch_size=8,
        learning_rate=1e-3,
        start=str(tmp_path / "pair"),
        texture=_TEXTURE,
    )


def test_wanted_values_are_the_mean_over_batches():
    faces = [_stream(0, 8)[0](k).images for k in range(2)]
    wanted = wanted_patches(iter(faces), 4, _TEXTURE, jax.random.key(0))
    places = jax.random.split(jax.random.key(0))[1]
    each = [
        wanted_values(images, wanted.theta, 4, jax.random.fold_in(places, k))
        for k, images in enumerate(faces)
    ]
    expected = jax.tree.map(lambda a, b: (a + b) / 2, *each)
    chex.assert_trees_all_close(wanted.values, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"start": ""}, "give --start"),
        ({"batch_size": 6}, "multiples of 4"),
        ({"start": "nobody"}, "nobody"),
        ({"texture": TextureConfig(faces=0)}, "faces is 0"),
        ({"texture": TextureConfig(memory=1.0)}, "memory is 1.0"),
        ({"texture": TextureConfig(directions=6)}, "directions is 6; expected a multiple of 4"),
        ({"texture": TextureConfig(blocks=0)}, "texture.blocks is 0; .* has 3"),
        ({"texture": TextureConfig(blocks=4)}, "texture.blocks is 4"),
        ({"judge": JudgeConfig(adversarial=-1.0)}, "judge.adversarial is -1.0"),
        ({"judge": JudgeConfig(adversarial=float("nan"))}, "judge.adversarial is nan"),
        ({"judge": JudgeConfig(steps=0)}, "judge.steps is 0; expected at least 1"),
        ({"judge": JudgeConfig(warm_steps=0)}, "judge.warm_steps is 0"),
        ({"judge": JudgeConfig(steps=3)}, "judge.interval is 8; expected a multiple .* 3"),
        ({"judge": JudgeConfig(r1_faces=9)}, "judge.r1_faces is 9; expected at most .* 8"),
        (
            {"judge": dataclasses.replace(_JUDGE, channels=(4, 4, 4))},
            "judge.channels has 3 numbers; 16 pixels are halved 2 times",
        ),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(options, wrong, message):
    with pytest.raises(FacesemError, match=message):
        main(dataclasses.replace(options, **wrong))
    assert not options.directory.exists()


def test_networks_of_another_size_than_the_faces_are_refused(options, monkeypatch):
    def larger(seed, size):
        return lambda step: Faces(jnp.zeros((size, 32, 32, 3)), jnp.zeros((size, 1))), 1

    monkeypatch.setattr(texture_stage, "stream_batches", larger)
    with pytest.raises(FacesemError, match="is for 16 pixels; the stream's faces have 32"):
        main(options)
    assert not options.directory.exists()


def test_a_stage_without_a_generator_is_named(options):
    with pytest.raises(FacesemError, match="After --stage flow"):
        trained_player(dataclasses.replace(options, stage="flow"))


def test_a_run_that_was_not_made_is_named(options):
    with pytest.raises(FacesemError, match="run --stage texture first"):
        trained_player(options)


@pytest.mark.whole_run
def test_the_synthesis_network_alone_learns_and_resumed_or_in_one_call_it_is_the_same(
    options, tmp_path, monkeypatch
):
    monkeypatch.setattr(texture_stage, "cosine_tail", lambda rate, steps: rate)
    main(options)
    whole = trained_player(options)
    start = texture_stage.load_generator(options.start)
    chex.assert_trees_all_equal(nnx.state(whole.mapping), nnx.state(start.mapping))
    moved = whole.synthesis.convs[-1].kernel[...] - start.synthesis.convs[-1].kernel[...]
    assert np.abs(moved).max() > 1e-3
    lines = (options.directory / "texture" / "log.jsonl").read_text().splitlines()
    terms = json.loads(lines[-1])
    assert terms["step"] == 9 and terms["patches"] > 0

    in_calls = dataclasses.replace(options, directory=tmp_path / "calls", steps_per_call=4)
    main(in_calls)
    several = trained_player(in_calls)
    resumed = dataclasses.replace(options, directory=tmp_path / "resumed")
    main(dataclasses.replace(resumed, steps=5))
    main(resumed)
    states = [nnx.state(p.synthesis, nnx.Param) for p in (whole, trained_player(resumed), several)]
    chex.assert_trees_all_equal(*states[:2])
    # Adam turns rounding into steps of its own where a gradient is nearly 0.
    chex.assert_trees_all_close(states[0], states[2], atol=2e-3)


@pytest.mark.whole_run
def test_a_judged_run_warms_its_discriminator_up_and_resumed_it_is_the_same(
    options, tmp_path, monkeypatch
):
    monkeypatch.setattr(texture_stage, "cosine_tail", lambda rate, steps: rate)
    texture = dataclasses.replace(_TEXTURE, blocks=2)
    options = dataclasses.replace(options, steps=5, judge=_JUDGE, texture=texture)
    main(options)
    lines = (options.directory / "judge" / "log.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == _JUDGE.warm_steps
    lines = (options.directory / "texture" / "log.jsonl").read_text().splitlines()
    terms = json.loads(lines[-1])
    assert terms["step"] == 5 and terms["verdict"] > 0 and 0 <= terms["critic_right"] <= 1

    resumed = dataclasses.replace(options, directory=tmp_path / "resumed")
    main(dataclasses.replace(resumed, steps=2))
    main(resumed)
    whole, parts = (trained_player(o).synthesis for o in (options, resumed))
    chex.assert_trees_all_equal(nnx.state(whole, nnx.Param), nnx.state(parts, nnx.Param))
    texture = dataclasses.replace(_TEXTURE, blocks=1)
    unjudged = dataclasses.replace(
        options, directory=tmp_path / "alone", judge=JudgeConfig(), texture=texture
    )
    main(unjudged)
    assert not (tmp_path / "alone" / "judge").exists()
    alone = trained_player(unjudged).synthesis
    assert np.any(alone.convs[-1].kernel[...] != whole.convs[-1].kernel[...])
    # Convolution 2 is the last of the middle one of three blocks.
    start = texture_stage.load_generator(options.start).synthesis
    for network, held, learned in ((whole, 0, 2), (alone, 2, 4)):
        kernels = [
            (n.convs[held].kernel[...], n.convs[learned].kernel[...]) for n in (network, start)
        ]
        chex.assert_trees_all_close(kernels[0][0], kernels[1][0], rtol=1e-5)
        assert np.abs(kernels[0][1] - kernels[1][1]).max() > 1e-4
