"""The trainings that `experiments.decomposer_ablation` compares."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from facesem_jax.decomposer import DecomposerConfig
from facesem_jax.training.decomposer_loss_config import DecomposerLossConfig

# Unsup3D's own depth: no prior, the network let through from the first step.
_NO_PRIOR = {"depth_prior": None, "depth_gain": 1.0, "center_depth": True}
_NO_HOLD = {"hold_steps": 0, "ramp_steps": 1}


@dataclasses.dataclass(frozen=True)
class Variant:
    """One training.

    Attributes:
      title: For tables.
      note: What is left out.
      decomposer: Fields of `DecomposerConfig` that differ.
      loss: Fields of `DecomposerLossConfig` that differ.
    """

    title: str
    note: str
    decomposer: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    loss: Mapping[str, Any] = dataclasses.field(default_factory=dict)


VARIANTS = {
    "full": Variant("full", "Every part."),
    "prior": Variant(
        "no prior",
        "Depth is the network's alone, as in Unsup3D, released from the first step.",
        _NO_PRIOR,
        _NO_HOLD,
    ),
    "release": Variant(
        "no hold, no ramp",
        "The prior, but the network is let through from the first step.",
        {},
        _NO_HOLD,
    ),
    "late": Variant(
        "all from the start",
        "Symmetry, upright, independence and turned pictures do not wait for depth.",
        {},
        {"late": False},
    ),
    "flip": Variant(
        "no flip",
        "No reconstruction from mirrored maps, no symmetry, no consistency on mirrored pictures.",
        {},
        {"mirrored": 0.0, "symmetry": 0.0, "mirror_consistency": 0.0},
    ),
    "confidence": Variant(
        "no confidence", "Every pixel's error counts alike.", {}, {"confidence": False}
    ),
    "perceptual": Variant(
        "no perceptual term", "Pixels and their gradients alone.", {}, {"perceptual": 0.0}
    ),
    "coupling": Variant(
        "no coupling", "Single faces, no pairs from the generator.", {}, {"exchange": 0.0}
    ),
    "curriculum": Variant(
        "no curriculum", "Full rotations from the first step.", {}, {"rotation_steps": 0}
    ),
    "known": Variant(
        "no known views",
        "No consistency on own renders and on turned, relit pictures.",
        {},
        {"render_consistency": 0.0, "turn_consistency": 0.0},
    ),
    "plain": Variant(
        "plain Unsup3D",
        "Unsup3D's own loss: reconstruction, plain and mirrored (weight 0.5), with confidence and "
        "a perceptual term (ours: on the encoder's features); nothing else.",
        _NO_PRIOR,
        {
            **_NO_HOLD,
            "rotation_steps": 0,
            "mirrored": 0.5,
            "symmetry": 0.0,
            "gradient": 0.0,
            "coarse": 0.0,
            "smoothness": 0.0,
            "mirror_consistency": 0.0,
            "render_consistency": 0.0,
            "turn_consistency": 0.0,
            "upright": 0.0,
            "independence": 0.0,
            "exchange": 0.0,
            "window": None,
        },
    ),
}


def decomposer_config(variant: Variant, size: int) -> DecomposerConfig:
    """The compact decomposer of a variant.

    Args:
      variant: One of `VARIANTS`.
      size: Height and width of the images in pixels.
    """
    return DecomposerConfig.compact(image_size=size, **variant.decomposer)


def loss_config(variant: Variant, steps: int) -> DecomposerLossConfig:
    """The loss of a variant, its schedules scaled to a training's length.

    Depth is held for two fifths of the steps (at a rate of 1e-3 yaw shows after some 200) and
    released over the next quarter; rotations grow over the first half.

    Args:
      variant: One of `VARIANTS`.
      steps: Steps of the training.
    """
    full = {
        "hold_steps": 2 * steps // 5,
        "ramp_steps": max(steps // 4, 1),
        "rotation_steps": steps // 2,
        "late": True,
        "perceptual": 1.0,
        "exchange": 2.0,
    }
    return DecomposerLossConfig(**(full | dict(variant.loss)))
