"""Containers: what they hold comes back, and nothing of what they name is run."""

import argparse
import collections
import datetime
import operator
import os
import pathlib
import pickle
import struct
import subprocess
import zipfile

import checkpoint_files as files
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convert.conversion import convert_file
from convert.network_pickles import read_network_pickle
from convert.source_files import read_source
from convert.torch_files import read_torch_file
from facesem_jax.errors import FacesemError


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(params=[True, False], ids=["zip", "legacy"])
def save(request, torch, tmp_path):
    def write(content):
        path = tmp_path / "file.pt"
        torch.save(content, path, _use_new_zipfile_serialization=request.param)
        return path

    return write


def test_tensors_come_back_as_arrays(torch, save):
    content = {
        "w": torch.arange(6, dtype=torch.float32).reshape(2, 3),
        "half": torch.ones(2, dtype=torch.float16),
        "brain": torch.tensor([1.0, -2.5], dtype=torch.bfloat16),
        "parameter": torch.nn.Parameter(torch.ones(1)),
        "view": torch.arange(6.0).reshape(2, 3).T,
        "nested": {"list": [torch.zeros(2, dtype=torch.int64), 3, "text", None]},
    }
    source = read_source(save(content))
    found = source.arrays
    assert set(found) == {"w", "half", "brain", "parameter", "view", "nested.list.0"}
    np.testing.assert_array_equal(found["w"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(found["view"], [[0, 3], [1, 4], [2, 5]])
    np.testing.assert_array_equal(found["brain"], [1, -2.5])
    assert found["half"].dtype == np.float16
    assert found["nested.list.0"].dtype == np.int64
    digest = subprocess.run(
        ["sha256sum", source.path], capture_output=True, text=True, check=True
    ).stdout.split()[0]
    assert source.sha256 == digest


def test_safetensors_come_back_as_arrays(torch, tmp_path):
    save_file = pytest.importorskip("safetensors.torch").save_file
    brain = torch.tensor([1.0, -2.5], dtype=torch.bfloat16)
    path = tmp_path / "x.safetensors"
    save_file({"a.b": brain, "c": torch.arange(3), "h": torch.ones(2).half()}, path)
    found = read_source(path).arrays
    np.testing.assert_array_equal(found["a.b"], [1, -2.5])
    assert found["h"].dtype == np.float16 and found["c"].dtype.kind == "i"


class Meter(dict):
    """An object of a trainer's own class; reading a file must not make one."""

    made = 0

    def __init__(self, *args, **kwargs):
        type(self).made += 1

    def __setstate__(self, state):
        type(self).made += 1


def test_objects_of_trainers_are_left_out_and_not_made(torch, save):
    content = {
        "w": torch.ones(3),
        "args": argparse.Namespace(size=16, out=pathlib.PurePosixPath("x")),
        "best": [np.float64(0.5), torch.zeros(1)],
        "counts": collections.defaultdict(list, a=[1]),
        "when": datetime.date(2020, 1, 1),
        "meter": Meter.__new__(Meter),
    }
    content["meter"].total = 3
    content["meter"]["loss"] = torch.ones(2)
    before = Meter.made
    found = read_source(save(content)).arrays
    assert set(found) == {"w", "best.1", "meter.loss"} and Meter.made == before


def test_a_module_that_was_saved_whole_has_its_tensors_read(torch, tmp_path):
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    torch.save({"g_ema": module}, tmp_path / "file.pt")
    found = read_source(tmp_path / "file.pt").arrays
    assert {f"g_ema.{k}" for k in module.state_dict()} == set(found)
    np.testing.assert_array_equal(found["g_ema.0.weight"], module[0].weight.detach().numpy())


def test_containers_that_are_shared_without_end_are_refused(torch, save):
    shared = []
    for _ in range(14):
        shared = [shared] * 10
    with pytest.raises(FacesemError, match="without end"):
        read_source(save({"x": shared, "w": torch.zeros(2)}))


class Evaluation:
    """Pickles as a call of ``eval``."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return eval, (f"open({str(self.path)!r}, 'w')",)


class Attribute(Evaluation):
    """Pickles as a function that looks up an attribute."""

    def __reduce__(self):
        return operator.attrgetter, ("system",)


@pytest.mark.parametrize(("hostile", "name"), [(Evaluation, "eval"), (Attribute, "attrgetter")])
def test_what_no_checkpoint_holds_is_named(hostile, name, torch, save, tmp_path):
    made = tmp_path / "made"
    with pytest.raises(FacesemError, match=rf"the file names .*{name}.* nothing of it was run"):
        read_source(save({"g_ema": hostile(made), "w": torch.ones(3)}))
    assert not made.exists()


class Bomb:
    """Pickles as a call that would make a directory."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


class Shell(Bomb):
    """Pickles as ``os.system``."""

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("hostile", [Bomb, Shell])
@pytest.mark.parametrize("protocol", range(6))
def test_a_plain_pickle_with_code_is_refused_and_not_run(hostile, protocol, torch, tmp_path):
    path, made = tmp_path / "x.pkl", tmp_path / "made"
    path.write_bytes(pickle.dumps({"G_ema": hostile(made)}, protocol))
    with pytest.raises(FacesemError, match=r"x\.pkl") as found:
        read_source(path)
    if protocol >= 2:
        assert "the name posix." in str(found.value) and "nothing of it was run" in str(found.value)
    assert not made.exists()


@pytest.mark.parametrize("hostile", [Bomb, Shell])
def test_a_torch_file_with_code_is_refused_and_not_run(hostile, torch, save, tmp_path):
    made = tmp_path / "made"
    with pytest.raises(FacesemError, match="Nothing of it was run"):
        read_source(save({"g_ema": hostile(made), "w": torch.ones(3)}))
    assert not made.exists()


@pytest.mark.parametrize("hostile", [Bomb, Shell])
def test_a_network_pickle_with_code_inside_is_refused_and_not_run(hostile, torch, tmp_path):
    path, made = tmp_path / "x.pkl", tmp_path / "made"
    network = files.network({"mapping.fc0.weight": np.ones((2, 2), np.float32)})
    network.modules["mapping"].attributes["hook"] = hostile(made)
    files.write_network_pickle(path, {"G_ema": network})
    with pytest.raises(FacesemError, match=r"the name posix\.\w+, which no network pickle does"):
        read_source(path)
    assert not made.exists()


def test_code_in_a_storage_of_a_network_pickle_is_not_run(torch, tmp_path):
    made = tmp_path / "made"
    hostile = pickle.dumps(Bomb(made))
    # "_load_from_bytes" of bytes that are themselves a pickle with code.
    data = b"\x80\x04ctorch.storage\n_load_from_bytes\n(B"
    data += struct.pack("<I", len(hostile)) + hostile + b"tR."
    with pytest.raises(FacesemError):
        read_network_pickle(data)
    assert not made.exists()


def test_the_source_text_of_a_network_pickle_is_not_run(torch, tmp_path):
    path = tmp_path / "x.pkl"
    weight = np.arange(4, dtype=np.float32).reshape(2, 2)
    for protocol in (3, 4, 5):
        network = files.network({"mapping.fc0.weight": weight}, gain=np.float64(0.25))
        files.write_network_pickle(path, {"G_ema": network}, protocol=protocol)
        assert files.SOURCE_TEXT.encode() in path.read_bytes()
        source = read_source(path)
        np.testing.assert_array_equal(source.arrays["G_ema.mapping.fc0.weight"], weight)
        assert source.attributes["G_ema.gain"] == 0.25
        assert source.attributes["G_ema.mapping.fc0.activation"] == "lrelu"


def _reduced(module, name, arguments):
    """Opcodes that call a global with a pickled tuple."""
    inner = pickle.dumps(arguments, 2)[2:-1]
    return f"c{module}\n{name}\n".encode() + inner + b"R"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x80\x02r\xff\xff\xff\x7f.", "memo index"),
        (b"\x80\x02\x82\x01.", "extension code"),
        (b"\x80\x02" + _reduced("numpy", "dtype", ("O8", False, True)) + b".", "NumPy type"),
        (b"\x80\x02" + _reduced("numpy", "dtype", ("f1000000000",)) + b".", "pickle|NumPy"),
        (b"\x80\x02cdnnlib.tflib.network\nNetwork\n.", "TensorFlow network pickle"),
        (b"\x80\x02]q\x00.", "not a dictionary"),
        (b"\x80\x02}.", "holds no network"),
        (b"\x80\x02X\x01\x00\x00\x00xQ.", "persistent identifier"),
        (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x00x.", "damaged"),
        (b"\x80\x04", "damaged"),
    ],
)
def test_pickles_that_no_network_is(data, message, torch):
    with pytest.raises(FacesemError, match=message):
        read_network_pickle(data)


def test_a_tensor_larger_than_its_storage_is_refused(torch, tmp_path):
    whole = torch.ones(4)
    shapes = [((10**6, 10**6), (0, 0)), ((5,), (1,)), ((2, 2), (3, 1))]
    for size, stride in shapes[:1]:
        torch.save({"w": torch.as_strided(whole, size, stride)}, tmp_path / "x.pt")
        with pytest.raises(FacesemError, match="tensor w is larger than its storage"):
            read_torch_file(tmp_path / "x.pt")
    from convert.network_pickles import _Refused, _tensor

    storage = whole.storage()
    for size, stride in shapes:
        with pytest.raises(_Refused, match="larger than its storage"):
            _tensor(storage, 0, size, stride)
    with pytest.raises(_Refused, match="impossible shape"):
        _tensor(storage, -1, (2,), (1,))
    np.testing.assert_array_equal(_tensor(storage, 1, (3,), (1,)), 1)


def test_an_archive_that_declares_more_than_it_holds_is_refused(torch, tmp_path):
    path = tmp_path / "bomb.pt"
    torch.save({"w": torch.zeros(1000)}, path)
    with zipfile.ZipFile(path) as before:
        entries = [(entry.filename, before.read(entry)) for entry in before.infolist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as after:
        for name, data in entries:
            after.writestr(name, data + bytes(10_000_000))
    assert path.stat().st_size < 200_000
    with pytest.raises(FacesemError, match=r"declares \d+ bytes in"):
        read_source(path)


def test_damaged_files_are_refused(torch, save):
    path = save({"w": torch.arange(1000.0), "b": torch.ones(3)})
    good = path.read_bytes()
    for share in (0.02, 0.3, 0.6, 0.9, 0.99):
        path.write_bytes(good[: int(len(good) * share)])
        with pytest.raises(FacesemError, match=r"file\.pt: the file"):
            read_source(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\n", "neither a PyTorch checkpoint"),
        (b"hello, this is text, and more of it\n", "neither a PyTorch checkpoint"),
        (b"\x80\x02", "damaged"),
        (b"PK\x03\x04", "damaged or truncated zip"),
        (struct.pack("<Q", 1 << 60) + b'{"a": 1}', "no safetensors file"),
    ],
)
def test_files_of_another_kind_are_refused(torch, tmp_path, content, message):
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(FacesemError, match=r"notes\.txt: .*" + message):
        read_source(path)


def test_a_missing_file_is_named(tmp_path):
    for path in (tmp_path / "none.pt", tmp_path, tmp_path / ("x" * 400), "a\0b"):
        with pytest.raises(FacesemError, match="is no file"):
            read_source(path)


def test_without_torch_the_error_says_what_to_install(torch, tmp_path, monkeypatch):
    torch.save({"w": torch.ones(2)}, tmp_path / "x.pt")
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({}, 4))
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    for name in ("x.pt", "x.pkl"):
        with pytest.raises(FacesemError, match=r"needs PyTorch: .*facesem-jax\[convert\]"):
            read_source(tmp_path / name)


