import dataclasses
import importlib
import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest
import tyro

from experiments import facesem
from experiments.facesem import EXAMPLES, FACESEM, Group, find_command, help_text, main

ROOT = pathlib.Path(__file__).parents[2]


def _commands(group=FACESEM, path=()):
    for name, entry in group.commands.items():
        if isinstance(entry, Group):
            yield from _commands(entry, (*path, name))
        else:
            yield (*path, name), entry


def _options(entry):
    return getattr(importlib.import_module(entry.module), entry.options)


def _documented():
    """Every line of the documents that starts with ``facesem``, continued lines joined."""
    for name in ("README.md", "docs/command_line.md"):
        text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
        yield from re.findall(r"^facesem .*", text, re.MULTILINE)


def _in_help():
    for _, entry in _commands():
        yield from re.findall(r"^\s+(facesem .*)", _options(entry).__doc__, re.MULTILINE)


EVERY_EXAMPLE = sorted({*EXAMPLES, *_documented(), *_in_help()})


def test_the_issues_commands_are_among_the_examples():
    assert "facesem edit --seed 8 --yaw 20 --component mouth-1=-2.5 -o out.png" in EXAMPLES
    for command in ("decompose photo.png", "invert photo.png", "directions list"):
        assert f"facesem {command}" in EXAMPLES
    kinds = {tuple(e.split()[1:3])[: 2 if e.split()[1] == "directions" else 1] for e in EXAMPLES}
    assert kinds == {path for path, _ in _commands()}
    assert len(EVERY_EXAMPLE) > 10


@pytest.mark.parametrize("example", EVERY_EXAMPLE)
def test_every_example_parses(example):
    words = shlex.split(example.split(" | ")[0].split(" #")[0])
    if words[1:] in (["--help"], ["--version"]):
        main(["--version"])
        return
    path, entry, rest = find_command(words[1:])
    assert not isinstance(entry, Group), example
    if "--help" in rest:
        return
    options = tyro.cli(_options(entry), prog=" ".join(path), args=rest)
    assert dataclasses.is_dataclass(options)


def test_an_example_gives_what_it_says():
    _, entry, rest = find_command(shlex.split(EXAMPLES[0])[1:])
    options = tyro.cli(_options(entry), args=rest)
    assert (options.seed, options.yaw, options.component) == (8, 20.0, ("mouth-1=-2.5",))
    assert options.output == pathlib.Path("out.png")
    again = tyro.cli(
        _options(entry),
        args=["--component", "a=-1", "--component", "b=2", "--pitch", "-5", "--light-x", "-.3"],
    )
    assert again.component == ("a=-1", "b=2")
    assert (again.pitch, again.light_x) == (-5.0, -0.3)


@pytest.mark.parametrize(("path", "entry"), list(_commands()), ids=lambda p: " ".join(p)[:20])
def test_every_command_has_help_and_a_main(path, entry, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*path, "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert f"usage: facesem {' '.join(path)}" in shown
    assert callable(getattr(importlib.import_module(entry.module), entry.main))
    # Every option is explained: none has its default alone.
    documented = _options(entry).__doc__
    for field in dataclasses.fields(_options(entry)):
        assert f"      {field.name}: " in documented, field.name


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["directions", "--help"], []])
def test_the_help_lists_the_commands(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    captured = capsys.readouterr()
    assert stop.value.code == (0 if words else 2)
    shown = captured.out if words else captured.err
    group = FACESEM.commands["directions"] if "directions" in words else FACESEM
    for name, entry in group.commands.items():
        assert re.search(rf"^  {name} +{re.escape(entry.summary)}$", shown, re.MULTILINE)
    assert max(map(len, shown.splitlines())) <= 100
    assert shown.strip() == help_text(["facesem", *words[:-1]], group)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["edti"], "error: unknown command 'facesem edti'; did you mean edit?"),
        (["directions", "lst"], "error: unknown command 'facesem directions lst'; did you mean"),
        (["paint"], "error: unknown command 'facesem paint'; known are edit, decompose, invert"),
        (["edit", "--generator", "no-such"], "error: No generator called 'no-such'"),
        (["edit", "--seed", "-1"], "error: seed is -1"),
        (["decompose", "none.png"], "error: There is no picture none.png"),
        (["directions", "list", "--directions", "none"], "error: No directions called 'none'"),
    ],
)
def test_bad_input_is_one_clear_line(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(words)
    captured = capsys.readouterr()
    assert stop.value.code == 2 and captured.out == ""
    assert captured.err.startswith(message) and captured.err.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_bad_options_have_the_exit_status_of_bad_input(capsys):
    for words in (["edit", "--yaw", "much"], ["edit", "--nothing"], ["decompose"]):
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == 2
        assert words[1][:5] in capsys.readouterr().err if len(words) > 1 else True


def test_the_entry_point_is_declared_and_light():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'facesem = "experiments.facesem:main"' in text
    code = "import sys, experiments.facesem; print('jax' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False"]


def test_a_closed_pipe_is_no_traceback(tmp_path, monkeypatch):
    script = "from experiments.facesem import main; main(['directions', 'list'])"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, stdout=write, stderr=subprocess.PIPE, text=True,
        check=False, timeout=600,
    )  # fmt: skip
    os.close(write)
    assert "Traceback" not in done.stderr and done.returncode == 141


def test_the_version_is_printed(capsys):
    facesem.main(["--version"])
    assert re.fullmatch(r"facesem-jax \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)
