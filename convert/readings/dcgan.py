"""DCGAN's generator in PyTorch, batch normalisation by its running statistics."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F


def generator(t, z, config, noise) -> Iterator:
    """gan-face-generate's network ``main``."""
    x = F.conv_transpose2d(z[:, :, None, None], t["main.0.weight"])
    for i in range(4):
        name = f"main.{3 * i + 1}"
        mean, var = t[f"{name}.running_mean"], t[f"{name}.running_var"]
        x = F.batch_norm(x, mean, var, t[f"{name}.weight"], t[f"{name}.bias"], eps=1e-5)
        x = F.relu(x)
        yield f"layers.{i}", x
        x = F.conv_transpose2d(x, t[f"main.{3 * i + 3}.weight"], stride=2, padding=1)
    yield "layers.4", torch.tanh(x)
