import dataclasses
import json
import shutil

import numpy as np
import pytest
from flax import nnx

from facesem_jax import loading
from facesem_jax.checkpoint import DESCRIPTION, Description, named_arrays, save_module
from facesem_jax.decomposer import Decomposer, DecomposerConfig
from facesem_jax.decomposer.crop import CROPS, CropBox
from facesem_jax.errors import FacesemError
from facesem_jax.generators.config import StyleGAN2Config
from facesem_jax.generators.encoder import Encoder, EncoderConfig
from facesem_jax.generators.stylegan2 import StyleGAN2

CONFIGS = {
    "generator": StyleGAN2Config(8, (2, 2), z_dim=4, w_dim=4, mapping_layers=1),
    "encoder": EncoderConfig(8, (2, 2), w_dim=4, groups=1),
    "decomposer": DecomposerConfig.compact(
        image_size=32,
        depth_nf=1,
        depth_zdim=2,
        albedo_nf=1,
        albedo_zdim=2,
        light_nf=1,
        view_nf=1,
        confidence_nf=1,
        confidence_zdim=2,
        norm_groups=1,
    ),
}
KINDS = {"generator": "stylegan2", "encoder": "encoder", "decomposer": "unsup3d"}
BUILDERS = {"generator": StyleGAN2, "encoder": Encoder, "decomposer": Decomposer}
LOADERS = {
    "generator": loading.load_generator,
    "encoder": loading.load_encoder,
    "decomposer": loading.load_decomposer,
}
ROLES = tuple(LOADERS)


@pytest.fixture(scope="module")
def models(random_module):
    return {
        role: random_module(lambda role=role: BUILDERS[role](CONFIGS[role], rngs=nnx.Rngs(0)))
        for role in ROLES
    }


@pytest.fixture(scope="module")
def pair(models, tmp_path_factory):
    """One directory with a model of every role."""
    directory = tmp_path_factory.mktemp("pair")
    for role in ROLES:
        description = Description(KINDS[role], dataclasses.asdict(CONFIGS[role]))
        save_module(directory / role, models[role], description)
    return directory


def _edited(pair, tmp_path, role, **fields):
    directory = shutil.copytree(pair / role, tmp_path / role)
    path = directory / DESCRIPTION
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    return directory


@pytest.mark.parametrize("role", ROLES)
def test_a_model_loads_from_its_own_and_from_the_shared_directory(role, models, pair):
    expected = named_arrays(models[role])
    for directory in (pair, pair / role, str(pair / role)):
        found = LOADERS[role](directory)
        assert type(found) is BUILDERS[role]
        assert found.config == CONFIGS[role]
        arrays = named_arrays(found)
        assert list(arrays) == list(expected)
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, expected[name])


@pytest.mark.parametrize("role", ROLES)
def test_a_model_of_another_role_is_refused(role, pair):
    for other in set(ROLES) - {role}:
        with pytest.raises(FacesemError, match=rf"holds a {other} \(.*a {role} is wanted"):
            LOADERS[role](pair / other)


@pytest.mark.parametrize("role", ROLES)
def test_an_unknown_name_lists_the_known_ones(role, monkeypatch):
    for name in loading.bundled_names():
        with pytest.raises(FacesemError, match=f"known: .*{name}"):
            LOADERS[role]("no-such-model")
    monkeypatch.setattr(loading, "bundled_names", lambda: ("alpha64", "beta64"))
    for name in ("no-such-model", "alpha", "no/such/directory"):
        with pytest.raises(
            FacesemError, match=rf"No {role} called '{name}'.*known: alpha64, beta64"
        ):
            LOADERS[role](name)


@pytest.mark.parametrize(
    "name",
    [
        "\x00",
        "x" * 5000,
    ],
)
def test_names_that_cannot_be_paths_are_unknown_names(name):
    with pytest.raises(FacesemError, match="No generator called"):
        loading.load_generator(name)


def test_directories_without_a_model_say_what_is_wanted(tmp_path, pair):
    (tmp_path / "notes.txt").write_text("nothing here")
    for directory in (tmp_path, pair / "generator" / "weights"):
        with pytest.raises(FacesemError, match=r"no facesem-jax checkpoint.*description\.json"):
            loading.load_generator(directory)
    with pytest.raises(FacesemError, match="neither a directory nor a bundled name"):
        loading.load_generator(tmp_path / "notes.txt")


