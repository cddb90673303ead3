import dataclasses

import jax
import numpy as np
import pytest

from experiments.app_pictures import AppModels, Pictures, load_models
from experiments.app_session import Edit, EditState, Face
from facesem_jax.decomposer import CropBox
from facesem_jax.direction_files import directions_bytes
from facesem_jax.errors import FacesemError
from facesem_jax.semantics.direction_set import DirectionSet
from facesem_jax.viz.pictures import enlarge

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def directions():
    """A turn, and a component that acts on the middle of the canonical face alone."""
    maps = np.zeros((1, 32, 32, 4), np.float32)
    maps[0, 8:24, 8:24] = 1
    eye = np.eye(16, dtype=np.float32)
    return DirectionSet(
        names=("yaw",),
        gradients=2 * eye[:1],
        labels=("nose-1",),
        vectors=eye[1:2],
        spreads=np.array([0.5], np.float32),
        regions=("nose",),
        maps=maps,
    )


@pytest.fixture(scope="module")
def pictures(tiny_generator, tiny_decomposer, directions):
    return Pictures(AppModels(tiny_generator, tiny_decomposer, None, directions, "abc", "tiny", ()))


START = Edit(Face(5))
MOVED = EditState(START).with_amount("yaw", 10).with_amount("nose-1", -3).edit


def test_the_latent_moves_by_the_amounts(pictures, tiny_generator):
    z = jax.random.normal(jax.random.key(5), (1, 16))
    w = np.asarray(tiny_generator.mapping(z, 1.0))
    np.testing.assert_allclose(pictures.latent(START), w, rtol=1e-5, atol=1e-6)
    move = np.asarray(pictures.latent(MOVED) - pictures.latent(START))
    np.testing.assert_allclose(move[0, :3], [10 / 2, -3 * 0.5, 0], atol=1e-5)


def test_before_after_and_difference(pictures):
    still, moved = pictures.edit(START), pictures.edit(MOVED)
    assert still.before.shape == still.difference.shape == (192, 192, 3)
    assert still.after.shape == (384, 384, 3)
    np.testing.assert_array_equal(still.after, enlarge(pictures.picture(START), 12, smooth=True))
    # Grey alone where nothing changes.
    assert np.ptp(still.difference, axis=-1).max() == 0 and still.limit == 0
    np.testing.assert_array_equal(moved.before, still.before)
    assert (moved.after != still.after).any()
    assert moved.limit > 0 and np.ptp(moved.difference, axis=-1).max() > 50


def test_frames_lead_from_before_to_after(pictures):
    frames = pictures.frames(MOVED, 5)
    np.testing.assert_array_equal(frames[0], pictures.picture(START))
    np.testing.assert_array_equal(frames[-1], pictures.picture(MOVED))
    strip = pictures.strip(MOVED, 5)
    np.testing.assert_array_equal(strip[:, 64:96], frames[2])


def test_a_w_plus_moves_in_every_layer(pictures, tiny_generator):
    layers = tiny_generator.config.num_layers
    assert pictures.models.latent_shapes == ((1, 16), (layers, 16))
    plus = np.repeat(pictures.latent(START)[:, None], layers, axis=1)
    edit = dataclasses.replace(MOVED, face=Face.of_latent(plus))
    expected = pictures.latent(MOVED)[:, None]
    np.testing.assert_allclose(pictures.latent(edit), np.repeat(expected, layers, 1), atol=1e-6)
    np.testing.assert_array_equal(pictures.picture(edit), pictures.picture(MOVED))


def test_a_click_finds_the_component_where_it_acts(pictures):
    found = pictures.acting(START, 0.5, 0.5)
    assert [(f.name, f.region, f.strength) for f in found] == [("nose-1", "nose", 1.0)]
    assert pictures.acting(START, 1.5, 0.5) == ()


@pytest.mark.whole_run
def test_the_click_passes_through_the_crop(pictures):
    """Cut out of the upper left, so that the lower right of the picture shows nothing."""
    models = dataclasses.replace(pictures.models, crop=CropBox(0.0, 0.0, 0.5, 0.5))
    cropped = Pictures(models)
    assert [f.name for f in cropped.acting(START, 0.25, 0.25)] == ["nose-1"]
    assert cropped.acting(START, 0.75, 0.75) == ()
    assert cropped.decomposed(START).images.shape == (1, 32, 32, 3)


def test_decomposition_and_render(pictures):
    faces = pictures.decomposed(START)
    assert pictures.decomposition_row(faces).shape == (6, 192, 192, 3)
    ahead = pictures.rendered(faces, [0, 0, 0], faces.light[0])
    turned = pictures.rendered(faces, [0, 20, 0], faces.light[0])
    dark = pictures.rendered(faces, [0, 0, 0], [0, 0, 0, 0])
    assert ahead.shape == (384, 384, 3)
    assert np.abs(ahead.astype(int) - turned).mean() > 1
    # Without light the shaded face is black; what the mesh leaves open is the mid-grey 0.
    assert dark[100:284, 100:284].max() == 0


def test_without_directions_all_but_the_moves_works(pictures):
    models = dataclasses.replace(pictures.models, directions=None)
    bare = Pictures(models)
    np.testing.assert_array_equal(bare.picture(START), pictures.picture(START))
    assert bare.acting(START, 0.5, 0.5) == ()


@pytest.mark.whole_run
def test_models_of_a_directory(pair, directions, tmp_path):
    found = load_models(str(pair), str(pair), None, None)
    assert found.directions is None and "experiments.localized" in found.notes[0]
    with pytest.raises(FacesemError, match="No directions called"):
        load_models(str(pair), str(pair), str(tmp_path / "none"), None)
    with pytest.raises(FacesemError, match="w_dim 128 and the generator 16"):
        load_models(str(pair), str(pair), "digiface64", None)
    path = tmp_path / "directions.npz"
    path.write_bytes(
        directions_bytes(dataclasses.replace(directions, about={"generator_digest": "other"}))
    )
    found = load_models(str(pair), str(pair), str(path), None)
    assert found.directions.labels == ("nose-1",) and "other weights" in found.notes[0]
