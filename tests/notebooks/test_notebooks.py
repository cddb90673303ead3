import ast
import os
import pathlib
import re
import tomllib

import pytest

jupytext = pytest.importorskip("jupytext")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

ROOT = pathlib.Path(__file__).parents[2]
NOTEBOOKS = ("localized_colab", "bring_your_own_stylegan", "method_tour")


def _path(name, suffix="ipynb"):
    return ROOT / "notebooks" / f"{name}.{suffix}"


def _code(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def test_these_are_all():
    assert {p.name for p in (ROOT / "notebooks").iterdir() if p.is_file()} == {
        f"{name}.{suffix}" for name in NOTEBOOKS for suffix in ("py", "ipynb")
    }


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_script_and_notebook_are_one(name):
    script, notebook = (jupytext.read(_path(name, suffix)) for suffix in ("py", "ipynb"))
    pairs = [[(c.cell_type, c.source) for c in n.cells] for n in (script, notebook)]
    assert pairs[0] == pairs[1], "run `jupytext --update --to ipynb` on the script"
    assert len(pairs[0]) > 10


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_is_kept_without_outputs(name):
    for cell in jupytext.read(_path(name)).cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_imports_colab_only_on_colab(name):
    """Every import of google.colab, and every installation, stands under the question."""
    asked = 'if "google.colab" in sys.modules:'
    for source in _code(jupytext.read(_path(name))):
        assert not re.search(r"^\s*[!%]", source, re.MULTILINE)  # No shell, no magic.
        for node in ast.parse(source).body:
            text = ast.get_source_segment(source, node)
            if re.search(r"from google|subprocess\.|drive\.|files\.download", text):
                assert text.startswith(asked), text


def test_one_address_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    address = project["urls"]["Repository"]
    for name in NOTEBOOKS:
        (found,) = re.findall(r'REPOSITORY = "(.+)"', "\n".join(_code(jupytext.read(_path(name)))))
        assert found == address
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    repository = address.removeprefix("https://github.com/")
    badges = re.findall(
        r"colab\.research\.google\.com/github/([\w.-]+/[\w.-]+)/blob/main/notebooks/(\w+)\.ipynb",
        readme,
    )
    assert sorted(badges) == sorted((repository, name) for name in NOTEBOOKS)


@pytest.fixture(scope="module")
def environment():
    """What the kernels run under: reduced sizes; compiled programs are shared by all tests."""
    set_ = {
        "FACESEM_QUICK": "1",
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "PYTHONHASHSEED": "0",
    }
    with pytest.MonkeyPatch.context() as patch:
        for key, value in set_.items():
            patch.setenv(key, value)
        yield os.environ


@pytest.fixture(scope="module", params=NOTEBOOKS)
def executed(request, environment, tmp_path_factory):
    """A notebook after Jupyter's kernel has run all of its cells, and where it ran."""
    directory = tmp_path_factory.mktemp(request.param)
    notebook = jupytext.read(_path(request.param))
    client = nbclient.NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(directory)}},
    )
    client.execute()  # Raises on a cell that fails.
    return request.param, notebook, directory


def _texts(notebook):
    return "".join(
        output.get("text", "")
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )


@pytest.mark.whole_run
def test_every_cell_runs_and_pictures_are_inline(executed):
    name, notebook, directory = executed
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    pictures = [
        output.data["image/png"]
        for cell in code
        for output in cell.outputs
        if output.output_type == "display_data" and "image/png" in output.data
    ]
    least = {"localized_colab": 12, "bring_your_own_stylegan": 4, "method_tour": 11}
    assert len(pictures) >= least[name]
    text = _texts(notebook)
    assert "Traceback" not in text and "nan" not in text.lower().split()
    if name == "localized_colab":
        assert "live components of 6" in text
        page = directory / "outputs" / "localized" / "report.html"
        assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    elif name == "bring_your_own_stylegan":
        assert "8 x cpu" in text
        assert "stylegan2-rosinality" in text
        # Broken off after one step of eight faces, and taken up there.
        assert re.findall(r"(\d+) of 16 faces", text) == ["8", "8", "16"]
        assert "finite: True" in text
    else:
        found = re.search(r"objective ([\d.]+) \(([\d.]+) by the formula", text)
        assert float(found[1]) == pytest.approx(float(found[2]), rel=1e-3)
