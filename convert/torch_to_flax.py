r"""Converts a PyTorch checkpoint into a directory that `facesem_jax` loads.

    python convert/torch_to_flax.py stylegan2-ffhq-config-f.pt models/ffhq --crop ffhq
    python -m convert.torch_to_flax checkpoint030.pth models/unsup3d --verify

The format is told from the tensors' names, every size from their shapes. Nothing in the file is
run: see `convert.torch_files` and `convert.network_pickles`.
"""

import dataclasses
import pathlib
import sys
from typing import Annotated

import tyro

if not __package__:  # Run as a file: the packages lie beside this directory.
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

from convert.conversion import convert_file
from convert.verification import verification_report, verify
from facesem_jax.checks import check_seed
from facesem_jax.command_line import run_command
from facesem_jax.decomposer.crop import CROPS, parse_crop
from facesem_jax.errors import FacesemError
from facesem_jax.loading import load_decomposer, load_generator


@dataclasses.dataclass(frozen=True)
class Options:
    """Converts a PyTorch checkpoint into a directory that facesem_jax loads.

    Attributes:
      source: The checkpoint: .pt, .pth, .tar, .pkl (NVlabs) or .safetensors.
      dest: The directory to write; must not exist yet, or be empty. Not needed with --dry-run.
      format: Format to assume instead of telling it from the tensors' names.
      crop: From the generator's framing to the decomposer's: ffhq, celebahq, identity, or
        top,left,height,width in fractions of the image. Stored beside the weights.
      dry_run: Print the summary, write nothing.
      verify: Also run a PyTorch reading of the same file on random latents (or images) and compare
        layer by layer.
      allow_nonfinite: Convert NaN and infinite weights too.
      seed: Of the verification's latents.
    """

    source: Annotated[pathlib.Path, tyro.conf.Positional]
    dest: Annotated[pathlib.Path | None, tyro.conf.Positional] = None
    format: str | None = None
    crop: str | None = None
    dry_run: bool = False
    verify: bool = False
    allow_nonfinite: bool = False
    seed: int = 0


def main(options: Options) -> None:
    """Converts, writes, and compares where asked to.

    Raises:
      FacesemError: On bad input, or where the comparison fails.
    """
    # A name stays a name: a later release may know the framing better.
    crop = options.crop
    if crop is not None and crop not in CROPS:
        crop = parse_crop(crop)
    check_seed(options.seed)
    if options.dest is None and not options.dry_run:
        raise FacesemError("give a directory to write to, or --dry-run.")
    conversion = convert_file(
        options.source, options.format, allow_nonfinite=options.allow_nonfinite
    )
    print(conversion.summary())
    if options.dry_run:
        module = conversion.module()
    else:
        conversion.save(options.dest, crop=crop, allow_nonfinite=options.allow_nonfinite)
        print(f"written to {options.dest}")
        # What others will load, not what was just in memory.
        load = {"generator": load_generator, "decomposer": load_decomposer}[conversion.role]
        module = load(options.dest)
    if options.verify:
        rows = verify(conversion, module, seed=options.seed)
        print(verification_report(rows))
        worst = next((row for row in rows if not row.agrees), None)
        if worst is not None:
            raise FacesemError(
                f"layer {worst.layer} differs by {worst.difference:.2e} from PyTorch's reading of "
                f"{options.source} (largest value {worst.magnitude:.2e}); do not use this "
                "conversion, and please report it."
            )


if __name__ == "__main__":
    run_command(main, Options)