def test_an_unknown_kind_lists_the_known_ones(pair, tmp_path):
    directory = _edited(pair, tmp_path, "generator", kind="biggan")
    known = "stylegan1, stylegan2, dcgan, encoder, unsup3d"
    with pytest.raises(FacesemError, match=rf"holds a 'biggan'; .* {known}"):
        loading.load_generator(directory)


@pytest.mark.parametrize(
    ("role", "changes", "message"),
    [
        ("generator", {"channels": [2, 10**9]}, r"array .*implies .*1000000000"),
        ("generator", {"w_dim": 10**9}, r"array .*implies .*1000000000"),
        ("generator", {"z_dim": 10**9}, r"array mapping/layers/0/kernel .*1000000000"),
        ("generator", {"channels": [2, 2, 2]}, "resolution 8 needs 2"),
        ("generator", {"resolution": 2**64}, "channels has 2 entries"),
        ("generator", {"resolution": 0}, "resolution is 0"),
        ("encoder", {"channels": [2, 10**9]}, r"array .*implies .*1000000000"),
        ("encoder", {"groups": 3}, "multiples of 3"),
        ("decomposer", {"depth_nf": 10**9}, r"array depth_net.*implies .*000000000"),
        ("decomposer", {"albedo_zdim": 10**9}, r"array albedo_net.*implies .*1000000000"),
        ("decomposer", {"image_size": 16 * 10**8}, r"array .*implies .*100000000"),
        ("decomposer", {"image_size": 33}, "image_size is 33"),
        ("decomposer", {"min_depth": 2.0}, "must satisfy"),
        ("decomposer", {"depth_prior": [1, 2]}, "depth_prior must be"),
    ],
)
def test_hostile_sizes_are_refused_without_allocating(role, changes, message, pair, tmp_path):
    config = json.loads((pair / role / DESCRIPTION).read_text())["config"]
    directory = _edited(pair, tmp_path, role, config=config | changes)
    with pytest.raises(FacesemError, match=message):
        LOADERS[role](directory)


def test_a_hostile_number_of_layers_is_refused_at_once(pair, tmp_path):
    config = json.loads((pair / "generator" / DESCRIPTION).read_text())["config"]
    directory = _edited(pair, tmp_path, "generator", config=config | {"mapping_layers": 10**9})
    with pytest.raises(FacesemError, match=r"mapping_layers|layers"):
        loading.load_generator(directory)


@pytest.mark.parametrize(
    ("role", "changes"),
    [
        ("generator", {"resolution": "8"}),
        ("generator", {"resolution": 8.0}),
        ("generator", {"resolution": None}),
        ("generator", {"channels": 2}),
        ("generator", {"channels": ["2", "2"]}),
        ("generator", {"w_dim": -4}),
        ("generator", {"mapping_layers": "1"}),
        ("encoder", {"groups": 0}),
        ("decomposer", {"image_size": "32"}),
        ("decomposer", {"norm_groups": 0}),
        ("decomposer", {"depth_prior": 3}),
        ("decomposer", {"view_nf": -1}),
    ],
)
def test_configs_of_wrong_types_are_refused(role, changes, pair, tmp_path):
    config = json.loads((pair / role / DESCRIPTION).read_text())["config"]
    directory = _edited(pair, tmp_path, role, config=config | changes)
    with pytest.raises(FacesemError):
        LOADERS[role](directory)


@pytest.mark.parametrize(
    ("crop", "expected"),
    [
        (None, None),
        ("ffhq", CROPS["ffhq"]),
        ("identity", CropBox(0, 0, 1, 1)),
        ([0.1, 0.2, 0.5, 0.6], CropBox(0.1, 0.2, 0.5, 0.6)),
    ],
)
def test_the_crop_comes_with_the_generator(crop, expected, pair, tmp_path):
    directory = _edited(pair, tmp_path, "generator", crop=crop)
    assert loading.load_crop(directory) == expected
    assert loading.load_crop(tmp_path) == expected


@pytest.mark.parametrize(
    ("crop", "message"),
    [
        ("portrait", "unknown crop 'portrait'; known are identity"),
        ([0.5, 0.5, 0.9, 0.9], "leaves the image"),
        ([0.1, 0.2], "crop"),
        ([0, 0, "a", 1], "crop"),
        ([float("nan")] * 4, "crop|leaves the image"),
        ({"top": 0}, "crop"),
        (7, "crop"),
    ],
)
def test_crops_that_are_none_are_refused(crop, message, pair, tmp_path):
    directory = _edited(pair, tmp_path, "generator", crop=crop)
    with pytest.raises(FacesemError, match=message):
        loading.load_crop(directory)