def _small_files(torch, directory):
    """One small convertible file per container."""
    from checkpoint_files import dcgan_state, tensors, wrapped, write_network_pickle, write_torch

    dcgan = wrapped("dcgan", dcgan_state(features=1, z_dim=2), tensors)
    write_torch(directory / "zip.pt", dcgan)
    write_torch(directory / "legacy.pt", dcgan, legacy=True)
    rng = np.random.default_rng(0)
    shapes = {"mapping.fc0.weight": (2, 2), "mapping.fc0.bias": (2,), "mapping.w_avg": (2,)}
    shapes["synthesis.b4.const"] = (2, 4, 4)
    for layer, size in (("b4.conv1", 4), ("b8.conv0", 8), ("b8.conv1", 8)):
        shapes |= {
            f"synthesis.{layer}.weight": (2, 2, 3, 3),
            f"synthesis.{layer}.bias": (2,),
            f"synthesis.{layer}.noise_strength": (),
            f"synthesis.{layer}.noise_const": (size, size),
        }
    for block in ("b4", "b8"):
        shapes |= {f"synthesis.{block}.torgb.weight": (3, 2, 1, 1)}
        shapes |= {f"synthesis.{block}.torgb.bias": (3,)}
    for layer in ("b4.conv1", "b8.conv0", "b8.conv1", "b4.torgb", "b8.torgb"):
        shapes |= {f"synthesis.{layer}.affine.weight": (2, 2)}
        shapes |= {f"synthesis.{layer}.affine.bias": (2,)}
    state = {k: rng.normal(size=s).astype(np.float32) for k, s in shapes.items()}
    write_network_pickle(directory / "network.pkl", {"G_ema": files.network(state)})
    from safetensors.numpy import save_file

    save_file(state, directory / "flat.safetensors")
    return ["zip.pt", "legacy.pt", "network.pkl", "flat.safetensors"]


