"""Config dataclasses to and from the dictionaries that JSON files hold."""

import dataclasses

from facesem_jax.errors import FacesemError


def config_from_dict(cls, data: dict):
    """Builds a config dataclass from `dataclasses.asdict`'s dictionary, by way of JSON or not.

    Args:
      cls: The dataclass to build.
      data: Every field by name; lists become tuples. A field that was added to the class later,
        ``field(default=..., metadata={"added": True})``, may be missing, as in older files.

    Returns:
      An instance of ``cls``.

    Raises:
      FacesemError: On an unknown or a missing field, naming it.
    """
    if not isinstance(data, dict):
        raise FacesemError(f"{cls.__name__}: expected a dictionary, found {data!r}.")
    known = [f.name for f in dataclasses.fields(cls)]
    unknown = sorted(set(data) - set(known))
    added = {f.name for f in dataclasses.fields(cls) if f.metadata.get("added")}
    missing = [name for name in known if name not in data and name not in added]
    if unknown:
        raise FacesemError(
            f"{cls.__name__}: unknown field(s) {', '.join(unknown)}; known are {', '.join(known)}."
        )
    if missing:
        raise FacesemError(f"{cls.__name__}: missing field(s) {', '.join(missing)}.")
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in data.items()})
