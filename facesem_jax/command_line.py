"""How every command starts: options from the command line, one clear line on bad input."""

import sys
from collections.abc import Callable

import tyro

from facesem_jax.errors import FacesemError


def run_command(main: Callable, options_type: type) -> None:
    """Parses the options, runs the command; prints a `FacesemError` alone and exits with 2.

    Args:
      main: Takes the options.
      options_type: A dataclass whose attributes' documentation becomes the help.
    """
    options = tyro.cli(options_type)
    try:
        main(options)
    except FacesemError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
