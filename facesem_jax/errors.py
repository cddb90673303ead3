"""The one error type that bad input raises."""

import re

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
