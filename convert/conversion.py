"""From a checkpoint file to a module: read, tell the format, check, build, save."""

import collections
import dataclasses
import pathlib

from flax import nnx

from convert.converted import Converted
from convert.formats import FORMATS, Detected, detect, why_ignored, without_wrapper
from convert.source_files import SourceFile, read_source
from convert.tensors import Tensors
from facesem_jax.checkpoint import Description, module_from_arrays, save_module
from facesem_jax.decomposer.crop import CropBox, crop_box
from facesem_jax.errors import FacesemError
from facesem_jax.loading import KINDS


@dataclasses.dataclass(frozen=True)
class Conversion:
    """A converted checkpoint, not yet written.

    Attributes:
      source: The file.
      detected: Its format and state dict.
      converted: The module as plain data.
      used: Names of the tensors that were used.
      ignored: Names of the tensors that were not, with the reason.
    """

    source: SourceFile
    detected: Detected
    converted: Converted
    used: tuple[str, ...]
    ignored: dict[str, str]

    @property
    def role(self) -> str:
        """Generator or decomposer, as `facesem_jax.loading.KINDS` says it."""
        return KINDS[self.converted.kind][0]

    def module(self) -> nnx.Module:
        """Builds the module.

        Raises:
          FacesemError: If the arrays do not fit the config.
        """
        _, build, _ = KINDS[self.converted.kind]
        return module_from_arrays(build, self.converted.config, self.converted.arrays)

    def save(
        self,
        directory: str | pathlib.Path,
        *,
        crop: str | CropBox | None = None,
        allow_nonfinite: bool = False,
    ) -> None:
        """Writes the module, whole or not at all.

        Args:
          directory: Where to; must not exist yet, or be empty.
          crop: From the generator's framing to the decomposer's; ``None`` keeps the format's own.
          allow_nonfinite: Whether NaN and infinite weights may be written.

        Raises:
          FacesemError: As `facesem_jax.checkpoint.save_module`.
        """
        if crop is None:
            crop = self.converted.crop
        elif self.role != "generator":
            raise FacesemError("a crop belongs to a generator; this file holds a decomposer.")
        if isinstance(crop, CropBox):
            crop = dataclasses.astuple(crop)
        elif isinstance(crop, str):
            crop_box(crop)
        source = (
            f"{self.source.path.name} ({FORMATS[self.detected.format].title}), "
            f"sha256 {self.source.sha256}"
        )
        description = Description(
            self.converted.kind, dataclasses.asdict(self.converted.config), crop, source
        )
        save_module(directory, self.module(), description, allow_nonfinite=allow_nonfinite)

    def summary(self) -> str:
        """What was found, in lines for people."""
        config = self.converted.config
        size = getattr(config, "resolution", None) or config.image_size
        noise = sum(a.size for k, a in self.converted.arrays.items() if k.endswith("/noise"))
        trained = sum(a.size for a in self.converted.arrays.values()) - noise
        noisy = f", and noise maps of {noise:,} numbers" if noise else ""
        lines = [
            ("source", str(self.source.path)),
            ("sha256", self.source.sha256),
            ("container", self.source.container),
            ("format", f"{FORMATS[self.detected.format].title} ({self.detected.format})"),
            ("state dict", self.detected.prefix.rstrip(".") or "the whole file"),
            ("kind", f"{self.role} ({self.converted.kind})"),
            ("resolution", f"{size} x {size}"),
        ]
        lines += [
            (name.replace("_", " "), _by_resolution(value) if name == "channels" else str(value))
            for name, value in dataclasses.asdict(config).items()
            if name not in ("resolution", "image_size")
        ]
        lines += [
            ("parameters", f"{trained:,} in {len(self.converted.arrays)} arrays{noisy}"),
            ("tensors used", str(len(self.used))),
            ("ignored", str(len(self.ignored)) if self.ignored else "none"),
        ]
        width = max(len(name) for name, _ in lines)
        text = [f"{name:<{width}}  {value}" for name, value in lines]
        text += [f"  {name}: {why}" for name, why in _grouped(self.ignored)]
        text += [f"note: {note}" for note in self.converted.notes]
        return "\n".join(text)


def _by_resolution(channels: tuple[int, ...]) -> str:
    return ", ".join(f"{4 << level}: {count}" for level, count in enumerate(channels))


def _grouped(ignored: dict[str, str]) -> list[tuple[str, str]]:
    """Ignored tensors by name; many of one part and one reason in one line."""
    parts = collections.defaultdict(list)
    for name, why in ignored.items():
        parts[name.partition(".")[0], why].append(name)
    lines = []
    for (part, why), names in parts.items():
        if len(names) > 12:
            lines.append((f"{part}.* ({len(names)} tensors)", why))
        else:
            lines += [(name, why) for name in names]
    return lines


def convert_file(
    path: str | pathlib.Path, format: str | None = None, *, allow_nonfinite: bool = False
) -> Conversion:
    """Converts a checkpoint in memory.

    Args:
      path: The file: PyTorch (zip or legacy), network pickle or safetensors.
      format: A key of `convert.formats.FORMATS`; ``None`` tells it from the tensors' names.
      allow_nonfinite: Whether NaN and infinite weights may pass.

    Returns:
      The conversion.

    Raises:
      FacesemError: If the file cannot be read, its format is unknown, or a tensor is missing, has
        a wrong shape or is not finite.
    """
    source = read_source(path)
    try:
        return _convert(source, format, allow_nonfinite)
    except FacesemError as error:
        raise FacesemError(f"{path}: {error}") from error


def _convert(source: SourceFile, format: str | None, allow_nonfinite: bool) -> Conversion:
    arrays = {without_wrapper(name): array for name, array in source.arrays.items()}
    attributes = {without_wrapper(name): value for name, value in source.attributes.items()}
    detected = detect(arrays, format)
    chosen = FORMATS[detected.format]
    inside = {
        name.removeprefix(detected.prefix): array
        for name, array in arrays.items()
        if name.startswith(detected.prefix)
    }
    extras = {name: arrays[name] for name in chosen.extras if name in arrays}
    tensors = Tensors(inside | extras, allow_nonfinite=allow_nonfinite)
    converted = chosen.read(
        tensors,
        {
            name.removeprefix(detected.prefix): value
            for name, value in attributes.items()
            if name.startswith(detected.prefix)
        },
    )
    outside = {
        name: why_ignored(name)
        for name in arrays
        if not name.startswith(detected.prefix) and name not in extras
    }
    if not detected.prefix:
        for name in inside:
            if name not in tensors.used and why_ignored(name) != "another part":
                tensors.ignored[name] = why_ignored(name)
    tensors.check_all_used()
    if detected.raw_copy:
        converted.notes.append(
            f"the file holds no moving average of the generator: {detected.prefix.rstrip('.')}, "
            "the copy that training steps, was taken."
        )
    return Conversion(
        source, detected, converted, tuple(sorted(tensors.used)), outside | tensors.ignored
    )
