"""StyleGAN2 in PyTorch, read with each codebase's own names."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F


def mapping(t, z, name, layers: int, lr: float) -> Iterator:
    """Pixel norm and fully connected layers, each weight scaled by lr / sqrt(inputs)."""
    x = z / torch.sqrt(torch.mean(z**2, dim=1, keepdim=True) + 1e-8)
    for i in range(layers):
        weight = t[f"{name(i)}.weight"]
        x = F.linear(x, weight * (lr / math.sqrt(weight.shape[1])), t[f"{name(i)}.bias"] * lr)
        x = F.leaky_relu(x, 0.2) * math.sqrt(2)
        yield f"mapping.layers.{i}", x


def upfirdn(x, up: int, pad: tuple[int, int], gain: float):
    """Inserts zeros, pads and filters with [1, 3, 3, 1]."""
    n, c, h, w = x.shape
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = torch.outer(taps, taps).to(x) / 64 * gain
    # Padding, and no writing in place, which torch.func cannot trace.
    wide = F.pad(x[:, :, :, None, :, None], (0, up - 1, 0, 0, 0, up - 1))
    wide = F.pad(wide.reshape(n, c, h * up, w * up), (*pad, *pad))
    return F.conv2d(wide, kernel[None, None].repeat(c, 1, 1, 1), groups=c)


def modulated(x, weight, style, *, up: bool = False, demodulate: bool = True):
    """A convolution with weights of its own for every sample, as one grouped convolution."""
    n, c, h, w = x.shape
    outputs, _, size, _ = weight.shape
    weight = weight[None] * style[:, None, :, None, None]
    if demodulate:
        weight = weight * torch.rsqrt(torch.sum(weight**2, dim=(2, 3, 4), keepdim=True) + 1e-8)
    x = x.reshape(1, n * c, h, w)
    if up:
        weight = weight.transpose(1, 2).reshape(n * c, outputs, size, size)
        x = F.conv_transpose2d(x, weight, stride=2, groups=n)
        return upfirdn(x.reshape(n, outputs, 2 * h + 1, 2 * w + 1), 1, (1, 1), 4)
    weight = weight.reshape(n * outputs, c, size, size)
    return F.conv2d(x, weight, padding=size // 2, groups=n).reshape(n, outputs, h, w)


def _style(t, name, w, offset=0.0):
    weight = t[f"{name}.weight"]
    return F.linear(w, weight / math.sqrt(weight.shape[1]), t[f"{name}.bias"] + offset)


def _clamp(x, limit):
    return x if limit is None else x.clamp(-limit, limit)


def _synthesis(const, w, levels, conv, to_rgb, clamp, modulated=modulated) -> Iterator:
    """The chain of layers; ``conv(i)`` and ``to_rgb(i)`` give a layer's tensors.

    conv: kernel, style, noise, strength, bias; to_rgb: kernel, style, bias. ``modulated`` can be
    another function with the same arguments.
    """
    x = const.expand(w.shape[0], -1, -1, -1)
    image, layer = None, 0
    for level in range(levels):
        for up in (True, False) if level else (False,):
            kernel, style, noise, strength, bias = conv(layer)
            # Scaled as the equalised learning rate does, which demodulation undoes.
            kernel = kernel / math.sqrt(kernel[0].numel())
            x = modulated(x, kernel, style, up=up)
            x = F.leaky_relu(x + noise * strength + bias[None, :, None, None], 0.2) * math.sqrt(2)
            x = _clamp(x, clamp)
            yield f"synthesis.convs.{layer}", x
            layer += 1
        kernel, style, bias = to_rgb(level)
        rgb = modulated(x, kernel / math.sqrt(kernel.shape[1]), style, demodulate=False)
        rgb = _clamp(rgb + bias[None, :, None, None], clamp)
        image = rgb if image is None else upfirdn(image, 2, (2, 1), 4) + rgb
        yield f"synthesis.to_rgbs.{level}", image


def rosinality(t, z, config, noise) -> Iterator:
    """rosinality/stylegan2-pytorch."""
    for layer, w in mapping(t, z, lambda i: f"style.{i + 1}", config.mapping_layers, 0.01):
        yield layer, w
    yield from rosinality_synthesis(t, w, config, noise)


def rosinality_synthesis(t, w, config, noise, modulated=modulated) -> Iterator:
    """Its layers after the mapping network; ``noise`` holds the maps that ``t`` lacks."""

    def conv(i):
        name = f"convs.{i - 1}" if i else "conv1"
        own = t.get(f"noises.noise_{i}")
        own = noise[f"synthesis/convs/{i}/noise"] if own is None else own
        return (
            t[f"{name}.conv.weight"][0],
            _style(t, f"{name}.conv.modulation", w),
            own,
            t[f"{name}.noise.weight"],
            t[f"{name}.activate.bias"],
        )

    def to_rgb(i):
        name = f"to_rgbs.{i - 1}" if i else "to_rgb1"
        kernel, bias = t[f"{name}.conv.weight"][0], t[f"{name}.bias"].reshape(-1)
        return kernel, _style(t, f"{name}.conv.modulation", w), bias

    levels = len(config.channels)
    yield from _synthesis(t["input.input"], w, levels, conv, to_rgb, None, modulated)


def nvlabs(t, z, config, noise) -> Iterator:
    """NVlabs/stylegan2-ada-pytorch."""
    lr = config.mapping_lr_multiplier
    for layer, w in mapping(t, z, lambda i: f"mapping.fc{i}", config.mapping_layers, lr):
        yield layer, w
    # conv1 of 4x4, then conv0 and conv1 of every resolution.
    names = ["b4.conv1"]
    for level in range(1, len(config.channels)):
        names += [f"b{4 * 2**level}.conv0", f"b{4 * 2**level}.conv1"]

    def conv(i):
        name = f"synthesis.{names[i]}"
        return (
            t[f"{name}.weight"],
            _style(t, f"{name}.affine", w),
            t[f"{name}.noise_const"],
            t[f"{name}.noise_strength"],
            t[f"{name}.bias"],
        )

    def to_rgb(i):
        name = f"synthesis.b{4 * 2**i}.torgb"
        return t[f"{name}.weight"], _style(t, f"{name}.affine", w), t[f"{name}.bias"]

    const = t["synthesis.b4.const"][None]
    yield from _synthesis(const, w, len(config.channels), conv, to_rgb, config.conv_clamp)


def genforce(t, z, config, noise) -> Iterator:
    """Genforce StyleGAN2: styles lack their 1, kernels of up-sampling layers are mirrored."""
    for layer, w in mapping(t, z, lambda i: f"mapping.dense{i}", config.mapping_layers, 0.01):
        yield layer, w

    def conv(i):
        name = f"synthesis.layer{i}"
        kernel = t[f"{name}.weight"]
        return (
            kernel.flip(2, 3) if i % 2 else kernel,
            _style(t, f"{name}.style", w, 1.0),
            t[f"{name}.noise"],
            t[f"{name}.noise_strength"],
            t[f"{name}.bias"],
        )

    def to_rgb(i):
        name = f"synthesis.output{i}"
        return t[f"{name}.weight"], _style(t, f"{name}.style", w, 1.0), t[f"{name}.bias"]

    const = t["synthesis.early_layer.const"]
    yield from _synthesis(const, w, len(config.channels), conv, to_rgb, None)
