"""Paired timings: every round calls every function once, so that noise meets all of them alike."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np

#: Seconds per round, by function.
Rounds = dict[str, list[float]]


def wait(result: object) -> None:
    """Returns when ``result`` is there: JAX and CUDA return before their work is done."""
    jax.block_until_ready(result)
    if any(getattr(leaf, "is_cuda", False) for leaf in jax.tree.leaves(result)):
        import torch

        torch.cuda.synchronize()


def interleaved(
    functions: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    at_most: Mapping[str, int] | None = None,
    settle: float = 0.02,
    clock: Callable[[], float] = time.perf_counter,
) -> Rounds:
    """Times functions in turn, after one call of each that compiles.

    Args:
      functions: By name, without arguments.
      rounds: How often each is timed.
      at_most: Fewer rounds for the slow ones, by name.
      settle: Seconds to wait before each call. The threads of PyTorch and of XLA spin for a while
        after their work, and would take a core from the next function.
      clock: Seconds.

    Returns:
      Seconds of each function in each of its rounds, in order.
    """
    for function in functions.values():
        wait(function())
    seconds = {name: [] for name in functions}
    for turn in range(rounds):
        for name, function in functions.items():
            if turn >= (at_most or {}).get(name, rounds):
                continue
            time.sleep(settle)
            begin = clock()
            wait(function())
            seconds[name].append(clock() - begin)
    return seconds


def spread(seconds: Sequence[float], scale: float = 1.0) -> dict:
    """Median, smallest and largest of ``scale * seconds``, and how many there were."""
    values = [scale * s for s in seconds]
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "rounds": len(values),
    }


def paired_ratio(a: Sequence[float], b: Sequence[float]) -> dict:
    """The spread of ``a / b`` over the rounds that both took part in."""
    return spread([x / y for x, y in zip(a, b, strict=False)])


def best_of(candidates: Mapping[int, Sequence[float]]) -> int:
    """The setting with the smallest median."""
    return min(candidates, key=lambda setting: statistics.median(candidates[setting]))


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> dict:
    """Least squares of ``log seconds = log c + p log size``.

    Returns:
      ``exponent`` p, ``constant`` c, and ``worst``: the largest factor (at least 1) between a
      measured and a fitted time.
    """
    x, y = np.log(np.asarray(sizes, float)), np.log(np.asarray(seconds, float))
    slope, intercept = np.polyfit(x, y, 1)
    residual = np.abs(y - intercept - slope * x).max()
    return {
        "exponent": float(slope),
        "constant": float(np.exp(intercept)),
        "worst": float(np.exp(residual)),
    }
