"""Sizes, stages and options of the bundled generator's training."""

import dataclasses
import pathlib
from typing import Literal

from experiments.training_loop import LoopConfig, steps_per_call
from facesem_jax.generators.config import StyleGAN2Config
from facesem_jax.training.autoencode import AutoencodeConfig
from facesem_jax.training.finetune import FinetuneConfig
from facesem_jax.training.judged_texture import JudgeConfig
from facesem_jax.training.texture import TextureConfig

GENERATOR = StyleGAN2Config(
    64,
    (256, 192, 128, 64, 32),
    z_dim=128,
    w_dim=128,
    mapping_layers=8,
    mapping_width=512,
    # The mapping is fitted on latents alone, in minutes: the usual 0.01 is for training it through
    # images, where it must move slowly.
    mapping_lr_multiplier=1.0,
)
# Steps, batch size and learning rate of each stage.
RECIPE = {
    "autoencode": (13000, 128, 1.2e-3),
    "flow": (16000, 512, 1e-3),
    "mapping": (80000, 512, 1e-3),
    "finetune": (14400, 64, 1e-3),
    "texture": (900, 24, 5e-5),
}


@dataclasses.dataclass(frozen=True)
class Options:
    """Trains the bundled generator.

    Attributes:
      stage: Which stage to run or resume.
      directory: Where the stages' checkpoints, sheets and logs go.
      steps: Steps of this stage; 0 takes the recipe's (`RECIPE`).
      batch_size: Faces (or latents) per step; 0 takes the recipe's.
      learning_rate: Of Adam; falls to a tenth over the last 40 % of the steps (cosine). 0 takes
        the recipe's.
      seed: Seeds the weights, the stream and the noise.
      encodings: Stream faces that are encoded for the flow.
      carried: Latents that the flow carries for the mapping network to learn.
      start: Generator and encoder (a bundled name or a directory) whose weights stage (a) begins
        with, that stages (b) and (c) take in the place of stage (a)'s, and that stage (d) needs;
        empty to begin anew.
      anchor: A decomposer (a bundled name, a directory, or a run of
        `experiments.pretrain_decomposer`) whose semantics w is to hold linearly; empty for the
        source's latents in their place.
      angles: What each of the three angles counts among those semantics, where others count 1.
      mouth: What each component of the albedo about the mouth counts.
      steps_per_call: Steps that one compiled program takes, its faces drawn there; 0 for 16 on an
        accelerator and 1 on a CPU.
      autoencode: Weights of stage (a).
      finetune: Weights of stage (c).
      texture: Weights of stage (d).
      judge: The discriminator of stage (d), which is left out unless its weight is above 0.
    """

    stage: Literal["autoencode", "flow", "mapping", "finetune", "texture"]
    directory: pathlib.Path = pathlib.Path("runs/generator")
    steps: int = 0
    batch_size: int = 0
    learning_rate: float = 0.0
    seed: int = 0
    encodings: int = 65536
    carried: int = 524288
    start: str = ""
    anchor: str = "digiface64"
    angles: float = 8.0
    mouth: float = 2.5
    steps_per_call: int = 0
    autoencode: AutoencodeConfig = dataclasses.field(default_factory=AutoencodeConfig)
    finetune: FinetuneConfig = dataclasses.field(default_factory=FinetuneConfig)
    texture: TextureConfig = dataclasses.field(default_factory=TextureConfig)
    judge: JudgeConfig = dataclasses.field(default_factory=JudgeConfig)

    def recipe(self) -> "Options":
        """The options with the stage's own numbers where 0 was given."""
        steps, batch_size, learning_rate = RECIPE[self.stage]
        return dataclasses.replace(
            self,
            steps=self.steps or steps,
            batch_size=self.batch_size or batch_size,
            learning_rate=self.learning_rate or learning_rate,
        )

    def loop(self, name: str, sheet_steps: int = 1000, steps: int | None = None) -> LoopConfig:
        """How the stage's training is driven.

        Args:
          name: Of its directory.
          sheet_steps: Steps between sample sheets.
          steps: In all; the stage's own if ``None``.
        """
        return LoopConfig(
            self.steps if steps is None else steps,
            self.directory / name,
            sheet_steps=sheet_steps,
            steps_per_call=steps_per_call(self.steps_per_call),
        )
