"""The one error type that bad input raises, and words for its messages."""

import difflib
import re
from collections.abc import Sequence

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class FacesemError(ValueError):
    """Bad input: the message says what was wrong and what to do about it.

    Command lines print the message alone and exit with status 2. Anything else that
    escapes is a bug in the library.
    """


def first_line(error: BaseException, length: int = 200) -> str:
    """The first line of what an error says, without colours and cut; its type where it is mute."""
    lines = _COLOUR.sub("", str(error)).strip().splitlines()
    return lines[0][:length] if lines else type(error).__name__


def near_names(name: str, known: Sequence[str]) -> str:
    """For an error: the names that are spelt like ``name`` or contain it; else all of them."""
    alike = difflib.get_close_matches(name, known, n=5)
    stem = name.rstrip("0123456789").rstrip("-")
    near = [n for n in known if n in alike or (stem and stem in n)]
    if near:
        return f"did you mean {', '.join(near[:8])}?"
    return f"known are {', '.join(known)}."
