"""StyleGAN 1 in PyTorch, with genforce's names."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F


def _blur(x):
    taps = torch.tensor([1.0, 2.0, 1.0])
    kernel = torch.outer(taps, taps) / 16
    return F.conv2d(x, kernel.expand(x.shape[1], 1, 3, 3), padding=1, groups=x.shape[1])


def _upsampled(x, weight, fused: bool):
    if not fused:
        return F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), weight, padding=1)
    wide = F.pad(weight, (1, 1, 1, 1))
    wide = wide[:, :, 1:, 1:] + wide[:, :, :-1, 1:] + wide[:, :, 1:, :-1] + wide[:, :, :-1, :-1]
    return F.conv_transpose2d(x, wide.transpose(0, 1), stride=2, padding=1)


def genforce(t, z, config, noise) -> Iterator:
    """Genforce StyleGAN: He's gain in the weights, AdaIN after every layer."""
    x = z / torch.sqrt(torch.mean(z**2, dim=1, keepdim=True) + 1e-8)
    for i in range(config.mapping_layers):
        weight = t[f"mapping.dense{i}.weight"]
        gain = 0.01 * math.sqrt(2 / weight.shape[1])
        x = F.leaky_relu(F.linear(x, weight * gain, t[f"mapping.dense{i}.bias"] * 0.01), 0.2)
        yield f"mapping.layers.{i}", x
    w, x = x, None
    layers = 2 * len(config.channels)
    for i in range(layers):
        name = f"synthesis.layer{i}"
        if i == 0:
            x = t[f"{name}.const"].expand(w.shape[0], -1, -1, -1)
        else:
            weight = t[f"{name}.weight"]
            weight = weight * math.sqrt(2 / weight[0].numel())
            if i % 2 == 0:
                size = 4 * 2 ** (i // 2)
                x = _blur(_upsampled(x, weight, size >= config.fused_resolution))
            else:
                x = F.conv2d(x, weight, padding=1)
        strength = t[f"{name}.apply_noise.weight"][None, :, None, None]
        x = x + t[f"{name}.apply_noise.noise"] * strength + t[f"{name}.bias"][None, :, None, None]
        x = F.leaky_relu(x, 0.2)
        x = x - x.mean(dim=(2, 3), keepdim=True)
        x = x / torch.sqrt((x**2).mean(dim=(2, 3), keepdim=True) + 1e-8)
        weight = t[f"{name}.style.weight"]
        style = F.linear(w, weight / math.sqrt(weight.shape[1]), t[f"{name}.style.bias"])
        scale, shift = style[:, :, None, None].chunk(2, dim=1)
        x = x * (scale + 1) + shift
        yield f"synthesis.layers.{i}", x
    name = f"synthesis.output{layers // 2 - 1}"
    weight = t[f"{name}.weight"]
    image = F.conv2d(x, weight / math.sqrt(weight.shape[1]), t[f"{name}.bias"])
    yield "synthesis.to_rgb", image
