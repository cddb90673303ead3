import importlib.util
import socket

import pytest

from experiments import app
from facesem_jax.command_line import run_command
from facesem_jax.errors import FacesemError


def test_without_gradio_one_line_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as exit_:
        run_command(app.main, app.Options, args=[])
    assert exit_.value.code == 2
    written = capsys.readouterr()
    assert written.out == "" and written.err.count("\n") == 1
    assert "pip install -e '.[app]'" in written.err


@pytest.mark.parametrize(
    "options, message",
    [
        ({"port": 0}, "port is 0"),
        ({"port": 70000}, "port is 70000"),
        ({"seed": -1}, "seed is -1"),
        ({"truncation": 3.0}, "truncation is 3"),
    ],
)
def test_bad_options(monkeypatch, options, message):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    with pytest.raises(FacesemError, match=message):
        app.start_app(app.Options(**options))


def test_a_missing_generator_and_a_taken_port(pair):
    pytest.importorskip("gradio")
    with pytest.raises(FacesemError, match="No generator called 'nowhere'"):
        app.start_app(app.Options(generator="nowhere"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(FacesemError, match=f"cannot listen on port {port}"):
            app.start_app(app.Options(generator=str(pair), decomposer=str(pair), port=port))
