"""StyleGAN2 from three codebases: rosinality, NVlabs (StyleGAN2-ADA) and genforce."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from convert.converted import Converted
from convert.mapping import mapping_arrays, take_w_avg
from convert.tensors import Tensors
from facesem_jax.errors import FacesemError
from facesem_jax.generators.config import StyleGAN2Config

_RIDGE = np.array([1, 3, 3, 1], np.float32)
#: Weights of StyleGAN2's FIR filter, sum 1.
FILTER = np.outer(_RIDGE, _RIDGE) / 64


@dataclasses.dataclass(frozen=True)
class _Layout:
    """Where one codebase keeps what.

    Attributes:
      mapping: Name of a fully connected layer of the mapping network, by its number.
      const: The constant input.
      conv: Prefix of a modulated 3x3 convolution, by its number.
      to_rgb: Prefix of a modulated 1x1 convolution, by its number.
      kernel: Suffix of a kernel.
      affine: Suffix of the layer that reads the style off w.
      conv_bias: Suffix of a 3x3 convolution's bias.
      noise_strength: Suffix of the noise's strength.
      noise: Name of a noise map, by prefix and number.
      kernel_axes: Extra leading axes of a kernel.
      map_axes: Extra leading axes of the constant input.
      noise_axes: Extra leading axes of a noise map.
      strength_shape: Shape of the noise's strength.
      rgb_bias_shape: Shape of a toRGB's bias, given the number of channels.
      style_offset: What the codebase adds to the style beside its bias.
      flipped: Whether kernels of up-sampling convolutions are stored mirrored.
    """

    mapping: Callable[[int], str]
    const: str
    conv: Callable[[int], str]
    to_rgb: Callable[[int], str]
    kernel: str
    affine: str
    conv_bias: str
    noise_strength: str
    noise: Callable[[str, int], str]
    kernel_axes: tuple[int, ...] = ()
    map_axes: tuple[int, ...] = (1,)
    noise_axes: tuple[int, ...] = (1, 1)
    strength_shape: tuple[int, ...] = ()
    rgb_bias_shape: Callable[[int], tuple[int, ...]] = lambda c: (c,)
    style_offset: float = 0.0
    flipped: bool = False


def _ada_conv(layer: int) -> str:
    # Layer 0 is alone at 4x4; layers 2b-1 and 2b belong to block b.
    return f"synthesis.b{4 << (layer + 1) // 2}.conv{(layer + 1) % 2}"


_ROSINALITY = _Layout(
    mapping=lambda i: f"style.{i + 1}",
    const="input.input",
    conv=lambda i: f"convs.{i - 1}" if i else "conv1",
    to_rgb=lambda i: f"to_rgbs.{i - 1}" if i else "to_rgb1",
    kernel="conv.weight",
    affine="conv.modulation",
    conv_bias="activate.bias",
    noise_strength="noise.weight",
    noise=lambda prefix, i: f"noises.noise_{i}",
    kernel_axes=(1,),
    strength_shape=(1,),
    rgb_bias_shape=lambda c: (1, c, 1, 1),
)
_NVLABS = _Layout(
    mapping=lambda i: f"mapping.fc{i}",
    const="synthesis.b4.const",
    conv=_ada_conv,
    to_rgb=lambda i: f"synthesis.b{4 << i}.torgb",
    kernel="weight",
    affine="affine",
    conv_bias="bias",
    noise_strength="noise_strength",
    noise=lambda prefix, i: f"{prefix}.noise_const",
    map_axes=(),
    noise_axes=(),
)
_GENFORCE = _Layout(
    mapping=lambda i: f"mapping.dense{i}",
    const="synthesis.early_layer.const",
    conv=lambda i: f"synthesis.layer{i}",
    to_rgb=lambda i: f"synthesis.output{i}",
    kernel="weight",
    affine="style",
    conv_bias="bias",
    noise_strength="noise_strength",
    noise=lambda prefix, i: f"{prefix}.noise",
    style_offset=1.0,
    flipped=True,
)


def _affine(tensors: Tensors, name: str, outputs: int, w_dim: int, offset: float, path: str):
    bias = tensors.take(f"{name}.bias", (outputs,))
    return {
        f"{path}/affine/kernel": tensors.take(f"{name}.weight", (outputs, w_dim)).T,
        f"{path}/affine/bias": bias + np.float32(offset),
    }


def _read(
    tensors: Tensors,
    layout: _Layout,
    mapping_layers: int,
    levels: int,
    w_avg: str,
    *,
    conv_clamp: float | None = None,
    lr_multiplier: float = 0.01,
    missing_noise_seed: int | None = None,
) -> Converted:
    """Reads a generator with ``levels`` resolutions from 4x4 up."""
    if levels < 2:
        raise FacesemError(f"tensor {layout.conv(2)}.{layout.kernel} is missing.")
    mapping = mapping_arrays(tensors, layout.mapping, mapping_layers)
    z_dim, w_dim = mapping["mapping/layers/0/kernel"].shape[0], mapping["mapping/w_avg"].shape[0]
    arrays, channels, notes = dict(mapping), [], []
    const = tensors.take(layout.const, (*layout.map_axes, None, 4, 4)).reshape(-1, 4, 4)
    arrays["synthesis/const"] = const.transpose(1, 2, 0)
    before = const.shape[0]
    rng = np.random.default_rng(missing_noise_seed)
    drawn = 0
    for layer in range(2 * levels - 1):
        prefix, path = layout.conv(layer), f"synthesis/convs/{layer}"
        size = 4 << (layer + 1) // 2
        up = layer % 2 == 1
        shape = (*layout.kernel_axes, None, before, 3, 3)
        kernel = tensors.take(f"{prefix}.{layout.kernel}", shape)
        outputs = kernel.shape[-4]
        kernel = kernel.reshape(outputs, before, 3, 3).transpose(2, 3, 1, 0)
        arrays[f"{path}/kernel"] = kernel[::-1, ::-1] if up and layout.flipped else kernel
        name = f"{prefix}.{layout.affine}"
        arrays |= _affine(tensors, name, before, w_dim, layout.style_offset, path)
        arrays[f"{path}/bias"] = tensors.take(f"{prefix}.{layout.conv_bias}", (outputs,))
        strength = f"{prefix}.{layout.noise_strength}"
        arrays[f"{path}/noise_strength"] = tensors.take(strength, layout.strength_shape).reshape(())
        noise = layout.noise(prefix, layer)
        if noise not in tensors and missing_noise_seed is not None:
            arrays[f"{path}/noise"] = rng.standard_normal((size, size), np.float32)
            drawn += 1
        else:
            noise = tensors.take(noise, (*layout.noise_axes, size, size))
            arrays[f"{path}/noise"] = noise.reshape(size, size)
        before = outputs
        if not up:
            channels.append(outputs)
    if drawn:
        notes.append(
            f"{drawn} noise maps are not in the file (it draws new noise for every image): "
            f"drawn once, seed {missing_noise_seed}, and stored."
        )
    image_channels = None
    for level, width in enumerate(channels):
        prefix, path = layout.to_rgb(level), f"synthesis/to_rgbs/{level}"
        shape = (*layout.kernel_axes, image_channels, width, 1, 1)
        kernel = tensors.take(f"{prefix}.{layout.kernel}", shape)
        image_channels = kernel.shape[-4]
        kernel = kernel.reshape(image_channels, width, 1, 1)
        arrays[f"{path}/kernel"] = kernel.transpose(2, 3, 1, 0)
        name = f"{prefix}.{layout.affine}"
        arrays |= _affine(tensors, name, width, w_dim, layout.style_offset, path)
        bias = tensors.take(f"{prefix}.bias", layout.rgb_bias_shape(image_channels))
        arrays[f"{path}/bias"] = bias.reshape(-1)
    if image_channels != 3:
        raise FacesemError(f"the images have {image_channels} channels; expected 3 (RGB).")
    config = StyleGAN2Config(
        resolution=4 << (levels - 1),
        channels=tuple(channels),
        z_dim=z_dim,
        w_dim=w_dim,
        mapping_layers=mapping_layers,
        mapping_lr_multiplier=lr_multiplier,
        conv_clamp=conv_clamp,
    )
    notes += take_w_avg(tensors, w_avg, arrays, lr_multiplier)
    return Converted("stylegan2", config, arrays, notes)


def read_rosinality(tensors: Tensors, attributes: dict) -> Converted:
    """rosinality/stylegan2-pytorch: ``g_ema`` with the file's ``latent_avg``."""
    del attributes
    highest = max(
        (tensors.highest(r"convs\.(\d+)\.") + 1) // 2,
        tensors.highest(r"to_rgbs\.(\d+)\.") + 1,
        (tensors.highest(r"noises\.noise_(\d+)$") + 1) // 2,
    )
    for level in range(highest):
        tensors.constant(f"convs.{2 * level}.conv.blur.kernel", 4 * FILTER)
        tensors.constant(f"to_rgbs.{level}.upsample.kernel", 4 * FILTER)
    layers = tensors.highest(r"style\.(\d+)\.")
    some_noise = tensors.highest(r"noises\.noise_(\d+)$") >= 0
    seed = None if some_noise else 0
    return _read(tensors, _ROSINALITY, layers, highest + 1, "latent_avg", missing_noise_seed=seed)


