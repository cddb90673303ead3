import dataclasses
import json
import shutil

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from facesem_jax import checkpoint
from facesem_jax.checkpoint import Description, load_module, read_description, save_module
from facesem_jax.errors import FacesemError
from facesem_jax.generators.layers import Buffer


@dataclasses.dataclass(frozen=True)
class TinyConfig:
    width: int = 3
    scales: tuple[float, ...] = (0.5, 2.0)


class Tiny(nnx.Module):
    def __init__(self, config: TinyConfig, *, rngs: nnx.Rngs):
        self.config = config
        shape = (2, config.width)
        self.kernels = nnx.List(
            nnx.Param(scale * jax.random.normal(rngs.params(), shape)) for scale in config.scales
        )
        self.gain = nnx.Param(jnp.ones(()))
        self.noise = Buffer(jax.random.normal(rngs.params(), shape))


CONFIG = TinyConfig()
DESCRIPTION = Description("tiny", dataclasses.asdict(CONFIG), "ffhq", "drawn at random")


def _load(directory):
    return load_module(directory, Tiny, TinyConfig)


def _edit(directory, **fields):
    path = directory / checkpoint.DESCRIPTION
    content = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not ...}))


@pytest.fixture(scope="module")
def tiny():
    return Tiny(CONFIG, rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def saved(tiny, tmp_path_factory):
    directory = tmp_path_factory.mktemp("checkpoint") / "tiny"
    save_module(directory, tiny, DESCRIPTION)
    return directory


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "tiny")


def test_arrays_are_named_by_path(tiny):
    named = checkpoint.named_arrays(tiny)
    assert sorted(named) == ["gain", "kernels/0", "kernels/1", "noise"]
    np.testing.assert_array_equal(named["kernels/1"], tiny.kernels[1][...])


def test_float32_comes_back_to_the_last_bit(tiny, saved):
    found = _load(saved)
    assert found.config == CONFIG
    expected = checkpoint.named_arrays(tiny)
    for name, array in checkpoint.named_arrays(found).items():
        assert array.dtype == jnp.float32
        np.testing.assert_array_equal(array, expected[name])
    # Parameters and buffers keep their kinds, so that an optimiser finds the same leaves.
    for kind in (nnx.Param, Buffer):
        chex.assert_trees_all_equal(nnx.state(found, kind), nnx.state(tiny, kind))


def test_no_file_says_where_it_was_written(saved):
    where = str(saved.parent).encode()
    assert not [p for p in saved.rglob("*") if p.is_file() and where in p.read_bytes()]


def test_more_than_ten_layers_stay_in_order(tmp_path):
    config = TinyConfig(2, tuple(float(k) for k in range(1, 13)))
    many = Tiny(config, rngs=nnx.Rngs(0))
    save_module(tmp_path / "many", many, Description("tiny", dataclasses.asdict(config)))
    chex.assert_trees_all_equal(nnx.state(_load(tmp_path / "many")), nnx.state(many))


def test_float16_is_half_the_size_and_close(tiny, tmp_path):
    save_module(tmp_path / "half", tiny, DESCRIPTION, dtype="float16")
    content = json.loads((tmp_path / "half" / checkpoint.DESCRIPTION).read_text())
    assert content["dtype"] == "float16"
    expected = checkpoint.named_arrays(tiny)
    for name, array in checkpoint.named_arrays(_load(tmp_path / "half")).items():
        assert array.dtype == jnp.float32
        np.testing.assert_array_equal(array, np.asarray(expected[name]).astype(np.float16))
        np.testing.assert_allclose(array, expected[name], rtol=1e-3)


def test_description_comes_back(saved, copy):
    found = read_description(saved)
    assert (found.kind, found.crop, found.source) == ("tiny", "ffhq", "drawn at random")
    assert found.config == {"width": 3, "scales": [0.5, 2.0]}
    _edit(copy, crop=[0.1, 0.2, 0.5, 0.6])
    assert read_description(copy).crop == (0.1, 0.2, 0.5, 0.6)


