"""StyleGAN 1 from genforce's codebase, the generator family of the paper."""

import math

import numpy as np

from convert.converted import Converted
from convert.mapping import mapping_arrays, take_w_avg
from convert.tensors import Tensors
from facesem_jax.errors import FacesemError
from facesem_jax.generators.config import StyleGAN1Config

_RIDGE = np.array([1, 2, 1], np.float32)
#: Weights of StyleGAN 1's blur, sum 1.
BLUR = np.outer(_RIDGE, _RIDGE) / 16


def read_genforce(tensors: Tensors, attributes: dict) -> Converted:
    """Genforce StyleGAN: ``generator_smooth``.

    Args:
      tensors: Its tensors.
      attributes: Not used.

    Returns:
      The generator.

    Raises:
      FacesemError: On a missing or misshapen tensor, a conditional generator, or one in the midst
        of progressive growing.
    """
    del attributes
    if "mapping.label_weight" in tensors:
        raise FacesemError(
            "this generator is conditional (its mapping takes a class label); "
            "only unconditional ones can be converted."
        )
    if "synthesis.lod" in tensors and float(lod := tensors.take("synthesis.lod", ())) != 0:
        raise FacesemError(
            f"synthesis.lod is {float(lod):g}: this generator was saved while it was still "
            "growing; only a finished one (lod 0) can be converted."
        )
    layers = tensors.highest(r"mapping\.dense(\d+)\.") + 1
    arrays = mapping_arrays(
        tensors, lambda i: f"mapping.dense{i}", layers, weight_gain=math.sqrt(2)
    )
    z_dim, w_dim = arrays["mapping/layers/0/kernel"].shape[0], arrays["mapping/w_avg"].shape[0]
    levels = max(
        tensors.highest(r"synthesis\.output(\d+)\.") + 1,
        (tensors.highest(r"synthesis\.layer(\d+)\.") + 2) // 2,
    )
    if levels < 2:
        raise FacesemError("tensor synthesis.layer2.weight is missing.")
    channels, before = [], None
    for layer in range(2 * levels):
        name, path, size = f"synthesis.layer{layer}", f"synthesis/layers/{layer}", 4 << layer // 2
        if layer == 0:
            const = tensors.take(f"{name}.const", (1, None, 4, 4))[0]
            outputs = const.shape[0]
            arrays[f"{path}/const"] = const.transpose(1, 2, 0)
        else:
            kernel = tensors.take(f"{name}.weight", (None, before, 3, 3))
            outputs = kernel.shape[0]
            arrays[f"{path}/kernel"] = kernel.transpose(2, 3, 1, 0)
        if layer and layer % 2 == 0:
            blur = np.broadcast_to(BLUR, (outputs, 1, 3, 3))
            tensors.constant(f"{name}.blur.kernel", blur)
        arrays[f"{path}/bias"] = tensors.take(f"{name}.bias", (outputs,))
        strength = f"{name}.apply_noise.weight"
        arrays[f"{path}/noise_strength"] = tensors.take(strength, (outputs,))
        noise = tensors.take(f"{name}.apply_noise.noise", (1, 1, size, size))
        arrays[f"{path}/noise"] = noise[0, 0]
        style = tensors.take(f"{name}.style.weight", (2 * outputs, w_dim))
        arrays[f"{path}/affine/kernel"] = style.T
        arrays[f"{path}/affine/bias"] = tensors.take(f"{name}.style.bias", (2 * outputs,))
        before = outputs
        if layer % 2:
            channels.append(outputs)
    name = f"synthesis.output{levels - 1}"
    to_rgb = tensors.take(f"{name}.weight", (3, before, 1, 1))
    arrays["synthesis/to_rgb"] = to_rgb.transpose(2, 3, 1, 0)
    arrays["synthesis/to_rgb_bias"] = tensors.take(f"{name}.bias", (3,))
    tensors.ignore(
        r"synthesis\.output\d+\.(weight|bias)",
        "toRGB of a lower resolution, which only progressive growing uses",
    )
    config = StyleGAN1Config(
        resolution=4 << (levels - 1),
        channels=tuple(channels),
        z_dim=z_dim,
        w_dim=w_dim,
        mapping_layers=layers,
    )
    lr_multiplier = config.mapping_lr_multiplier
    notes = take_w_avg(tensors, "truncation.w_avg", arrays, lr_multiplier)
    return Converted("stylegan1", config, arrays, notes)
