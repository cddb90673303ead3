"""The one error type that bad input raises."""


class FacesemError(ValueError):
    """Bad input: the message says what was wrong and what to do about it.

    Command lines print the message alone and exit with status 2. Anything else that
    escapes is a bug in the library.
    """
