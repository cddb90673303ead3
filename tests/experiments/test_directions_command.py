import numpy as np
import pytest

from experiments.directions_command import (
    ExportOptions,
    ListOptions,
    export_main,
    list_main,
)
from facesem_jax.direction_files import load_directions
from facesem_jax.errors import FacesemError


@pytest.fixture(scope="module")
def bundled():
    return load_directions("digiface64")


def test_the_list_has_a_line_for_every_direction(bundled, capsys):
    list_main(ListOptions())
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split("\t")[:4] == ["name", "kind", "unit", "W per unit"]
    rows = {line.split("\t")[0]: line.split("\t") for line in lines}
    assert tuple(rows) == bundled.all_names
    assert rows["yaw"][1:3] == ["global", "degrees"] and rows["mouth-1"][1:3] == [
        "component",
        "spreads",
    ]
    for name, row in rows.items():
        np.testing.assert_allclose(float(row[3]), bundled.direction(name).per_unit, rtol=1e-3)
    assert 0.5 < float(rows["yaw"][4]) <= 1 and rows["mouth-1"][6] == "mouth"


def test_a_region_is_listed_and_exported(bundled, tmp_path, capsys):
    list_main(ListOptions(region="mouth"))
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()[1:]]
    assert rows and {row[6] for row in rows} == {"mouth"}
    export_main(ExportOptions(tmp_path / "some.npz", name=("yaw",), region=("mouth", "brows")))
    found = load_directions(tmp_path / "some.npz")
    assert found.names == ("yaw",) and set(found.regions) == {"mouth", "brows"}
    with pytest.raises(FacesemError, match="'ear'; known are"):
        list_main(ListOptions(region="ear"))


def test_a_point_gives_what_acts_there(bundled, tmp_path, capsys):
    list_main(ListOptions(point=(0.87, 0.5)))
    header, *rows = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert header[-1] == "here %" and rows[0][6] == "mouth"
    shares = [float(row[-1]) for row in rows]
    assert shares == sorted(shares, reverse=True) and 50 < sum(shares) <= 101
    export_main(ExportOptions(tmp_path / "here.npz", point=(0.87, 0.5)))
    assert set(load_directions(tmp_path / "here.npz").labels) == {row[0] for row in rows}
    for point, message in (((1.2, 0.5), "outside the face"), ((0.0, 0.0), "no component acts")):
        with pytest.raises(FacesemError, match=message):
            list_main(ListOptions(point=point))


def test_one_boundary_is_what_interfacegan_reads(bundled, tmp_path, capsys):
    path = tmp_path / "yaw.npy"
    export_main(ExportOptions(path, name=("yaw",)))
    boundary = np.load(path, allow_pickle=False)
    assert boundary.shape == (1, bundled.w_dim) and boundary.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(boundary), 1, rtol=1e-6)
    # A distance of 20 times what is printed is an edit of 20 degrees.
    line = capsys.readouterr().out.splitlines()[0]
    per_unit = float(line.split()[-3])
    np.testing.assert_allclose(
        20 * per_unit * boundary[0], bundled.move({"yaw": 20.0}), rtol=1e-3, atol=1e-6
    )


def test_all_boundaries_go_into_a_directory(bundled, tmp_path):
    export_main(ExportOptions(tmp_path / "boundaries", format="npy"))
    found = {p.stem: np.load(p) for p in (tmp_path / "boundaries").iterdir()}
    assert set(found) == set(bundled.all_names)
    for name, boundary in found.items():
        np.testing.assert_array_equal(boundary[0], bundled.direction(name).vector)


def test_an_archive_is_read_again_and_may_hold_a_few(bundled, tmp_path):
    export_main(ExportOptions(tmp_path / "all.npz"))
    again = load_directions(tmp_path / "all.npz")
    assert again.all_names == bundled.all_names and again.about == bundled.about
    np.testing.assert_array_equal(again.vectors, bundled.vectors)
    export_main(
        ExportOptions(tmp_path / "few.npz", "npz", ("mouth-1", "yaw"), str(tmp_path / "all.npz"))
    )
    assert load_directions(tmp_path / "few.npz").all_names == ("yaw", "mouth-1")
    export_main(ExportOptions(tmp_path / "bare.npz", maps=False))
    assert load_directions(tmp_path / "bare.npz").maps is None
    sizes = {n: (tmp_path / f"{n}.npz").stat().st_size for n in ("all", "bare")}
    assert sizes["bare"] < 0.3 * sizes["all"]


@pytest.mark.parametrize(
    ("output", "changes", "message"),
    [
        ("a.npy", {}, "would be a directory of .* files"),
        ("a.npz", {"format": "npy"}, "would be a directory"),
        ("a.npz", {"name": ("ear",)}, "unknown direction 'ear'"),
        ("a.txt", {"format": "npz"}, r"must end in \.npz"),
        ("a.txt", {"name": ("yaw",)}, r"must end in \.npy"),
        ("no/a.npz", {}, "there is no"),
        ("a.npz", {"directions": "no-such"}, "No directions called"),
        ("mine", {"format": "npy"}, "holds other files"),
    ],
)
def test_bad_input_writes_nothing(tmp_path, output, changes, message):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(FacesemError, match=message):
        export_main(ExportOptions(tmp_path / output, **changes))
    assert sorted(tmp_path.rglob("*")) == before
