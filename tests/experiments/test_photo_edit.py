"""`facesem edit --photo`."""

import numpy as np
import pytest
from PIL import Image

from experiments import photo_edit
from experiments.edit_command import Options, main
from experiments.image_files import read_photo
from experiments.photo_edit import blend_of, photo_mask
from facesem_jax.direction_files import directions_bytes
from facesem_jax.errors import FacesemError
from facesem_jax.loading import load_decomposer
from facesem_jax.semantics.direction_set import DirectionSet

pytestmark = pytest.mark.usefixtures("quick_compilation")
W_DIM, SIZE = 16, 32
BOX = "20,40,64,64"


def directions(with_maps=True):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(2, W_DIM))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    maps = np.zeros((2, SIZE, SIZE, 4), np.float32)
    maps[0, 20:26, 12:20, 0] = 1
    return DirectionSet(
        names=("yaw", "light_x"),
        gradients=rng.normal(size=(2, W_DIM)).astype(np.float32),
        labels=("mouth-1", "dead-1"),
        vectors=vectors.astype(np.float32),
        spreads=np.ones(2, np.float32),
        maps=maps if with_maps else None,
    )


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    pixels = np.random.default_rng(1).integers(0, 256, (120, 150, 3), np.uint8)
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def run(pair, photo, tmp_path):
    path = tmp_path / "directions.npz"
    path.write_bytes(directions_bytes(directions()))

    def run(**changes):
        given = {
            "output": tmp_path / "out.png",
            "photo": photo,
            "box": BOX,
            "steps": 3,
            "generator": str(pair),
            "decomposer": str(pair),
            "directions": str(path),
        }
        main(Options(**(given | changes)))
        return np.asarray(Image.open(tmp_path / "out.png"))

    return run


@pytest.mark.whole_run
@pytest.mark.parametrize("space", ["w", "w_plus"])
def test_a_component_changes_its_part_of_the_photo_alone(run, photo, tmp_path, space, capsys):
    result = run(component=("mouth-1=3",), space=space, save_latent=tmp_path / "w.npy")
    changed = (result != read_photo(photo)).any(axis=-1)
    assert result.shape == (120, 150, 3) and 20 < changed.sum() < 64 * 64
    rows, columns = np.nonzero(changed)
    assert rows.min() > 20 and rows.max() < 84 and columns.min() > 40 and columns.max() < 104
    shown = capsys.readouterr().out
    assert "asked: mouth-1 +3 spreads" in shown and "dB after 3 steps" in shown
    assert np.load(tmp_path / "w.npy").shape == ((1, 16) if space == "w" else (1, 8, 16))


@pytest.mark.whole_run
def test_a_pose_replaces_the_face_and_the_frame_stays(run, photo):
    result = run(yaw=5.0)
    changed = (result != read_photo(photo)).any(axis=-1)
    assert changed[40:60, 60:85].mean() > 0.9
    changed[20:84, 40:104] = False
    assert not changed.any()
    assert (run(yaw=5.0, blend="add") != result).any()


@pytest.mark.whole_run
def test_the_mask_follows_what_moves(pair):
    decomposer = load_decomposer(pair)
    image = np.zeros((SIZE, SIZE, 3), np.float32)
    local = photo_mask(["mouth-1"], directions(), image, decomposer, None)
    whole = photo_mask(["mouth-1", "light_x"], directions(), image, None, None)
    assert 0 < local.sum() < 0.7 * whole.sum()
    assert blend_of(["mouth-1", "yaw"], "auto") == "replace"
    assert blend_of(["mouth-1", "light_x"], "auto") == "add"
    assert blend_of(["yaw"], "add") == "add"
    with pytest.raises(FacesemError, match="zero everywhere"):
        photo_mask(["dead-1"], directions(), image, decomposer, None)
    with pytest.raises(FacesemError, match="without their maps"):
        photo_mask(["mouth-1"], directions(False), image, decomposer, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "name a change of the photo"),
        ({"yaw": 1.0, "seed": 3}, "--seed or --photo"),
        ({"yaw": 1.0, "strip": 3}, "--strip is for faces without a photo"),
        ({"yaw": 1.0, "steps": 0}, "steps is 0"),
        ({"yaw": 1.0, "face": 2}, r"--face is for faces found by landmarks \(without --box\)"),
        ({"yaw": 1.0, "box": "moon"}, "unknown crop"),
        ({"yaw": 1.0, "box": "0,0,100"}, "--box is '0,0,100'"),
        ({"yaw": 1.0, "crop": "ffqh"}, "unknown crop 'ffqh'; did you mean ffhq"),
        ({"yaw": 1.0, "truncation": 0.5}, "not for --photo"),
        ({"yaw": 1.0, "photo": None, "box": None, "steps": 7}, "--steps is for a photo"),
    ],
)
def test_bad_input_writes_nothing(run, tmp_path, changes, message):
    with pytest.raises(FacesemError, match=message):
        run(**changes)
    assert not (tmp_path / "out.png").exists()


def test_blends_are_those_of_the_command():
    assert photo_edit.BLENDS == ("auto", "add", "replace")


def test_what_the_mask_needs_is_checked_before_the_inversion(run, tmp_path, monkeypatch):
    def never(*_):
        raise AssertionError("the photo was inverted")

    monkeypatch.setattr("experiments.edit_command.invert_photo", never)
    without = tmp_path / "without.npz"
    without.write_bytes(directions_bytes(directions(False)))
    with pytest.raises(FacesemError, match="export them again without --no-maps"):
        run(component=("mouth-1=1",), directions=str(without))
    with pytest.raises(FacesemError, match="No decomposer called 'nope'"):
        run(component=("mouth-1=1",), decomposer="nope")


@pytest.mark.whole_run
def test_the_crop_that_was_asked_for_is_the_masks(run, photo):
    # The decomposer sees the upper left quarter alone: there the component acts.
    whole, part = (run(component=("mouth-1=3",), crop=crop) for crop in (None, "0,0,0.5,0.5"))
    assert (whole != part).any()
