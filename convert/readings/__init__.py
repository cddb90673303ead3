"""Compact PyTorch readings of the formats, written for `convert.verification`.

They follow the papers and the codebases' conventions, not the JAX modules: weights are modulated
per sample and run as grouped convolutions, filters are ``upfirdn`` with inserted zeros. Each
reading takes the file's own tensors and yields every layer's output with its name, in order.
"""

from collections.abc import Callable


def reading_of(format: str) -> Callable:
    """The reading of a format, a key of `convert.formats.FORMATS`."""
    from convert.readings import dcgan, stylegan1, stylegan2, unsup3d

    return {
        "stylegan2-rosinality": stylegan2.rosinality,
        "stylegan2-nvlabs": stylegan2.nvlabs,
        "stylegan2-genforce": stylegan2.genforce,
        "stylegan1-genforce": stylegan1.genforce,
        "unsup3d": unsup3d.networks,
        "dcgan": dcgan.generator,
    }[format]