@pytest.fixture(scope="module")
def small_files(torch, tmp_path_factory):
    directory = tmp_path_factory.mktemp("small")
    names = _small_files(torch, directory)
    contents = {name: (directory / name).read_bytes() for name in names}
    for name in names:
        convert_file(directory / name)
    return directory, contents


@pytest.mark.parametrize("examples", [200, pytest.param(800, marks=pytest.mark.whole_run)])
@pytest.mark.parametrize("name", ["zip.pt", "legacy.pt", "network.pkl", "flat.safetensors"])
def test_mutated_files_raise_the_one_error_or_convert(name, examples, small_files):
    directory, contents = small_files
    good, refused = contents[name], []
    position = st.floats(0, 1, exclude_max=True)
    flips = st.lists(st.tuples(position, st.integers(0, 255)), min_size=1, max_size=4)
    # A piece of the file over another, where structure meets structure.
    splices = st.lists(st.tuples(position, position, st.integers(1, 40)), max_size=1)

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(flips, splices, st.floats(0.5, 1), st.booleans())
    def mutate(flips, splices, kept, cut):
        data = bytearray(good)
        for at, value in flips:
            data[int(at * len(data))] = value
        for start, end, length in splices:
            piece = good[int(start * len(good)) :][:length]
            at = int(end * len(data))
            data[at : at + len(piece)] = piece
        path = directory / f"mutated-{name}"
        path.write_bytes(data[: int(kept * len(data))] if cut else data)
        try:
            convert_file(path)
        except FacesemError as error:
            refused.append(str(error))
            assert str(path) in str(error)

    mutate()
    assert len(refused) > 0.375 * examples
