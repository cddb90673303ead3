"""The formats that can be converted, and how a file's format is told from its tensors' names."""

import collections
import dataclasses
import re
from collections.abc import Callable, Iterable

from convert import dcgan, stylegan1, stylegan2, unsup3d
from convert.converted import Converted
from convert.tensors import Tensors
from facesem_jax.errors import FacesemError


@dataclasses.dataclass(frozen=True)
class Format:
    """One codebase's layout.

    Attributes:
      title: For people.
      pattern: Regular expression of its tensors' names.
      read: Reads its tensors.
      extras: Tensors that belong to it but lie outside its state dict.
    """

    title: str
    pattern: str
    read: Callable[[Tensors, dict], Converted]
    extras: tuple[str, ...] = ()


#: By the name that ``--format`` takes.
FORMATS: dict[str, Format] = {
    "stylegan2-rosinality": Format(
        "StyleGAN2, rosinality/stylegan2-pytorch",
        r"style\.\d+\.(weight|bias)|input\.input|conv1\..+|to_rgb1\..+|convs\.\d+\..+"
        r"|to_rgbs\.\d+\..+|noises\.noise_\d+",
        stylegan2.read_rosinality,
        ("latent_avg",),
    ),
    "stylegan2-nvlabs": Format(
        "StyleGAN2-ADA, NVlabs/stylegan2-ada-pytorch",
        r"mapping\.(fc\d+\.(weight|bias)|w_avg|embed\..+)"
        r"|synthesis\.b\d+\.(const|resample_filter|(conv[01]|torgb|skip)\..+)",
        stylegan2.read_nvlabs,
    ),
    "stylegan2-genforce": Format(
        "StyleGAN2, genforce",
        r"mapping\.(dense\d+\.(weight|bias)|(embedding|label_weight).*)|truncation\.w_avg"
        r"|synthesis\.(early_layer\.const|upsample\.kernel|output\d+\.(style\.)?(weight|bias)"
        r"|layer\d+\.(weight|bias|noise|noise_strength|filter\.kernel|style\.(weight|bias)))",
        stylegan2.read_genforce,
    ),
    "stylegan1-genforce": Format(
        "StyleGAN 1, genforce",
        r"mapping\.(dense\d+\.(weight|bias)|label_weight)|truncation\.w_avg"
        r"|synthesis\.(lod|output\d+\.(weight|bias)"
        r"|layer\d+\.(const|weight|bias|apply_noise\.(weight|noise)|blur\.kernel|style\.(weight|bias)))",
        stylegan1.read_genforce,
    ),
    "unsup3d": Format(
        "Unsup3D, elliottwu/unsup3d",
        r"net[DALVC]\.(network|out_net[12])\.\d+\.(weight|bias)",
        unsup3d.read_unsup3d,
    ),
    "dcgan": Format(
        "DCGAN, gan-face-generate",
        r"main\.\d+\.(weight|bias|running_mean|running_var|num_batches_tracked)",
        dcgan.read_dcgan,
    ),
}

# State dicts in the order of preference: the generator's moving average before the raw copy.
_AVERAGES = ("g_ema", "G_ema", "generator_smooth", "params_ema", "netG_state_dict")
_RAW_COPIES = ("g", "G", "generator", "netG", "params")
_AN_AVERAGE = re.compile(r"(.*_)?(ema|avg|average|smooth)")
# Preferences: a known average, one by its name, neither, the raw copy.
_BY_NAME, _NEITHER, _LAST = (len(_AVERAGES) + k for k in range(3))
_DEEPEST = 3
_WHY = (
    (r"(d|D|discriminator|netD_state_dict)\..*", "the discriminator"),
    (r"(g|G|generator)\..*", "the copy of the generator that training steps; its average is used"),
    (r".*[oO]ptim.*", "an optimiser's state"),
    (r"(augment_pipe|ada_aug_p).*", "the augmentation of training"),
)


def without_wrapper(name: str) -> str:
    """A tensor's name without what torch.nn.DataParallel and torch.compile put in."""
    return ".".join(part for part in name.split(".") if part not in ("module", "_orig_mod"))


def _preference(prefix: str) -> int:
    """How soon to take the state dict under a prefix; the components of its path say what it is."""
    parts = prefix.rstrip(".").split(".")
    known = [_AVERAGES.index(part) for part in parts if part in _AVERAGES]
    if known:
        return min(known)
    if any(_AN_AVERAGE.fullmatch(part) for part in parts):
        return _BY_NAME
    return _LAST if any(part in _RAW_COPIES for part in parts) else _NEITHER


def why_ignored(name: str) -> str:
    """Why a tensor outside the chosen state dict is left out."""
    return next((why for pattern, why in _WHY if re.fullmatch(pattern, name)), "another part")


@dataclasses.dataclass(frozen=True)
class Detected:
    """What a file was taken for.

    Attributes:
      format: A key of `FORMATS`.
      prefix: Where its state dict lies: "" or a dotted name with a dot at the end.
      raw_copy: Whether it is the raw copy of the generator rather than its moving average.
    """

    format: str
    prefix: str
    raw_copy: bool = False


def detect(names: Iterable[str], forced: str | None = None) -> Detected:
    """Finds the format and the state dict by the names of the tensors.

    Args:
      names: All tensors, dotted, without wrappers (`without_wrapper`).
      forced: A key of `FORMATS` to look for alone.

    Returns:
      Format and prefix.

    Raises:
      FacesemError: On an unknown format, or where nothing fits.
    """
    if forced is not None and forced not in FORMATS:
        raise FacesemError(f"no format {forced!r}; known are {', '.join(FORMATS)}.")
    names = list(names)
    patterns = {k: re.compile(f.pattern) for k, f in FORMATS.items() if forced in (None, k)}
    scores, sizes = collections.Counter(), collections.Counter()
    for name in names:
        parts = name.split(".")
        for depth in range(min(_DEEPEST, len(parts) - 1) + 1):
            prefix, rest = ".".join((*parts[:depth], "")), ".".join(parts[depth:])
            sizes[prefix] += 1
            for key, pattern in patterns.items():
                scores[key, prefix] += pattern.fullmatch(rest) is not None
    best = max(scores.values(), default=0)
    # Nearly as many tensors will do: a damaged average must not give way to the raw copy.
    candidates = [
        (key, prefix)
        for (key, prefix), score in scores.items()
        if score and score >= 0.5 * best and (forced or score >= max(4, 0.5 * sizes[prefix]))
    ]
    if not candidates:
        raise FacesemError(_unknown(names, forced))

    def rank(candidate):
        prefix = candidate[1]
        return (_preference(prefix), -scores[candidate], prefix.count("."))

    key, prefix = min(candidates, key=rank)
    return Detected(key, prefix, _preference(prefix) == _LAST)


def _unknown(names: list[str], forced: str | None) -> str:
    if any(re.search(r"synthesis\.L\d+_", name) for name in names):
        return "this is a StyleGAN3 generator; only StyleGAN 1 and 2 can be converted."
    shown = ", ".join(sorted(names)[:3])
    wanted = f"in the format {forced}" if forced else "of a known format"
    return (
        f"no state dict {wanted} among {len(names)} tensors (the first: {shown}). "
        f"Known formats: {', '.join(FORMATS)}."
    )
