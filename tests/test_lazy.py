import ast
import importlib
import pathlib
import subprocess
import sys

import pytest

import facesem_jax
from facesem_jax.lazy import lazy_names

ROOT = pathlib.Path(__file__).parents[1]

#: What nobody should wait for who only imports: seconds each.
HEAVY = ("jax", "flax", "orbax", "optax", "scipy", "matplotlib", "PIL", "torch", "tyro", "rich")


def _loaded_after(code):
    """Which of the heavy packages a fresh process has imported after some code."""
    code += f"; import sys; print(*[n for n in {HEAVY!r} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("import facesem_jax", set()),
        ("import facesem_jax; facesem_jax.FacesemError", set()),
        ("from experiments import facesem", set()),
        ("import facesem_jax.semantics", {"jax"}),
        ("from facesem_jax.semantics import apply_edit, block_scale", {"jax"}),
    ],
)
def test_an_import_brings_only_what_it_needs(code, allowed):
    # JAX brings parts of SciPy by itself.
    assert _loaded_after(code) <= allowed | ({"scipy"} if "jax" in allowed else set())


def test_help_and_version_need_no_jax():
    code = "import contextlib, io\nfrom experiments.facesem import main\n"
    code += "with contextlib.redirect_stdout(io.StringIO()):\n    main(['--version'])\n"
    code += "    try:\n        main(['--help'])\n    except SystemExit:\n        pass\npass"
    assert _loaded_after(code) == set()


@pytest.mark.parametrize("package", ["facesem_jax", "facesem_jax.semantics"])
def test_every_listed_name_is_there_and_is_what_editors_see(package):
    module = importlib.import_module(package)
    tree = ast.parse(pathlib.Path(module.__file__).read_text(encoding="utf-8"))
    seen = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module not in ("typing", "facesem_jax.lazy")
        for alias in node.names
    }
    assert set(seen) == set(module.__all__)
    for name, where in seen.items():
        assert getattr(module, name) is getattr(importlib.import_module(where), name)
    assert set(module.__all__) <= set(dir(module))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"module 'facesem_jax' has no attribute 'load'"):
        facesem_jax.load  # noqa: B018
    assert not hasattr(importlib.import_module("facesem_jax.semantics"), "nothing")


def test_a_name_is_imported_once():
    getattr_, dir_ = lazy_names("facesem_jax", {"errors": ["FacesemError"]})
    assert getattr_("FacesemError") is facesem_jax.FacesemError
    assert vars(facesem_jax)["FacesemError"] is facesem_jax.FacesemError
    assert "FacesemError" in dir_()
