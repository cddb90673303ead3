"""The bundled pair in PyTorch, from our arrays: the converter's readings with the same weights.

Needs PyTorch.
"""

from collections.abc import Callable

import jax
import numpy as np
import torch
import torch.nn.functional as F
from flax import nnx

from convert.readings import unsup3d
from convert.readings.stylegan2 import modulated, rosinality_synthesis, upfirdn
from facesem_jax.decomposer.decomposer import depth_prior
from facesem_jax.decomposer.naming import AXES, unsup3d_key_map


def device() -> torch.device:
    """The GPU where JAX computes on one and PyTorch can, else the CPU."""
    gpu = jax.default_backend() == "gpu" and torch.cuda.is_available()
    return torch.device("cuda" if gpu else "cpu")


def full_precision() -> None:
    """No TF32 in convolutions and products, as here."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def modulated_activations(x, weight, style, *, up=False, demodulate=True):
    """`convert.readings.stylegan2.modulated` with one kernel for the batch, as here.

    The inputs are scaled by the style and the outputs by the normaliser.
    """
    x = x * style[:, :, None, None]
    if up:
        x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
        x = upfirdn(x, 1, (1, 1), 4)
    else:
        x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
    if demodulate:
        energy = (weight**2).sum(dim=(2, 3))
        x = x * torch.rsqrt(style**2 @ energy.T + 1e-8)[:, :, None, None]
    return x


#: How a StyleGAN2's convolutions are modulated: the codebases' way, and ours.
MODULATIONS = {"weights": modulated, "activations": modulated_activations}


def _tensor(array) -> torch.Tensor:
    return torch.from_numpy(np.array(array, np.float32)).to(device())


def rosinality_tensors(generator) -> dict[str, torch.Tensor]:
    """A StyleGAN2's synthesis network under the names of rosinality's ``g_ema``."""
    synthesis = nnx.to_pure_dict(nnx.state(generator.synthesis))
    arrays = {"input.input": synthesis["const"].transpose(2, 0, 1)[None]}

    def modulation(name, layer):
        arrays[f"{name}.conv.weight"] = layer["kernel"].transpose(3, 2, 0, 1)[None]
        arrays[f"{name}.conv.modulation.weight"] = layer["affine"]["kernel"].T
        arrays[f"{name}.conv.modulation.bias"] = layer["affine"]["bias"]

    for i, layer in synthesis["convs"].items():
        name = f"convs.{i - 1}" if i else "conv1"
        modulation(name, layer)
        arrays[f"{name}.noise.weight"] = layer["noise_strength"].reshape(1)
        arrays[f"{name}.activate.bias"] = layer["bias"]
        arrays[f"noises.noise_{i}"] = layer["noise"][None, None]
    for i, layer in synthesis["to_rgbs"].items():
        name = f"to_rgbs.{i - 1}" if i else "to_rgb1"
        modulation(name, layer)
        arrays[f"{name}.bias"] = layer["bias"].reshape(1, -1, 1, 1)
    return {name: _tensor(array) for name, array in arrays.items()}


def unsup3d_tensors(decomposer) -> dict[str, torch.Tensor]:
    """A decomposer under the reference's names."""
    state = dict(nnx.to_flat_state(nnx.state(decomposer)))
    return {
        name: _tensor(np.asarray(state[path][...]).transpose(np.argsort(AXES[kind])))
        for name, (path, kind) in unsup3d_key_map(decomposer.config).items()
    }


def synthesis(generator, modulation: str = "weights") -> Callable:
    """``w (n, d) -> images (n, 3, h, w)``; ``modulation`` is a key of `MODULATIONS`."""
    tensors, config = rosinality_tensors(generator), generator.config

    def images(w):
        chosen = MODULATIONS[modulation]
        for _, x in rosinality_synthesis(tensors, w, config, {}, chosen):  # noqa: B007
            pass
        return x

    return images


def local_semantics(generator, decomposer, modulation: str = "weights") -> Callable:
    """``w (n, d) -> albedo and depth (n, 4, h, w)``, of a pair that needs no crop."""
    images, tensors, config = (
        synthesis(generator, modulation),
        unsup3d_tensors(decomposer),
        decomposer.config,
    )
    prior = _tensor(depth_prior(config, np.float32))
    column = torch.arange(config.image_size, device=device())
    border = (column < 2) | (column >= config.image_size - 2)
    outer = torch.tensor(config.border, device=device())

    def semantics(w):
        # The reading yields layers as it computes them, depth and albedo first.
        layers = {}
        for name, x in unsup3d.networks(tensors, images(w), config, {}):
            if name in ("depth_net.out", "albedo_net.out"):
                layers[name] = x
            if name == "albedo_net.out":
                break
        raw = layers["depth_net.out"]
        if config.center_depth:
            raw = raw - raw.mean(dim=(2, 3), keepdim=True)
        depth = torch.tanh(prior + config.depth_gain * raw)
        depth = (1 + depth) / 2 * config.max_depth + (1 - depth) / 2 * config.min_depth
        if config.clamp_border:
            depth = torch.where(border, outer, depth)
        return torch.cat([torch.tanh(layers["albedo_net.out"]), depth], dim=1)

    return semantics
