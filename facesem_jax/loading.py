"""Models by name or directory: `load_generator`, `load_decomposer`, `load_encoder`, `load_crop`."""

import importlib.resources
import pathlib

from flax import nnx

from facesem_jax.checkpoint import DESCRIPTION, load_module, read_description
from facesem_jax.decomposer.config import DecomposerConfig
from facesem_jax.decomposer.crop import CropBox, crop_box
from facesem_jax.decomposer.decomposer import Decomposer
from facesem_jax.errors import FacesemError
from facesem_jax.generators.config import StyleGAN1Config, StyleGAN2Config
from facesem_jax.generators.dcgan import DCGAN, DCGANConfig
from facesem_jax.generators.encoder import Encoder, EncoderConfig
from facesem_jax.generators.stylegan1 import StyleGAN1
from facesem_jax.generators.stylegan2 import StyleGAN2

#: Kind in a description: (role, module, config).
KINDS = {
    "stylegan1": ("generator", StyleGAN1, StyleGAN1Config),
    "stylegan2": ("generator", StyleGAN2, StyleGAN2Config),
    "dcgan": ("generator", DCGAN, DCGANConfig),
    "encoder": ("encoder", Encoder, EncoderConfig),
    "unsup3d": ("decomposer", Decomposer, DecomposerConfig),
}


def bundled_names() -> tuple[str, ...]:
    """Names of the models that ship with the package."""
    root = importlib.resources.files("facesem_jax") / "weights"
    return tuple(sorted(p.name for p in root.iterdir() if p.is_dir())) if root.is_dir() else ()


def resolve(name_or_directory: str | pathlib.Path, role: str) -> pathlib.Path:
    """Finds the directory of one model.

    Args:
      name_or_directory: A bundled name; or a directory that holds one model, or several in
        subdirectories "generator", "encoder", "decomposer".
      role: Which of these is wanted.

    Returns:
      The directory with the model's description.

    Raises:
      FacesemError: On an unknown name, or a directory without such a model.
    """
    text = str(name_or_directory)
    if text in bundled_names():
        root = pathlib.Path(str(importlib.resources.files("facesem_jax") / "weights")) / text
    else:
        root = pathlib.Path(name_or_directory)
        try:
            found = root.is_dir()
        except OSError:  # A name too long for the file system.
            found = False
        if not found:
            known = ", ".join(bundled_names()) or "none"
            raise FacesemError(
                f"No {role} called {text!r}: it is neither a directory nor a bundled name "
                f"(known: {known})."
            )
    for directory in (root, root / role):
        if (directory / DESCRIPTION).is_file():
            return directory
    raise FacesemError(
        f"{root} is no facesem-jax checkpoint: neither it nor its subdirectory {role!r} holds a "
        f"{DESCRIPTION}. Give a directory that the converter or a training wrote, or one of: "
        f"{', '.join(bundled_names())}."
    )


def _load(name_or_directory, role: str) -> nnx.Module:
    directory = resolve(name_or_directory, role)
    kind = read_description(directory).kind
    if kind not in KINDS:
        raise FacesemError(f"{directory} holds a {kind!r}; this release knows {', '.join(KINDS)}.")
    found, module, config = KINDS[kind]
    if found != role:
        raise FacesemError(f"{directory} holds a {found} ({kind}); a {role} is wanted here.")
    return load_module(directory, module, config)


def load_generator(
    name_or_directory: str | pathlib.Path = "digiface64",
) -> StyleGAN1 | StyleGAN2 | DCGAN:
    """Loads a generator: ``mapping(z)``, ``synthesis(w)``, ``config``, ``params``.

    Args:
      name_or_directory: A bundled name, or a directory written by the converter or a training.

    Returns:
      The generator, float32.

    Raises:
      FacesemError: On an unknown name, a directory that holds no generator, or a damaged one.
    """
    return _load(name_or_directory, "generator")


def load_decomposer(name_or_directory: str | pathlib.Path = "digiface64") -> Decomposer:
    """Loads a decomposer, called on images in [-1, 1]; arguments and errors as `load_generator`."""
    return _load(name_or_directory, "decomposer")


def load_encoder(name_or_directory: str | pathlib.Path = "digiface64") -> Encoder:
    """Loads the encoder of a generator, image to w; arguments and errors as `load_generator`."""
    return _load(name_or_directory, "encoder")


def load_crop(name_or_directory: str | pathlib.Path = "digiface64") -> CropBox | None:
    """The crop from a generator's framing to the decomposer's, where its description says one.

    Args:
      name_or_directory: As for `load_generator`.

    Returns:
      The box, or ``None``.

    Raises:
      FacesemError: As `load_generator`, or on an unknown crop.
    """
    crop = read_description(resolve(name_or_directory, "generator")).crop
    if crop is None:
        return None
    if isinstance(crop, str):
        return crop_box(crop)
    try:
        return CropBox(*crop)
    except TypeError as error:
        raise FacesemError(
            f"The description of {name_or_directory} has the crop {crop!r}; expected a name or "
            "four numbers (top, left, height, width)."
        ) from error
