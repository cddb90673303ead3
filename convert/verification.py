"""The same weights read twice, by PyTorch and by the converted module, compared layer by layer."""

import dataclasses
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from convert.conversion import Conversion
from convert.formats import without_wrapper
from facesem_jax.errors import FacesemError

#: Agreement: |difference| at most this share of the layer's largest value (or of 1).
TOLERANCE = 1e-4
_COUNT = 2


@dataclasses.dataclass(frozen=True)
class Row:
    """One layer.

    Attributes:
      layer: Its name, as in the module here.
      shape: Of its output, one sample.
      difference: Largest absolute difference.
      magnitude: Largest absolute value in PyTorch's reading.
    """

    layer: str
    shape: tuple[int, ...]
    difference: float
    magnitude: float

    @property
    def agrees(self) -> bool:
        """Whether the two readings are equal up to rounding (NaN in the same places counts)."""
        return self.difference <= TOLERANCE * max(1.0, self.magnitude)


def verify(conversion: Conversion, module, *, seed: int = 0) -> list[Row]:
    """Compares a module with PyTorch's reading of the file it was converted from.

    Args:
      conversion: The conversion, with the file's tensors.
      module: The module, as loaded from the directory that was written.
      seed: Of the latents (or images).

    Returns:
      One row per layer, in order.

    Raises:
      FacesemError: Without PyTorch, or if the readings have different layers.
    """
    try:
        import torch

        from convert.readings import reading_of
    except ImportError as error:
        raise FacesemError(
            "--verify needs PyTorch: python -m pip install 'facesem-jax[convert]'."
        ) from error
    prefix = conversion.detected.prefix
    tensors = {}
    for name, array in conversion.source.arrays.items():
        name = without_wrapper(name)
        if name.startswith(prefix):
            tensors[name.removeprefix(prefix)] = torch.from_numpy(np.array(array, np.float32))
    inputs, ours = _stages(conversion.converted, module, seed)
    # Noise maps that the file lacks were drawn at the conversion: PyTorch gets the same.
    noise = {
        name: torch.from_numpy(np.ascontiguousarray(array))
        for name, array in conversion.converted.arrays.items()
        if name.endswith("/noise")
    }
    read = reading_of(conversion.detected.format)
    rows = []
    with torch.no_grad():
        theirs = read(tensors, torch.from_numpy(inputs), conversion.converted.config, noise)
        for (layer, found), (name, expected) in zip(ours, theirs, strict=True):
            if layer != name:
                raise FacesemError(f"layer {layer} stands against {name}: a bug in the converter.")
            rows.append(_compare(layer, np.asarray(found), expected.numpy()))
    return rows


def _compare(layer: str, found: np.ndarray, expected: np.ndarray) -> Row:
    if expected.ndim == 4:
        expected = expected.transpose(0, 2, 3, 1)
    if found.shape != expected.shape:
        raise FacesemError(f"layer {layer} has shape {found.shape}; PyTorch's {expected.shape}.")
    same = (found == expected) | (np.isnan(found) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0, np.abs(found - expected))
    # A NaN on one side alone is no agreement.
    difference = np.where(np.isnan(difference), np.inf, difference)
    finite = np.abs(expected[np.isfinite(expected)])
    return Row(layer, found.shape[1:], float(difference.max()), float(finite.max(initial=0)))


def _stages(converted, module, seed: int) -> tuple[np.ndarray, Iterator]:
    """Inputs, and the module's layers on them."""
    rng = np.random.default_rng(seed)
    if converted.kind == "unsup3d":
        size = converted.config.image_size
        images = rng.uniform(-1, 1, (_COUNT, size, size, 3)).astype(np.float32)
        return images.transpose(0, 3, 1, 2).copy(), _decomposer_stages(module, images)
    z = rng.standard_normal((_COUNT, converted.config.z_dim), np.float32)
    return z, (_dcgan_stages if converted.kind == "dcgan" else _stylegan_stages)(module, z)


def _stylegan_stages(generator, z) -> Iterator:
    for layer, w in generator.mapping.stages(jnp.asarray(z)):
        yield f"mapping.{layer}", w
    for layer, x in generator.synthesis.stages(w):
        yield f"synthesis.{layer}", x


def _dcgan_stages(dcgan, z) -> Iterator:
    yield from dcgan.synthesis.stages(jnp.asarray(z))


def _decomposer_stages(decomposer, images) -> Iterator:
    for net in ("depth_net", "albedo_net", "light_net", "view_net", "confidence_net"):
        for layer, x in getattr(decomposer, net).stages(jnp.asarray(images)):
            yield f"{net}.{layer}", x


def verification_report(rows: list[Row]) -> str:
    """The rows as a table, with a last line that says the worst."""
    width = max(len(row.layer) for row in rows)
    lines = [f"{'layer':<{width}}  {'shape':<16} {'difference':>10}  {'largest':>9}"]
    for row in rows:
        shape = " x ".join(map(str, row.shape))
        mark = "" if row.agrees else "  DIFFERS"
        lines.append(
            f"{row.layer:<{width}}  {shape:<16} {row.difference:>10.1e}  {row.magnitude:>9.3g}"
            + mark
        )
    worst = max(rows, key=lambda row: row.difference / max(1.0, row.magnitude))
    verdict = "agree" if all(row.agrees for row in rows) else "DISAGREE"
    lines.append(
        f"PyTorch and JAX {verdict} in {len(rows)} layers; the largest difference for its layer's "
        f"values is {worst.difference:.1e}, in {worst.layer}."
    )
    return "\n".join(lines)
