"""Packs trained runs into a directory that `load_generator` and `load_decomposer` read.

    python -m experiments.bundle_weights --output my_pair

Each part is written whole or not at all.
"""

import dataclasses
import pathlib
from typing import Literal

from flax import nnx

from experiments.generator_recipe import GENERATOR
from experiments.generator_recipe import Options as GeneratorOptions
from experiments.pretrain_decomposer import trained_decomposer
from experiments.pretrain_generator import trained_player
from facesem_jax.checkpoint import Description, save_module
from facesem_jax.command_line import run_command
from facesem_jax.errors import FacesemError
from facesem_jax.generators.stylegan2 import StyleGAN2


@dataclasses.dataclass(frozen=True)
class Options:
    """Packs trained runs into one directory.

    Attributes:
      generator_run: Directory of `experiments.pretrain_generator`; empty for none.
      decomposer_run: Directory of `experiments.pretrain_decomposer`; empty for none.
      output: Where generator, encoder and decomposer go; each must not exist yet.
      dtype: Stored type, "float16" or "float32".
      stage: Of the generator's run, whose networks to take.
      start: What that run was given as ``--start``, if anything.
    """

    generator_run: str = "runs/generator"
    decomposer_run: str = "runs/decomposer"
    output: pathlib.Path = pathlib.Path("outputs/pair")
    dtype: str = "float16"
    stage: Literal["mapping", "finetune", "texture"] = "finetune"
    start: str = ""


def pack_generator(options: Options) -> None:
    """Writes generator and encoder."""
    directory = pathlib.Path(options.generator_run)
    run = GeneratorOptions(stage=options.stage, directory=directory, start=options.start)
    player = trained_player(run)
    generator = nnx.eval_shape(lambda: StyleGAN2(GENERATOR, rngs=nnx.Rngs(0)))
    generator.mapping, generator.synthesis = player.mapping, player.synthesis
    source = "facesem-jax pre-training on faces of gan-face-generate 1.1.1 (MIT, DigiFace-1M)"
    for name, kind, module, crop in (
        ("generator", "stylegan2", generator, "digiface64"),
        ("encoder", "encoder", player.encoder, None),
    ):
        config = dataclasses.asdict(module.config)
        save_module(
            options.output / name,
            module,
            Description(kind, config, crop, source),
            dtype=options.dtype,
        )


def pack_decomposer(options: Options) -> None:
    """Writes the decomposer."""
    decomposer, step = trained_decomposer(pathlib.Path(options.decomposer_run))
    source = f"facesem-jax pre-training without labels, {step} steps"
    save_module(
        options.output / "decomposer",
        decomposer,
        Description("unsup3d", decomposer.config.to_dict(), None, source),
        dtype=options.dtype,
    )


def main(options: Options) -> None:
    """Packs what was named."""
    if not options.generator_run and not options.decomposer_run:
        raise FacesemError("Name a generator_run or a decomposer_run; there is nothing to pack.")
    if options.generator_run:
        pack_generator(options)
    if options.decomposer_run:
        pack_decomposer(options)
    size = sum(p.stat().st_size for p in options.output.rglob("*") if p.is_file())
    print(f"{options.output}: {size / 2**20:.1f} MiB")


if __name__ == "__main__":
    run_command(main, Options)
