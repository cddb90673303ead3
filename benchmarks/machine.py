"""What a figure was measured on."""

import importlib.metadata
import os
import pathlib
import platform
import re

import jax

_PACKAGES = ("facesem-jax", "jax", "jaxlib", "flax", "numpy", "torch", "numba", "scikit-learn")


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def cpu_model() -> str:
    """The processor's name."""
    info = pathlib.Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", info.read_text()) if info.exists() else None
    return found[1].strip() if found else platform.processor() or platform.machine()


def memory_gib() -> float | None:
    """The machine's memory in GiB."""
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    return round(size / 2**30, 1)


def device_name() -> str:
    """Of the device that JAX computes on: the processor's for a CPU."""
    device = jax.devices()[0]
    return f"CPU: {cpu_model()}" if device.platform == "cpu" else f"{device.device_kind}"


def on_accelerator() -> bool:
    """Whether JAX computes on something else than the CPU."""
    return jax.default_backend() != "cpu"


def version(package: str) -> str | None:
    """Of an installed package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def describe() -> dict:
    """Machine and versions, JSON-able."""
    versions = {name: found for name in _PACKAGES if (found := version(name))}
    return {
        "device": device_name(),
        "cpu": cpu_model(),
        "cores": cores(),
        "memory_gib": memory_gib(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version()} | versions,
    }


def load() -> float | None:
    """The machine's load over the last minute, as a number of busy processors."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None
