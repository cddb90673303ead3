"""One module on disk: an Orbax checkpoint of its arrays beside a small JSON description."""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from facesem_jax.configs import config_from_dict
from facesem_jax.errors import FacesemError, first_line

FORMAT = "facesem-jax module"
VERSION = 1
DESCRIPTION = "description.json"
WEIGHTS = "weights"


@dataclasses.dataclass(frozen=True)
class Description:
    """What `description.json` holds.

    Attributes:
      kind: Which module: a key of `facesem_jax.loading.KINDS`.
      config: Its config's fields.
      crop: From this generator's framing to its decomposer's: a name in
        `facesem_jax.decomposer.CROPS`, a (top, left, height, width) box in fractions of the image,
        or ``None`` where nobody said.
      source: Where the weights come from, in words.
    """

    kind: str
    config: dict
    crop: str | tuple[float, float, float, float] | None = None
    source: str = ""


def named_arrays(module: nnx.Module) -> dict[str, jax.Array]:
    """All arrays of a module (parameters and buffers) by path, such as ``convs/0/kernel``."""
    flat = nnx.to_flat_state(nnx.state(module))
    return {"/".join(str(part) for part in path): leaf[...] for path, leaf in flat}


def save_module(
    directory: str | pathlib.Path,
    module: nnx.Module,
    description: Description,
    *,
    dtype: str = "float32",
    allow_nonfinite: bool = False,
) -> None:
    """Writes a module, whole or not at all.

    Args:
      directory: Where to; must not exist yet, or be empty.
      module: The module.
      description: What it is.
      dtype: Stored type of the floating-point arrays, "float32" or "float16".
      allow_nonfinite: Whether NaN and infinite values may be written, and later loaded.

    Raises:
      FacesemError: If the directory is in use or cannot be written, or an array is not finite (in
        the stored type).
    """
    import orbax.checkpoint as ocp

    # Resolved: a link to an empty directory is filled, not replaced.
    directory = pathlib.Path(directory).resolve()
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise FacesemError(f"{directory} exists and is not empty; choose another or remove it.")
    arrays = {k: np.asarray(v).astype(dtype) for k, v in named_arrays(module).items()}
    for name, array in arrays.items():
        if not (allow_nonfinite or np.isfinite(array).all()):
            raise FacesemError(f"array {name} is not finite in {dtype}; nothing was written.")
    content = {"format": FORMAT, "version": VERSION} | dataclasses.asdict(description)
    content["dtype"] = dtype
    if allow_nonfinite:
        content["allow_nonfinite"] = True
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        partial = pathlib.Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    except OSError as error:
        raise FacesemError(f"{directory.parent} cannot be written: {error.strerror}.") from error
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(partial / WEIGHTS, arrays)
        # Orbax's note of where it wrote: a path of this machine, which no reader asks for.
        (partial / WEIGHTS / "commit_success.txt").unlink(missing_ok=True)
        content["files"] = file_digests(partial / WEIGHTS)
        (partial / DESCRIPTION).write_text(json.dumps(content, indent=1) + "\n")
        partial.chmod(0o755)
        os.replace(partial, directory)
    except Exception as error:  # Orbax and TensorStore raise many types where a disk is full.
        raise FacesemError(
            f"{directory} cannot be written ({first_line(error)}); nothing is left of it."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def file_digests(root: pathlib.Path) -> dict[str, str]:
    """SHA-256 of every file below a directory, by its relative path."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def damaged_file(root: pathlib.Path, digests: dict[str, str]) -> str | None:
    """What is wrong with files that were written, in words, or ``None`` if nothing is.

    To be asked before Orbax reads them: it reports a damaged file late, from another thread, and
    in many words.

    Args:
      root: The directory.
      digests: From `file_digests`, when they were written.
    """
    found = file_digests(root)
    for name, digest in digests.items():
        if found.get(name) != digest:
            what = "damaged (its SHA-256 differs)" if name in found else "missing"
            return f"{root / name} is {what}"
    return None


def _read_content(directory: pathlib.Path) -> dict:
    """The JSON of a description, its outer form checked."""
    path = pathlib.Path(directory) / DESCRIPTION
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise FacesemError(
            f"{directory} is no facesem-jax checkpoint: {path.name} cannot be read "
            f"({error.strerror}). Give a directory that the converter or a training wrote."
        ) from error
    except (ValueError, RecursionError) as error:
        raise FacesemError(f"{path} is no JSON: {error}.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise FacesemError(f"{path} does not describe a facesem-jax module.")
    if content.get("version") != VERSION:
        raise FacesemError(
            f"{path} has version {content.get('version')}; this release reads version {VERSION}."
        )
    if not isinstance(content.get("kind"), str) or not isinstance(content.get("config"), dict):
        raise FacesemError(f"{path} lacks a kind or a config.")
    if not isinstance(content.get("files"), dict):
        raise FacesemError(f"{path} lacks the list of files.")
    return content


def read_description(directory: str | pathlib.Path) -> Description:
    """Reads what a directory holds.

    Args:
      directory: As `save_module` wrote it.

    Returns:
      The description.

    Raises:
      FacesemError: If the directory is missing or holds no such description.
    """
    content = _read_content(pathlib.Path(directory))
    crop = content.get("crop")
    crop = tuple(crop) if isinstance(crop, list) else crop
    return Description(content["kind"], content["config"], crop, str(content.get("source", "")))


def checkpoint_digest(directory: str | pathlib.Path) -> str:
    """SHA-256 over the digests of a module's files: the same weights give the same text.

    Args:
      directory: As `save_module` wrote it.

    Returns:
      64 hexadecimal digits.

    Raises:
      FacesemError: As `read_description`.
    """
    files = _read_content(pathlib.Path(directory))["files"]
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def load_module(
    directory: str | pathlib.Path, build: Callable[..., nnx.Module], config_type: type
) -> nnx.Module:
    """Reads a module in float32, every array checked against the shape its config implies.

    Args:
      directory: As `save_module` wrote it.
      build: The module's class, called as ``build(config, rngs=rngs)``.
      config_type: The config's dataclass.

    Returns:
      The module.

    Raises:
      FacesemError: If the config is not one, arrays are missing, too many, of a wrong shape or not
        finite (naming them), or the checkpoint is damaged.
    """
    import orbax.checkpoint as ocp

    directory = pathlib.Path(directory).absolute()
    content = _read_content(directory)
    damage = damaged_file(directory / WEIGHTS, content["files"])
    if damage is not None:
        raise FacesemError(f"{damage}; convert or download it again.")
    try:
        config = config_from_dict(config_type, content["config"])
        graph, abstract, expected = _abstract(build, config)
    except FacesemError as error:
        raise FacesemError(f"{directory / DESCRIPTION}: {error}") from error
    except Exception as error:  # Values of any wrong type, met in the config's own checks.
        raise FacesemError(
            f"{directory / DESCRIPTION}: the config {content['config']} describes no "
            f"{build.__name__} ({error})."
        ) from error
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            stored = checkpointer.metadata(directory / WEIGHTS).item_metadata.tree
            _compare(directory, stored, expected)
            # In NumPy: every process of several reads for itself, and nothing is bound to a device.
            target = {name: np.zeros(leaf.shape, np.float32) for name, leaf in expected.items()}
            arrays = checkpointer.restore(directory / WEIGHTS, target)
    except FacesemError:
        raise
    except Exception as error:  # Orbax and TensorStore raise many types on damaged files.
        raise FacesemError(
            f"{directory / WEIGHTS} is missing or damaged ({first_line(error)}); "
            "convert or download the checkpoint again."
        ) from error
    for name, array in arrays.items():
        if content.get("allow_nonfinite") is not True and not np.isfinite(array).all():
            raise FacesemError(f"{directory}: array {name} holds NaN or infinite values.")
    return _merge(graph, abstract, [jnp.asarray(arrays[name]) for name in expected])


def _abstract(build: Callable[..., nnx.Module], config):
    """Graph, abstract state and shapes by path: nothing is drawn or allocated.

    Raises:
      FacesemError: On a config that describes no such module.
    """
    try:
        graph, abstract = nnx.split(nnx.eval_shape(lambda: build(config, rngs=nnx.Rngs(0))))
    except FacesemError:
        raise
    except Exception as error:  # Values of any wrong type or sign, met deep in a constructor.
        raise FacesemError(
            f"the config {config} describes no {build.__name__} ({error})."
        ) from error
    names = ["/".join(map(str, path)) for path, _ in nnx.to_flat_state(abstract)]
    return graph, abstract, dict(zip(names, jax.tree.leaves(abstract), strict=True))


def _merge(graph, abstract, leaves: list) -> nnx.Module:
    return nnx.merge(graph, jax.tree.unflatten(jax.tree.structure(abstract), leaves))


def module_from_arrays(
    build: Callable[..., nnx.Module], config, arrays: dict[str, np.ndarray]
) -> nnx.Module:
    """Builds a module around given arrays, float32; no initial weights are drawn.

    Args:
      build: The module's class, called as ``build(config, rngs=rngs)``.
      config: Its config.
      arrays: Every array of the module by path, as `named_arrays` gives them.

    Returns:
      The module.

    Raises:
      FacesemError: If arrays are missing, too many, or of a wrong shape, naming them.
    """
    graph, abstract, expected = _abstract(build, config)
    _compare(build.__name__, arrays, expected)
    return _merge(graph, abstract, [jnp.asarray(arrays[name], jnp.float32) for name in expected])


def _compare(where: pathlib.Path | str, stored: dict, expected: dict) -> None:
    missing = sorted(set(expected) - set(stored))
    unknown = sorted(set(stored) - set(expected))
    if missing or unknown:
        what = f"lacks {missing[0]}" if missing else f"holds an unexpected {unknown[0]}"
        count = len(missing) + len(unknown)
        raise FacesemError(
            f"{where}: the checkpoint {what} ({count} array(s) differ from its config)."
        )
    for name, leaf in expected.items():
        if tuple(stored[name].shape) != tuple(leaf.shape):
            raise FacesemError(
                f"{where}: array {name} has shape {tuple(stored[name].shape)}; "
                f"its config implies {tuple(leaf.shape)}."
            )