def test_an_empty_directory_is_used_and_one_in_use_is_not(tiny, saved, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    save_module(empty, tiny, DESCRIPTION)
    assert sorted(p.name for p in empty.iterdir()) == ["description.json", "weights"]
    before = (saved / checkpoint.DESCRIPTION).read_bytes()
    file = tmp_path / "file"
    file.write_text("mine")
    for taken in (saved, file):
        with pytest.raises(FacesemError, match="exists and is not empty"):
            save_module(taken, tiny, DESCRIPTION)
    assert (saved / checkpoint.DESCRIPTION).read_bytes() == before
    assert file.read_text() == "mine"


def test_a_parent_that_cannot_be_written_is_named(tiny, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FacesemError, match="file cannot be written"):
        save_module(tmp_path / "file" / "model", tiny, DESCRIPTION)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("value", "dtype"), [(np.nan, "float32"), (np.inf, "float32"), (1e6, "float16")]
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_arrays_that_are_not_finite_are_named_and_leave_nothing(value, dtype, tmp_path):
    broken = Tiny(CONFIG, rngs=nnx.Rngs(0))
    broken.kernels[1][...] = broken.kernels[1][...].at[1, 2].set(value)
    with pytest.raises(FacesemError, match=f"kernels/1 is not finite in {dtype}"):
        save_module(tmp_path / "broken", broken, DESCRIPTION, dtype=dtype)
    assert not any(tmp_path.iterdir())


def test_a_save_that_fails_at_the_end_leaves_nothing(tiny, tmp_path, monkeypatch):
    def fail(*_):
        assert any(tmp_path.iterdir())
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint.os, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        save_module(tmp_path / "model", tiny, DESCRIPTION)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "{", "\x00\x01", "[1, 2]", "null", '{"format": "other"}'])
def test_text_that_describes_no_module_is_refused(copy, text):
    (copy / checkpoint.DESCRIPTION).write_text(text)
    with pytest.raises(FacesemError, match=r"is no JSON|does not describe"):
        _load(copy)


def test_a_description_that_is_no_text_is_refused(copy):
    (copy / checkpoint.DESCRIPTION).write_bytes(b"\xff\xfe\x80")
    with pytest.raises(FacesemError, match="is no JSON"):
        _load(copy)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"format": ...}, "does not describe"),
        ({"version": 2}, "has version 2; this release reads version 1"),
        ({"version": ...}, "has version None"),
        ({"kind": 3}, "lacks a kind or a config"),
        ({"config": [1]}, "lacks a kind or a config"),
        ({"files": ["a"]}, "lacks the list of files"),
        ({"files": ...}, "lacks the list of files"),
        ({"files": {"../secret": "0"}}, "secret is missing"),
        ({"config": {"width": 3, "scales": [0.5], "colour": 1}}, r"unknown field\(s\) colour"),
        ({"config": {"width": 3}}, r"missing field\(s\) scales"),
        ({"config": {}}, r"missing field\(s\) width, scales"),
        ({"config": {"width": 4, "scales": [1, 1]}}, r"array .* has shape \(2, 3\).*\(2, 4\)"),
        ({"config": {"width": 10**9, "scales": [1, 1]}}, r"implies \(2, 1000000000\)"),
        ({"config": {"width": 10**30, "scales": [1, 1]}}, "has shape"),
        ({"config": {"width": -1, "scales": [1, 1]}}, "has shape|nonnegative"),
        ({"config": {"width": 3, "scales": [1]}}, "holds an unexpected kernels/1"),
        ({"config": {"width": 3, "scales": [1, 1, 1]}}, "lacks kernels/2"),
    ],
)
def test_descriptions_that_do_not_fit_are_refused(copy, fields, message):
    _edit(copy, **fields)
    with pytest.raises(FacesemError, match=message):
        _load(copy)