def read_nvlabs(tensors: Tensors, attributes: dict) -> Converted:
    """NVlabs/stylegan2-ada-pytorch: ``G_ema``, its attributes where the file has them."""
    if "mapping.embed.weight" in tensors or attributes.get("c_dim", 0):
        raise FacesemError(
            "this generator is conditional (its mapping takes a class label); "
            "only unconditional ones can be converted."
        )
    if tensors.highest(r"synthesis\.b(\d+)\.skip\.") >= 0:
        raise FacesemError(
            "this generator has residual connections (architecture 'resnet'); "
            "only those with toRGB skip connections ('skip') can be converted."
        )
    resolution = tensors.highest(r"synthesis\.b(\d+)\.")
    if resolution < 8 or resolution & (resolution - 1):
        raise FacesemError(f"tensor synthesis.b{resolution}.* stands for no resolution.")
    for size in (4 << k for k in range(resolution.bit_length() - 2)):
        for name in ("", ".conv0", ".conv1"):
            tensors.constant(f"synthesis.b{size}{name}.resample_filter", FILTER)
    for name in ("conv_clamp", "bias_gain"):
        for key, value in attributes.items():
            number = isinstance(value, int | float) and 0 < value < math.inf
            if key.rpartition(".")[2] == name and not (value is None or number):
                raise FacesemError(f"{key} is {value!r:.40}; expected a number above 0.")
    clamps = {v for k, v in attributes.items() if k.endswith(".conv_clamp")}
    if len(clamps) > 1:
        raise FacesemError(f"layers differ in conv_clamp ({clamps}); expected one value.")
    clamp = clamps.pop() if clamps else None
    gain = attributes.get("mapping.fc0.bias_gain")
    layers = tensors.highest(r"mapping\.fc(\d+)\.") + 1
    converted = _read(
        tensors,
        _NVLABS,
        layers,
        resolution.bit_length() - 2,
        "mapping.w_avg",
        conv_clamp=None if clamp is None else float(clamp),
        lr_multiplier=0.01 if gain is None else float(gain),
    )
    if any(k.endswith(".use_fp16") and v for k, v in attributes.items()):
        converted.notes.append(
            "trained with float16 in its upper layers; it runs in float32 here, clamped at "
            f"{clamp} as in training."
        )
    if not attributes:
        converted.notes.append(
            "the file holds tensors alone: no clamp of activations (conv_clamp) and a mapping "
            "learning-rate multiplier of 0.01 are assumed."
        )
    return converted


def read_genforce(tensors: Tensors, attributes: dict) -> Converted:
    """Genforce StyleGAN2: ``generator_smooth``."""
    del attributes
    if "mapping.embedding.weight" in tensors or "mapping.label_weight" in tensors:
        raise FacesemError(
            "this generator is conditional (its mapping takes a class label); "
            "only unconditional ones can be converted."
        )
    levels = max(
        tensors.highest(r"synthesis\.output(\d+)\.") + 1,
        tensors.highest(r"synthesis\.layer(\d+)\.") // 2 + 1,
    )
    for level in range(1, levels):
        name = f"synthesis.layer{2 * level - 1}.filter.kernel"
        tensors.constant(name, 4 * FILTER[None, None])
    tensors.constant("synthesis.upsample.kernel", 4 * FILTER[None, None])
    layers = tensors.highest(r"mapping\.dense(\d+)\.") + 1
    return _read(tensors, _GENFORCE, layers, levels, "truncation.w_avg")
