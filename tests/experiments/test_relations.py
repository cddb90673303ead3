import json

import numpy as np
import pytest

from experiments.relations import FILES, Options, component_regions, main
from facesem_jax.errors import FacesemError
from facesem_jax.semantics.regions import Atlas, default_regions

P, SIZE, W_DIM = 6, 32, 10


@pytest.fixture
def run(tmp_path):
    """A directory as `experiments.localized` leaves it, its last component dead."""
    rng = np.random.default_rng(0)
    base = np.linalg.qr(rng.normal(size=(W_DIM, W_DIM)))[0]
    U = np.zeros((P, SIZE, SIZE, 4), np.float32)
    V = np.zeros((P, W_DIM), np.float32)
    for p in range(P):
        if p < P - 1:
            U[p, 12:20, 4 * p + 4 : 4 * p + 12] = 1
        V[p] = (base[p] + base[p + 1]) / np.sqrt(2)
    jacobian = np.einsum("phwc,pd->hwcd", U, V).astype(np.float32)
    np.savez(
        tmp_path / "components.npz",
        U=U,
        V=V,
        labels=np.array([f"nose-{p + 1}" for p in range(P - 1)] + ["dead-1"]),
        mean_jacobian=jacobian,
        scale=np.ones((SIZE, SIZE, 4), np.float32),
    )
    return tmp_path


def test_related_directions_are_found_related(run, tmp_path, capsys):
    output = tmp_path / "out"
    main(Options(run, permutations=199, rotations=19, pixels=64, output=output))
    assert sorted(p.name for p in output.iterdir()) == sorted(FILES)
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics["components"] == P - 1
    spatial = metrics["mantel"]["spatial"]
    assert spatial["r"] > 0.5 and spatial["p"] < 0.05
    assert metrics["rotations"]["p"] == 1 / 20
    assert metrics["pixels"]["r"] > 0
    page = (output / "report.html").read_text()
    assert "are more alike than chance" in page and page.count("<h2>") == 4
    assert "spatial: r 0." in capsys.readouterr().out


def test_the_same_seed_gives_the_same_numbers(run, tmp_path):
    found = []
    for name in ("a", "b"):
        main(Options(run, permutations=99, rotations=5, pixels=20, output=tmp_path / name))
        metrics = json.loads((tmp_path / name / "metrics.json").read_text())
        found.append([metrics[k] for k in ("mantel", "rotations", "pixels")])
    assert found[0] == found[1]


def test_regions_are_those_with_most_energy():
    atlas = Atlas(SIZE, SIZE)
    names = list(default_regions())
    assert tuple(names) == atlas.names
    maps = np.zeros((3, SIZE, SIZE, 4))
    mouth = atlas.masks[names.index("mouth")] > 0.6
    eyes = [atlas.masks[names.index(f"{side} eye")] > 0.6 for side in ("left", "right")]
    maps[0][mouth] = maps[1][eyes[1]] = maps[2][eyes[0] | eyes[1]] = 1
    found = [names[i] for i in component_regions(maps)]
    assert found == ["mouth", "right eye", "left eye"]


def test_what_is_no_run_is_refused(run, tmp_path):
    with pytest.raises(FacesemError, match=r"components\.npz"):
        main(Options(tmp_path / "nowhere", output=tmp_path / "out"))
    with np.load(run / "components.npz") as data:
        arrays = dict(data)
    np.savez(run / "components.npz", **{k: v for k, v in arrays.items() if k != "scale"})
    with pytest.raises(FacesemError, match="'scale'"):
        main(Options(run, output=tmp_path / "out"))
    arrays["U"][2:] = 0
    np.savez(run / "components.npz", **arrays)
    with pytest.raises(FacesemError, match="3 or more"):
        main(Options(run, output=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["permutations", "rotations", "pixels"])
def test_numbers_out_of_range_are_refused(name):
    with pytest.raises(FacesemError, match=name):
        Options(**{name: 0}).checked()
    quick = Options(quick=True).checked()
    assert quick.permutations == 999 and quick.rotations == 19


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("V", lambda x: x[:3]),
        ("V", lambda x: x[:, 0]),
        ("labels", lambda x: x[:4]),
        ("scale", lambda x: x[..., :2]),
        ("mean_jacobian", lambda x: x.reshape(-1, W_DIM)),
        ("U", lambda x: x.astype(str)),
    ],
)
def test_arrays_that_do_not_fit_each_other_are_named(run, tmp_path, name, change):
    path = tmp_path / "components.npz"
    arrays = dict(np.load(path))
    arrays[name] = change(arrays[name])
    np.savez(path, **arrays)
    with pytest.raises(FacesemError, match=rf"components\.npz: {name} has"):
        main(Options(run, output=tmp_path / "out"))
    assert not (tmp_path / "out").exists()