@pytest.mark.parametrize(
    "fields",
    [
        {"width": "3", "scales": [1, 1]},
        {"width": 3.5, "scales": [1, 1]},
        {"width": None, "scales": [1, 1]},
        {"width": 3, "scales": 2},
        {"width": 3, "scales": [1, "a"]},
    ],
)
def test_configs_of_wrong_types_are_refused(copy, fields):
    _edit(copy, config=fields)
    with pytest.raises(FacesemError, match=r"config|width|scales"):
        _load(copy)


@pytest.mark.parametrize("missing", ["", checkpoint.DESCRIPTION, checkpoint.WEIGHTS])
def test_missing_parts_are_named(copy, missing):
    path = copy / missing
    path.unlink() if path.is_file() else shutil.rmtree(path)
    with pytest.raises(FacesemError, match=r"is no facesem-jax checkpoint|is missing"):
        _load(copy)


def test_every_damaged_file_is_named(copy):
    files = [p for p in sorted((copy / checkpoint.WEIGHTS).rglob("*")) if p.is_file()]
    assert files
    for path in files:
        good = path.read_bytes()
        flipped = bytearray(good)
        flipped[len(good) // 2] ^= 1
        for bad in (bytes(flipped), good[: len(good) // 2], good + b"x"):
            path.write_bytes(bad)
            with pytest.raises(FacesemError, match=f"{path.name} is damaged"):
                _load(copy)
        path.unlink()
        with pytest.raises(FacesemError, match=f"{path.name} is missing"):
            _load(copy)
        path.write_bytes(good)
    _load(copy)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_damage_under_the_right_digests_is_refused_too(copy):
    weights = copy / checkpoint.WEIGHTS
    _edit(copy, files={})
    refused = 0
    for path in [p for p in sorted(weights.rglob("*")) if p.is_file()]:
        good = path.read_bytes()
        for bad in (good[: len(good) // 2], b"\xff" * len(good), None):
            path.unlink() if bad is None else path.write_bytes(bad)
            try:
                found = _load(copy)
            except FacesemError:
                refused += 1
            else:  # A file that reading does without.
                assert np.isfinite(found.kernels[0][...]).all()
            path.write_bytes(good)
    assert refused >= 3


def test_an_array_that_is_not_finite_is_named_in_reading(tmp_path, monkeypatch):
    broken = Tiny(CONFIG, rngs=nnx.Rngs(0))
    broken.noise[...] = broken.noise[...].at[0, 0].set(jnp.nan)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.np, "isfinite", lambda x: np.ones(np.shape(x), bool))
        save_module(tmp_path / "broken", broken, DESCRIPTION)
    with pytest.raises(FacesemError, match="array noise holds NaN"):
        _load(tmp_path / "broken")


def test_a_link_to_an_empty_directory_is_filled(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk", target_is_directory=True)
    save_module(tmp_path / "link", Tiny(CONFIG, rngs=nnx.Rngs(0)), DESCRIPTION)
    assert (tmp_path / "link").is_symlink()
    assert np.isfinite(_load(tmp_path / "disk").kernels[0][...]).all()


def test_a_disk_that_is_full_leaves_nothing(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device\nand much more")

    monkeypatch.setattr(checkpoint, "file_digests", full)
    with pytest.raises(FacesemError, match=r"cannot be written \(.*No space left.*nothing is left"):
        save_module(tmp_path / "out", Tiny(CONFIG, rngs=nnx.Rngs(0)), DESCRIPTION)
    assert not list(tmp_path.iterdir())


def test_a_description_nested_without_end_is_refused(tmp_path):
    save_module(tmp_path / "out", Tiny(CONFIG, rngs=nnx.Rngs(0)), DESCRIPTION)
    (tmp_path / "out" / checkpoint.DESCRIPTION).write_text("[" * 200_000)
    with pytest.raises(FacesemError, match="no JSON"):
        read_description(tmp_path / "out")
