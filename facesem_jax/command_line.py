"""How every command starts: options from the command line, one clear line on bad input."""

import os
import sys
import warnings
from collections.abc import Callable, Sequence

import tyro

from facesem_jax.errors import FacesemError


def run_command(
    main: Callable,
    options_type: type,
    *,
    prog: str | None = None,
    args: Sequence[str] | None = None,
    compilation_cache: bool = True,
) -> None:
    """Parses the options, runs the command; prints a `FacesemError` alone and exits with 2.

    Compiled programs are kept on disk for the next run, see `facesem_jax.compilation_cache`.

    Args:
      main: Takes the options.
      options_type: A dataclass whose attributes' documentation becomes the help.
      prog: The command's name in its help; ``None`` for the running file's.
      args: Its arguments; ``None`` for those of the process.
      compilation_cache: Whether to; not where compilation is measured.
    """
    options = tyro.cli(options_type, prog=prog, args=args)
    if compilation_cache:
        _keep_compiled_programs()
    try:
        main(options)
        # Here, where a closed pipe (`| head`) can still be told from a failure.
        sys.stdout.flush()
    except FacesemError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # Python flushes once more at its end, which would print a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def _keep_compiled_programs() -> None:
    from facesem_jax.compilation_cache import use_compilation_cache

    try:
        use_compilation_cache()
    except FacesemError as error:
        print(f"note: {error}", file=sys.stderr)
    # A damaged entry, or a disk that fills up during the run: JAX compiles, and says so once for
    # every program.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
