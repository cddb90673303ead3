"""The DCGAN of the PyPI package ``gan-face-generate`` (MIT), PyTorch to Flax."""

import dataclasses

from convert.converted import Converted
from convert.tensors import Tensors
from facesem_jax.generators.dcgan import DCGANConfig
from facesem_jax.training.face_stream import FACE_BOX

# Names here and in PyTorch's BatchNorm2d.
_NORM = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def read_dcgan(tensors: Tensors, attributes: dict) -> Converted:
    """Reads the reference's generator, ``main.0.weight`` to ``main.12.weight``.

    Args:
      tensors: Its tensors.
      attributes: Not used.

    Returns:
      The network, its sizes read off the tensors, with the crop of the face stream.

    Raises:
      FacesemError: On a missing tensor, a wrong shape, NaN or infinity.
    """
    del attributes
    first = tensors.take("main.0.weight", (None, None, 4, 4))
    last = tensors.take("main.12.weight", (None, None, 4, 4))
    config = DCGANConfig(first.shape[0], last.shape[0], last.shape[1])
    c = config.channels
    arrays = {}
    for i in range(len(c) - 1):
        kernel = tensors.take(f"main.{3 * i}.weight", (c[i], c[i + 1], 4, 4))
        arrays[f"synthesis/kernels/{i}"] = kernel.transpose(2, 3, 0, 1)
    for i in range(len(c) - 2):
        for ours, theirs in _NORM.items():
            name = f"main.{3 * i + 1}.{theirs}"
            arrays[f"synthesis/norms/{i}/{ours}"] = tensors.take(name, (c[i + 1],))
    tensors.ignore(r"main\.\d+\.num_batches_tracked", "a counter of batch normalisation's training")
    box = dataclasses.astuple(FACE_BOX)
    notes = ["z stands for w: a DCGAN has no mapping network."]
    return Converted("dcgan", config, arrays, notes, crop=box)
