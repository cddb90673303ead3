"""A page in the browser to turn, light and change a face: `python -m experiments.app`."""

import concurrent.futures
import dataclasses
import importlib.util
import os
import threading
import time

from experiments.app_pictures import Pictures, load_models
from experiments.app_session import Edit, EditState, Face
from facesem_jax.errors import FacesemError

# No telemetry and no look for newer versions: nothing leaves the machine. Read on import.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

_HOST = "127.0.0.1"
# All that the page may load comes from this server, whatever Gradio's own files ask for.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' data: blob:; frame-ancestors 'self'; form-action 'self'"
)
_MOST_UPLOAD = "8mb"
_PATIENCE = 5.0  # seconds


@dataclasses.dataclass(frozen=True)
class Options:
    """Opens a page on this machine to edit a face by hand; ends with Ctrl-C.

    Needs Gradio: python -m pip install -e '.[app]'. docs/app.md explains the page.

    Attributes:
      seed: The face that the page begins with.
      truncation: Pulls that face towards the average one: 1 for none, 0 for all the way.
      generator: A bundled name, or a directory with a converted generator.
      decomposer: The same of a decomposer.
      directions: A bundled name, a directory that `experiments.localized` wrote, or a file of
        `facesem directions export`. Default: those that lie with the generator.
      crop: From the generator's image to the decomposer's, as for `experiments.localized`.
      port: Of the server, on the loopback address only.
      open: Also open the page in the default browser.
    """

    seed: int = 8
    truncation: float = 1.0
    generator: str = "digiface64"
    decomposer: str = "digiface64"
    directions: str | None = None
    crop: str | None = None
    port: int = 7860
    open: bool = False


def start_app(options: Options):
    """Starts the server, and returns when it answers; it runs in the background.

    Returns:
      Gradio's page: ``local_url`` is its address and ``close()`` ends it.

    Raises:
      FacesemError: Without Gradio, on bad options, or if the port is taken.
    """
    if importlib.util.find_spec("gradio") is None:
        raise FacesemError("the app needs Gradio: python -m pip install -e '.[app]'")
    if not 1 <= options.port <= 65535:
        raise FacesemError(f"port is {options.port}; expected 1 to 65535.")
    start = EditState(Edit(Face(options.seed, options.truncation)))
    # Before the threads: NumPy reads an array's header, and Gradio its own components, through
    # Python's syntax trees, which two threads of Python 3.11 cannot build at once.
    pictures = Pictures(
        load_models(options.generator, options.decomposer, options.directions, options.crop)
    )
    begun = threading.Event()
    # Beside the imports below, which take as long.
    worker = concurrent.futures.ThreadPoolExecutor(1, "app-start")
    first = worker.submit(pictures.edit, start.edit)
    worker.submit(_warm_up, pictures, start, begun)
    worker.shutdown(wait=False)
    from experiments.app_page import Session, build_page
    from experiments.app_style import STYLE, THEME

    def wait_for_first():
        first.result()
        begun.set()

    page = build_page(pictures, Session(start), wait_for_first)
    try:
        page.launch(
            server_name=_HOST,
            server_port=options.port,
            share=False,
            inbrowser=options.open,
            prevent_thread_lock=True,
            quiet=True,
            show_error=False,
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            strict_cors=True,
            max_file_size=_MOST_UPLOAD,
            app_kwargs={"middleware": _middleware()},
            theme=THEME,
            css=STYLE,
        )
    except OSError as error:
        raise FacesemError(
            f"the app cannot listen on port {options.port}: choose another --port. ({error})"
        ) from error
    return page


def _warm_up(pictures: Pictures, start: EditState, begun: threading.Event) -> None:
    """Compiles, once a page has begun, what its first moves, clicks and looks will need."""
    begun.wait(_PATIENCE)  # The browser draws the page meanwhile, and wants the processor.
    edit = start.edit
    directions = pictures.models.directions
    for name in () if directions is None else directions.all_names[:1]:
        moved = start.with_amount(name, 0.1)
        pictures.latent(moved.edit)
        pictures.latent(moved.with_decorrelated(True).edit)
    pictures.acting(edit, 0.5, 0.5)
    faces = pictures.decomposed(edit)
    pictures.rendered(faces, faces.view[0], faces.light[0])


def _middleware() -> list:
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    # A page elsewhere whose name was pointed at this machine is not answered.
    hosts = [_HOST, "localhost"]
    return [
        Middleware(TrustedHostMiddleware, allowed_hosts=hosts),
        Middleware(_PolicyMiddleware),
    ]


class _PolicyMiddleware:
    """Adds the policy to every answer."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        async def send_with_policy(message):
            if message["type"] == "http.response.start":
                headers = [*message["headers"], (b"content-security-policy", _POLICY.encode())]
                message = message | {"headers": headers}
            await send(message)

        await self.app(scope, receive, send_with_policy)


def main(options: Options) -> None:
    """Serves the page until Ctrl-C."""
    page = start_app(options)
    print(f"facesem is at {page.local_url} (Ctrl-C ends it)", flush=True)
    try:
        while True:
            time.sleep(3600)
    finally:
        page.close(verbose=False)


if __name__ == "__main__":
    from facesem_jax.command_line import run_command

    run_command(main, Options)
