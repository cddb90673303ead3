"""Pictures and maps that are smooth, so that moving them by a part of a pixel is no jump."""

import numpy as np


def smooth_fields(rng: np.random.Generator, size: int, count: int, channels: int) -> np.ndarray:
    """Fields of a few low frequencies, (count, size, size, channels), about within [-1, 1]."""
    y, x = np.mgrid[:size, :size] / size
    waves = np.stack([np.cos(np.pi * (i * x + j * y) + i) for i in range(3) for j in range(3)], -1)
    return waves @ rng.normal(size=(count, 1, 9, channels)) / 4
