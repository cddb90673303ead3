import os
import sys

import pytest

from experiments.native_log import without_native_log


def test_what_is_written_past_python_is_not_seen(capfd):
    with without_native_log():
        os.write(2, b"six lines of a library\n")
    print("an error", file=sys.stderr)
    os.write(2, b"more\n")
    assert capfd.readouterr().err == "an error\nmore\n"


def test_an_error_passes_and_the_log_comes_back(capfd):
    with pytest.raises(KeyError), without_native_log():
        raise KeyError
    os.write(2, b"seen\n")
    assert capfd.readouterr().err == "seen\n"
