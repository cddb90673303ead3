"""Names of a package that are imported when they are first asked for (PEP 562)."""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence


def lazy_names(
    package: str, modules: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """A package's ``__getattr__`` and ``__dir__``, so that importing it costs next to nothing.

    JAX, Flax and SciPy take seconds to import; who asks for a version or a `FacesemError` should
    not wait for them.

    Args:
      package: The package's ``__name__``.
      modules: Names to offer, by the module (below the package) that defines them. A name that is
        a module's too (``semantics.jacobian``) cannot be among them: whoever imports that module
        first would put it in the name's place.

    Returns:
      The two functions; assign them in the package.
    """
    assert not {name for names in modules.values() for name in names} & set(modules)
    where = {name: f"{package}.{module}" for module, names in modules.items() for name in names}

    def getattr_(name: str) -> object:
        if name not in where:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(where[name]), name)
        setattr(sys.modules[package], name, value)  # From now on without this function.
        return value

    def dir_() -> list[str]:
        return sorted({*vars(sys.modules[package]), *where})

    return getattr_, dir_
