import importlib.util
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
HOOKS = ROOT / "docs" / "hooks"


def _hook(name):
    spec = importlib.util.spec_from_file_location(f"hooks_{name}", HOOKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built as CI builds it: a warning fails."""
    for name in ("mkdocs", "material", "mkdocstrings", "latex2mathml"):
        pytest.importorskip(name)
    directory = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    assert not re.search(r"^WARNING", done.stderr, re.MULTILINE), done.stderr
    return directory


@pytest.mark.whole_run
def test_every_page_is_there(site):
    pages = {p.relative_to(ROOT / "docs").with_suffix(".html") for p in ROOT.glob("docs/**/*.md")}
    assert len(pages) >= 18
    for page in pages:
        assert (site / page).is_file()


@pytest.mark.whole_run
def test_a_page_loads_nothing_from_elsewhere(site):
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=[\"']([^\"']+)", text)
        loaded += re.findall(r"<link\b[^>]*\brel=\"stylesheet\"[^>]*\bhref=\"([^\"]+)", text)
        assert not [x for x in loaded if x.startswith(("http", "//"))], page


@pytest.mark.whole_run
def test_formulas_are_mathml(site):
    text = (site / "concepts.html").read_text(encoding="utf-8")
    assert text.count("<math") >= 8 and "arithmatex" not in text
    reference = (site / "reference" / "semantics.html").read_text(encoding="utf-8")
    assert reference.count('display="block"') >= 8
    assert ".. math::" not in reference and ":func:" not in reference


@pytest.mark.whole_run
def test_the_reference_has_every_package_and_its_public_functions(site):
    packages = [p.parent.name for p in (ROOT / "facesem_jax").glob("*/__init__.py")]
    assert set(packages) <= {p.stem for p in (site / "reference").glob("*.html")}
    for page, name in (
        ("semantics", "facesem_jax.semantics.factorization.factorize"),
        ("facesem_jax", "facesem_jax.loading.load_generator"),
        ("viz", "facesem_jax.viz.pictures.rgb"),
        ("decomposer", "facesem_jax.decomposer.rasterizer"),
    ):
        assert f'id="{name}"' in (site / "reference" / f"{page}.html").read_text(encoding="utf-8")


def test_docstrings_become_markdown():
    pytest.importorskip("griffe")
    text = "Uses ``x`` and :func:`~a.f`.\n\n.. math::\n  a + b \\\\\n  c\n\nAfter.\n"
    expected = "Uses `x` and `a.f`.\n\n$$\na + b \\\\\nc\n$$\n\nAfter.\n"
    assert _hook("docstrings").to_markdown(text) == expected
    on_one_line = "A:\n  .. math:: x\n    + y\n\n  After."
    assert _hook("docstrings").to_markdown(on_one_line) == "A:\n  $$\n  x\n  + y\n  $$\n\n  After."


def test_a_formula_becomes_mathml():
    pytest.importorskip("latex2mathml")
    convert = _hook("mathematics").on_page_content
    page = convert('<p><span class="arithmatex">\\(a &lt; b\\)</span> and $5</p>')
    assert page.startswith("<p><math") and page.endswith("</math> and $5</p>")
    assert "<mo>&#x0003C;</mo>" in page and 'display="inline"' in page
