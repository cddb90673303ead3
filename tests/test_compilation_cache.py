import os
import pathlib
import subprocess
import sys

import jax
import pytest

from facesem_jax import compilation_cache
from facesem_jax.compilation_cache import cache_root, processor_key, use_compilation_cache
from facesem_jax.errors import FacesemError

ROOT = pathlib.Path(__file__).parents[1]

_COMMAND = """
import dataclasses, sys
import jax, jax.numpy as jnp
from jax import monitoring
from facesem_jax.command_line import run_command

events = []
monitoring.register_event_listener(lambda event, **_: events.append(event))

@dataclasses.dataclass(frozen=True)
class Options:
    '''Computes.'''

def main(options):
    f = jax.jit(lambda x: jnp.linalg.svd(x @ x.T + jnp.eye(6), full_matrices=False)[1].sum())
    print(float(f(jnp.arange(36.0).reshape(6, 6))))
    for name in ("hits", "misses"):
        print(name, sum(e == f"/jax/compilation_cache/cache_{name}" for e in events))

run_command(main, Options, args=[], **eval(sys.argv[1]))
"""


def _run(tmp_path, *, keywords="{}", **variables):
    """A command in a process with a home of its own; its output and error lines."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XDG_"))}
    environment |= {
        "HOME": str(tmp_path / "home"),
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        # Everything is kept, however quickly this machine compiles it.
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    } | variables
    done = subprocess.run(
        [sys.executable, "-c", _COMMAND, keywords],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    value, hits, misses = done.stdout.splitlines()
    return float(value), int(hits.split()[1]), int(misses.split()[1]), done.stderr


def _files(directory):
    return [p for p in directory.rglob("*") if p.is_file()]


@pytest.mark.whole_run
@pytest.mark.skipif(sys.platform != "linux", reason="the platform's own directory")
def test_a_second_run_finds_what_the_first_compiled(tmp_path):
    first = _run(tmp_path)
    kept = tmp_path / "home" / ".cache" / "facesem-jax" / "jax" / processor_key()
    assert first[1] == 0 and first[2] > 0 and _files(kept)
    assert kept.stat().st_mode & 0o077 == 0
    second = _run(tmp_path)
    assert second[1] == first[2] and second[2] == 0
    assert second[0] == first[0]
    assert first[3] == second[3] == ""


@pytest.mark.parametrize(
    "off",
    [
        {"JAX_ENABLE_COMPILATION_CACHE": "0"},
        {"keywords": "{'compilation_cache': False}"},
    ],
)
def test_it_can_be_turned_off(tmp_path, off):
    assert _run(tmp_path, **off)[1:] == (0, 0, "")
    assert not (tmp_path / "home").exists()


def test_a_home_that_cannot_be_written_costs_one_line(tmp_path):
    (tmp_path / "home").write_text("no directory")
    _, hits, misses, errors = _run(tmp_path)
    assert (hits, misses) == (0, 0)
    (line,) = errors.splitlines()
    assert line.startswith("note: compiled programs are not kept for the next run (")
    assert "JAX_COMPILATION_CACHE_DIR" in line


@pytest.mark.whole_run
def test_a_damaged_entry_is_compiled_again_without_a_word(tmp_path):
    first = _run(tmp_path, JAX_COMPILATION_CACHE_DIR=str(tmp_path / "kept"))
    for path in (tmp_path / "kept").glob("*-cache"):
        path.write_bytes(path.read_bytes()[:50])
    second = _run(tmp_path, JAX_COMPILATION_CACHE_DIR=str(tmp_path / "kept"))
    assert second[0] == first[0] and second[1] == 0 and second[3] == ""
    assert not (tmp_path / "home").exists()


@pytest.fixture
def configured(monkeypatch):
    """A process without a cache that may turn it on; JAX's settings are as before afterwards."""
    names = ("jax_enable_compilation_cache", "jax_compilation_cache_dir")
    names += tuple(compilation_cache._SETTINGS)
    before = {name: getattr(jax.config, name) for name in names}
    jax.config.update("jax_enable_compilation_cache", True)
    jax.config.update("jax_compilation_cache_dir", None)
    for name in names:
        monkeypatch.delenv(name.upper(), raising=False)
    yield monkeypatch
    for name, value in before.items():
        jax.config.update(name, value)


def test_settings_of_the_environment_rule(configured, tmp_path):
    configured.setenv("XDG_CACHE_HOME", str(tmp_path))
    configured.setattr(sys, "platform", "linux")
    configured.setenv("JAX_COMPILATION_CACHE_MAX_SIZE", "1000")
    before = jax.config.jax_compilation_cache_max_size
    directory = use_compilation_cache()
    assert directory == tmp_path / "facesem-jax" / "jax" / processor_key()
    assert jax.config.jax_compilation_cache_dir == str(directory)
    assert jax.config.jax_compilation_cache_max_size == before
    assert jax.config.jax_persistent_cache_min_compile_time_secs < 1


def test_the_cache_is_bounded(configured, tmp_path):
    configured.setenv("XDG_CACHE_HOME", str(tmp_path))
    configured.setattr(sys, "platform", "linux")
    use_compilation_cache()
    assert 2**26 <= jax.config.jax_compilation_cache_max_size <= 2**31
    # JAX needs it to keep to the size.
    import filelock  # noqa: F401


def test_without_a_directory_the_cache_is_off(configured, tmp_path):
    (tmp_path / "file").write_text("")
    configured.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    configured.setattr(sys, "platform", "linux")
    with pytest.raises(FacesemError, match="not kept for the next run"):
        use_compilation_cache()
    assert not jax.config.jax_enable_compilation_cache
    assert use_compilation_cache() is None


@pytest.mark.parametrize(
    ("system", "variables", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/c"}, "/c"),
        ("linux", {}, "/h/.cache"),
        ("darwin", {"XDG_CACHE_HOME": "/c"}, "/h/Library/Caches"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local"),
        ("win32", {}, "/h/AppData/Local"),
    ],
)
def test_the_directory_follows_the_platform(monkeypatch, system, variables, expected):
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(pathlib.Path, "home", lambda: pathlib.Path("/h"))
    assert cache_root() == pathlib.Path(expected)


def test_a_user_without_a_home_is_told(monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(pathlib.Path, "home", homeless)
    with pytest.raises(FacesemError, match="no home directory"):
        cache_root()


def test_the_key_tells_processors_apart(tmp_path):
    text = "processor : {n}\nmodel name : A CPU\ncpu MHz : {mhz}\nflags : {flags}\n\n"
    both = [text.format(n=n, mhz=2000 + n, flags="fpu sse avx2") for n in (0, 1)]

    def key(content):
        (tmp_path / "cpuinfo").write_text(content)
        return processor_key(tmp_path / "cpuinfo")

    first = key("".join(both))
    assert first == key(both[0])  # Not the number of cores, nor their speed.
    assert first != key(both[0].replace("avx2", "avx2 avx512f"))
    assert first != key(both[0].replace("A CPU", "Another"))
    assert processor_key(tmp_path / "none") != first
