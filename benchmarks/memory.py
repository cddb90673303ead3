"""The largest memory that one measurement holds, in a process of its own."""

import importlib
import json
import os
import pathlib
import re
import resource
import subprocess
import sys

_STATUS = pathlib.Path("/proc/self/status")


def peak_bytes() -> int:
    """The largest resident size of this process so far."""
    # Not `getrusage` where it can be avoided: on Linux its maximum is inherited through exec, so
    # that a child of a large parent starts with the parent's.
    if _STATUS.exists():
        found = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text())
        if found:
            return int(found[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def resident_bytes() -> int:
    """The resident size of this process now; its largest where the system does not say."""
    if _STATUS.exists():
        found = re.search(r"VmRSS:\s+(\d+) kB", _STATUS.read_text())
        if found:
            return int(found[1]) * 1024
    return peak_bytes()


def in_child(
    function: str, *arguments, environment: dict[str, str] | None = None, timeout: float = 1800
) -> dict:
    """Calls ``module:function`` with JSON-able arguments in a new process.

    Args:
      function: What to call; it returns a JSON-able dictionary or ``None``.
      *arguments: Its arguments.
      environment: Variables to set beside this process's.
      timeout: Seconds.

    Returns:
      What the function returned, a dictionary, with ``peak_bytes`` of the process.

    Raises:
      RuntimeError: If the process fails, with the last line that it wrote.
    """
    command = [sys.executable, "-m", "benchmarks.memory", function, json.dumps(arguments)]
    variables = os.environ | (environment or {})
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=variables)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise RuntimeError(f"{function} failed in a child process: {lines[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """The child: calls the function and prints its result on the last line."""
    module, _, name = sys.argv[1].partition(":")
    found = getattr(importlib.import_module(module), name)(*json.loads(sys.argv[2])) or {}
    print(json.dumps(found | {"peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main()
