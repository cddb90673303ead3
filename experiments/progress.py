"""Progress bars on the terminal."""

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from experiments.localized_stages import Track


@contextlib.contextmanager
def progress_track(shown: bool = True) -> Iterator[Track]:
    """A `Track` that draws a bar per stage on standard error.

    Args:
      shown: Whether anything is drawn.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(*columns, TimeElapsedColumn(), console=console, disable=not shown) as progress:

        def track(iterable, name, total):
            return progress.track(iterable, total=total, description=name)

        yield track
