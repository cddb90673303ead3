"""What native libraries write to standard error past Python."""

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def without_native_log() -> Iterator[None]:
    """Sends what is written to the process's standard error to nowhere, for a while.

    MediaPipe logs several lines per start whatever its log level, which bury an error of one line.
    """
    try:
        before = os.dup(2)
    except OSError:  # There is no standard error.
        yield
        return
    try:
        sys.stderr.flush()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
