"""JAX's compilation cache on disk, for commands: a second run finds its programs compiled.

The library does not turn it on: that is for whoever owns the process.
"""

import hashlib
import os
import pathlib
import platform
import re
import sys
import tempfile

import jax

from facesem_jax.errors import FacesemError

_SETTINGS = {
    # Least recently used entries go first.
    "jax_compilation_cache_max_size": 2**29,
    # All of them: a run compiles hundreds of small programs, and together they load in a fraction
    # of the time that they compile in (`python -m benchmarks --only newcomer`).
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": 0,
}


def cache_root() -> pathlib.Path:
    """The user's directory for caches, by the platform's convention.

    Raises:
      FacesemError: If the user has no home directory.
    """
    try:
        if sys.platform == "win32":
            given, usual = os.environ.get("LOCALAPPDATA"), ("AppData", "Local")
        elif sys.platform == "darwin":
            given, usual = None, ("Library", "Caches")
        else:
            given, usual = os.environ.get("XDG_CACHE_HOME"), (".cache",)
        return pathlib.Path(given) if given else pathlib.Path.home().joinpath(*usual)
    except RuntimeError as error:
        raise FacesemError(f"no home directory is known ({error}).") from error


def processor_key(cpuinfo: pathlib.Path = pathlib.Path("/proc/cpuinfo")) -> str:
    """A name for what this machine's compiled code may use: its kind and its instruction sets.

    Code for a CPU may crash another one, and a home directory may be seen from several machines;
    JAX's own key does not tell all CPUs apart.

    Args:
      cpuinfo: Linux's description of the processors. Where there is none, the host's name stands
        for them.

    Returns:
      Such as ``x86_64-1f0b63a29c4d``.
    """
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    lines = re.findall(r"^(?:flags|Features|model name|CPU part)\s*:.*$", text, re.MULTILINE)
    what = "\n".join(sorted(set(lines))) or f"{platform.node()} {platform.processor()}"
    return f"{platform.machine()}-{hashlib.sha256(what.encode()).hexdigest()[:12]}"


def use_compilation_cache() -> pathlib.Path | None:
    """Turns the cache on for this process, unless the environment says otherwise.

    JAX's own variables rule: ``JAX_ENABLE_COMPILATION_CACHE=0`` leaves it off,
    ``JAX_COMPILATION_CACHE_DIR`` puts it elsewhere, and ``JAX_COMPILATION_CACHE_MAX_SIZE`` (bytes)
    and ``JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS`` change what is kept.

    Returns:
      The directory, or ``None`` where the cache is off.

    Raises:
      FacesemError: If the directory cannot be written; the cache is then off.
    """
    if not jax.config.jax_enable_compilation_cache:
        return None
    given = jax.config.jax_compilation_cache_dir
    try:
        if given:
            directory = pathlib.Path(given)
        else:
            directory = cache_root() / "facesem-jax" / "jax" / processor_key()
        if "://" not in str(given):
            # Whoever writes here has code run in our name: for the user alone.
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=directory):
                pass
    except (OSError, FacesemError) as error:
        jax.config.update("jax_enable_compilation_cache", False)
        reason = getattr(error, "strerror", None) or str(error)
        raise FacesemError(
            f"compiled programs are not kept for the next run ({reason}); "
            "JAX_COMPILATION_CACHE_DIR names another directory for them, "
            "JAX_ENABLE_COMPILATION_CACHE=0 does without."
        ) from error
    for name, value in _SETTINGS.items():
        if name.upper() not in os.environ:
            jax.config.update(name, value)
    jax.config.update("jax_compilation_cache_dir", given or str(directory))
    return directory
