"""What the reader of one format gives back."""

import dataclasses

import numpy as np

#: A type of ours for every config: what `facesem_jax.loading.KINDS` builds from.
Config = object


@dataclasses.dataclass
class Converted:
    """A module as plain data.

    Attributes:
      kind: A key of `facesem_jax.loading.KINDS`.
      config: The config that the tensors' shapes imply.
      arrays: All arrays of the module, by path (``synthesis/convs/0/kernel``).
      notes: What a user should know: what was assumed, estimated or dropped.
      crop: The crop that belongs to this source, or ``None``.
    """

    kind: str
    config: Config
    arrays: dict[str, np.ndarray]
    notes: list[str] = dataclasses.field(default_factory=list)
    crop: str | tuple[float, float, float, float] | None = None
