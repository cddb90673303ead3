"""The app as a person meets it: from its start to the first picture, and from key to picture.

python -m benchmarks --only app

Needs the extra `app`, Playwright and a Chromium.
"""

import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks.newcomer import ROOT
from benchmarks.tables import goal, number, paragraphs, table

FIRST_SECONDS, ANSWER_SECONDS = 10.0, 0.2
_SHOWN = "document.querySelector('img.after')?.naturalWidth > 0"
_CHANGED = "before => document.querySelector('img.after').getAttribute('src') != before"


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def measure(browser, cache: str, moves: int) -> dict:
    """One start of the app, and ``moves`` steps of its first slider.

    Args:
      browser: Playwright's; it runs before the clock does.
      cache: Directory of the compilation cache.
      moves: Presses of a key on the slider.
    """
    port, tab = _free_port(), browser.new_page(viewport={"width": 1240, "height": 900})
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": cache}
    begin = time.perf_counter()
    app = subprocess.Popen(
        [sys.executable, "-m", "experiments.app", "--port", str(port)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said = next((line for line in app.stdout if f":{port}" in line), None)
        if said is None:
            raise RuntimeError("the app ended before it served its page.")
        served = time.perf_counter() - begin
        tab.goto(f"http://127.0.0.1:{port}")
        tab.wait_for_function(_SHOWN)
        first, answers = time.perf_counter() - begin, []
        tab.wait_for_timeout(3000)  # What the page still fetches is not the slider's.
        for move in range(moves):
            tab.locator("input[type=range]").first.focus()  # The page may have drawn it anew.
            before = tab.locator("img.after").get_attribute("src")
            begin = time.perf_counter()
            # There and back: the slider ends some steps from its middle.
            tab.keyboard.press("ArrowLeft" if 2 * move >= moves else "ArrowRight")
            tab.wait_for_function(_CHANGED, arg=before)
            answers.append(time.perf_counter() - begin)
            tab.wait_for_timeout(300)
    finally:
        app.kill()
        app.wait()
        tab.close()
    return {"served": served, "first": first, "answers": answers}


def run(quick: bool = False) -> dict:
    """Starts the app with an empty compilation cache, and again; moves a slider."""
    from playwright.sync_api import sync_playwright

    chromium = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None
    )
    with tempfile.TemporaryDirectory() as cache, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        return {
            "empty": measure(browser, cache, 0),
            "filled": measure(browser, cache, 4 if quick else 20),
        }


def markdown(data: dict) -> str:
    """The section."""
    rows = [
        [f"compilation cache {name}", *(number(data[name][key]) for key in ("served", "first"))]
        for name in ("empty", "filled")
    ]
    first = data["empty"]["first"]
    # The first answer compiles.
    answers = data["filled"]["answers"]
    middle, later = statistics.median(answers), max(answers[1:])
    return paragraphs(
        "## The app",
        "From the start of `python -m experiments.app` until its page is served, and until "
        "Chromium, already running, shows the edited face; seconds.",
        table(["", "served", "first picture"], rows),
        f"From a key on a pose slider to the new picture in the page, {len(answers)} times: "
        f"median {1e3 * middle:.0f} ms, the first {1e3 * answers[0]:.0f} ms, the slowest other "
        f"{1e3 * later:.0f} ms.",
        "\n".join(
            [
                goal("the first picture in 10 s", first < FIRST_SECONDS, f"{first:.1f} s"),
                goal(
                    "a slider answers in 200 ms",
                    middle < ANSWER_SECONDS,
                    f"median {1e3 * middle:.0f} ms",
                ),
            ]
        ),
    )
