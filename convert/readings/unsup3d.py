"""Unsup3D's five networks in PyTorch, as plain lists of layers."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F

_SLOPE = 0.2


def _leaky(x):
    return F.leaky_relu(x, _SLOPE)


def _norm(t, name, x):
    # The reference's groups are 16 at the first width and grow with the channels.
    first = t[name.split(".")[0] + ".network.0.weight"].shape[0]
    groups = 16 * x.shape[1] // first
    return F.group_norm(x, groups, t[f"{name}.weight"], t[f"{name}.bias"], eps=1e-5)


def _down(t, net, x, activation, step, normalised) -> Iterator:
    """Four stride-2 convolutions; the index of each in ``network`` grows by ``step``."""
    for i in range(4):
        x = F.conv2d(x, t[f"{net}.network.{step * i}.weight"], stride=2, padding=1)
        if normalised and i < 3:
            x = _norm(t, f"{net}.network.{step * i + 1}", x)
        x = activation(x)
        yield f"down.{i}", x
    return x


def _deconv(t, name, x):
    return F.conv_transpose2d(x, t[f"{name}.weight"], stride=2, padding=1)


def _conv(t, name, x):
    weight = t[f"{name}.weight"]
    return F.conv2d(x, weight, padding=weight.shape[-1] // 2)


def _encoder_decoder(t, net, x) -> Iterator:
    x = yield from _down(t, net, x, _leaky, 3, True)
    x = F.relu(F.conv2d(x, t[f"{net}.network.11.weight"]))
    yield "bottleneck", x
    x = F.relu(F.conv_transpose2d(x, t[f"{net}.network.13.weight"]))
    yield "unfold", x
    x = F.relu(_conv(t, f"{net}.network.15", x))
    yield "refine", x
    for i in range(6):
        at = f"{net}.network.{17 + 3 * i}"
        x = (_conv if i % 2 else _deconv)(t, at, x)
        x = F.relu(_norm(t, f"{net}.network.{18 + 3 * i}", x))
        yield f"up.{i}", x
    x = F.interpolate(x, scale_factor=2, mode="nearest")
    for i in range(2):
        x = _conv(t, f"{net}.network.{36 + 3 * i}", x)
        x = F.relu(_norm(t, f"{net}.network.{37 + 3 * i}", x))
        yield f"head.{i}", x
    yield "out", _conv(t, f"{net}.network.42", x)


def _encoder(t, net, x) -> Iterator:
    x = yield from _down(t, net, x, F.relu, 2, False)
    x = F.relu(F.conv2d(x, t[f"{net}.network.8.weight"]))
    yield "bottleneck", x
    yield "out", torch.tanh(F.conv2d(x, t[f"{net}.network.10.weight"]))


def _confidence(t, net, x) -> Iterator:
    x = yield from _down(t, net, x, _leaky, 3, True)
    x = F.relu(F.conv2d(x, t[f"{net}.network.11.weight"]))
    yield "bottleneck", x
    x = F.relu(F.conv_transpose2d(x, t[f"{net}.network.13.weight"]))
    yield "unfold", x
    for i in range(2):
        x = _deconv(t, f"{net}.network.{15 + 3 * i}", x)
        x = F.relu(_norm(t, f"{net}.network.{16 + 3 * i}", x))
        yield f"up.{i}", x
    yield "coarse_out", F.softplus(_conv(t, f"{net}.out_net2.0", x))
    for i in range(2):
        x = _deconv(t, f"{net}.out_net1.{3 * i}", x)
        x = F.relu(_norm(t, f"{net}.out_net1.{3 * i + 1}", x))
        yield f"fine.{i}", x
    yield "fine_out", F.softplus(_conv(t, f"{net}.out_net1.6", x))


def networks(t, images, config, noise) -> Iterator:
    """All five, in the order of the decomposer's fields."""
    for net, field, read in (
        ("netD", "depth_net", _encoder_decoder),
        ("netA", "albedo_net", _encoder_decoder),
        ("netL", "light_net", _encoder),
        ("netV", "view_net", _encoder),
        ("netC", "confidence_net", _confidence),
    ):
        for layer, x in read(t, net, images):
            yield f"{field}.{layer}", x
