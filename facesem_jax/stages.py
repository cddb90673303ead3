"""Networks as rows of named stages, so that two readings of one can be compared layer by layer."""

from collections.abc import Iterator

from jaxtyping import Array

#: Every layer's output with its name, in order; what the networks' ``stages`` yield.
Stages = Iterator[tuple[str, Array]]


def last_stage(stages: Stages) -> Array:
    """Runs the stages one after the other, keeping none, and returns the last one's output.

    Args:
      stages: At least one.
    """
    for _, output in stages:  # noqa: B007 (the last one is what is asked for)
        pass
    return output
