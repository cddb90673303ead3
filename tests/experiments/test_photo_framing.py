import numpy as np
import pytest
from PIL import Image

from experiments import photo_faces, photo_framing
from experiments.image_files import read_photo
from experiments.photo_framing import Place, frame_photo, framing_of
from facesem_jax import alignment as al
from facesem_jax.decomposer.crop import CROPS
from facesem_jax.errors import FacesemError


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    pixels = np.random.default_rng(0).integers(0, 256, (100, 160, 3), np.uint8)
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


def mesh(transform):
    """A face mesh whose five points lie where the transform puts the reference."""
    points = al.DIGIFACE64_POINTS @ transform[:, :2].T + transform[:, 2]
    landmarks = np.zeros((468, 2))
    for eye, point in zip(photo_faces._EYES, points, strict=False):
        landmarks[list(eye)] = point
    landmarks[photo_faces._NOSE] = points[2]
    landmarks[list(photo_faces._MOUTH)] = points[3:]
    return landmarks


LARGE = np.array([[60.0, -10, 40], [10, 60, 15]])
SMALL = np.array([[20.0, 0, 5], [0, 20, 70]])


@pytest.fixture
def faces(monkeypatch):
    found = [mesh(LARGE), mesh(SMALL)]
    monkeypatch.setattr(photo_framing, "available", lambda: True)
    monkeypatch.setattr(photo_framing, "find_faces", lambda photo: np.array(found))
    return found


def test_the_largest_face_is_framed_and_another_on_request(photo, faces):
    for place, transform in ((Place(align=True), LARGE), (Place(align=True, face=2), SMALL)):
        framed = frame_photo(photo, 32, place, "digiface64")
        np.testing.assert_allclose(framed.transform, transform, atol=1e-6)
        np.testing.assert_allclose(
            framed.image, al.align_face(read_photo(photo), transform, 32), atol=1e-5
        )
        points = photo_faces.face_points(framed.landmarks[None])[0]
        np.testing.assert_allclose(points, al.DIGIFACE64_POINTS, atol=1e-9)
        assert f"face {place.face} of 2 was taken" in framed.note
    assert "only 20 pixels wide" in framed.note


def test_the_framing_and_the_part_of_it_are_the_models(photo, faces):
    points = photo_faces.face_points(faces[0][None])[0]
    whole = al.ffhq_transform(points)
    framed = frame_photo(photo, 32, Place(align=True), "ffhq")
    np.testing.assert_allclose(framed.transform, whole)
    part = frame_photo(photo, 32, Place(align=True, framing="ffhq"), "digiface64", CROPS["ffhq"])
    corner = [CROPS["ffhq"].left, CROPS["ffhq"].top]
    np.testing.assert_allclose(part.transform[:, 2], whole[:, :2] @ corner + whole[:, 2])
    np.testing.assert_allclose(part.transform[:, :2], 0.73 * whole[:, :2])


def test_what_cannot_be_framed_is_refused(photo, faces, monkeypatch):
    with pytest.raises(FacesemError, match="face is 3; 2 were found"):
        frame_photo(photo, 32, Place(align=True, face=3), "digiface64")
    monkeypatch.setattr(photo_framing, "find_faces", lambda photo: np.zeros((0, 468, 2)))
    with pytest.raises(FacesemError, match=r"no face was found in .*photo\.png"):
        frame_photo(photo, 32, Place(align=True), "digiface64")


def test_without_the_package_the_square_is_taken_and_said(photo, monkeypatch):
    monkeypatch.setattr(photo_framing, "available", lambda: False)
    framed = frame_photo(photo, 25, Place(align=True), "digiface64")
    square = read_photo(photo)[:, 30:130]
    blocks = square.reshape(25, 4, 25, 4, 3).mean(axis=(1, 3)) / 127.5 - 1
    np.testing.assert_allclose(framed.image, blocks, atol=1e-5)
    assert "pip install 'facesem-jax[photos]'" in framed.note and "\n" not in framed.note
    monkeypatch.setattr(photo_faces, "available", lambda: False)
    with pytest.raises(FacesemError, match="mediapipe is needed"):
        photo_faces.find_faces(square)


def test_a_box_is_taken_as_it_is(photo):
    framed = frame_photo(photo, 20, Place("10,30,80,40"), "digiface64")
    np.testing.assert_allclose(framed.transform, [[40, 0, 30], [0, 80, 10]])
    assert framed.note == ""


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"align": True, "crop": "0,0,1,1"}, "--align or --crop"),
        ({"face": 2}, "--face is for faces found by landmarks"),
        ({"framing": "ffhq"}, "--framing is for faces found by landmarks"),
        ({"align": True, "face": 0}, "face is 0"),
    ],
)
def test_places_that_contradict_themselves_are_refused(given, message):
    with pytest.raises(FacesemError, match=message):
        Place(**given)


def test_the_generators_framing_is_read_from_its_description(pair):
    assert framing_of("digiface64") == "digiface64"
    with pytest.raises(FacesemError, match="--framing digiface64 or ffhq"):
        framing_of(str(pair))


def test_a_photo_is_turned_as_its_camera_says(tmp_path):
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, :8] = 200
    exif = Image.Exif()
    exif[274] = 6  # The camera was held upright: turn by a quarter clockwise.
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    turned = read_photo(tmp_path / "a.png")
    assert turned.shape == (16, 8, 3) and turned[:8].min() == 200 and turned[8:].max() == 0


def test_faces_of_a_real_photograph_are_found():
    pytest.importorskip("mediapipe")
    data = pytest.importorskip("skimage.data")
    photo = data.astronaut()
    faces = photo_faces.find_faces(photo)
    assert faces.shape == (1, 468, 2)
    # Read off the picture by eye: both eyes, the corners of the mouth.
    by_eye = [[202, 101], [247, 104], [205, 142], [243, 142]]
    points = photo_faces.face_points(faces)[0]
    np.testing.assert_allclose(points[[0, 1, 3, 4]], by_eye, atol=4)
    assert 90 < al.frame_side(al.face_transform(points)) < 112


def test_reference_points_are_those_of_the_faces_and_their_mirror_images(monkeypatch):
    # Landmarks in a frame padded from 256 to 384 pixels, one face that was not found.
    face = mesh(np.array([[0.9, 0, 0.08], [0, 0.9, 0.02]]))
    padded = np.zeros((2, 468, 3))
    padded[0, :, :2] = (face * 256 + 64) / 384
    padded[1] = np.nan
    monkeypatch.setattr(photo_faces, "find_landmarks", lambda images: padded)
    found = photo_faces.reference_points(np.zeros((2, 8, 8, 3), np.float32))
    expected = 0.9 * al.DIGIFACE64_POINTS + [0.05, 0.02]  # Centred by the mirror image.
    np.testing.assert_allclose(found, expected, atol=1e-9)
    monkeypatch.setattr(photo_faces, "find_landmarks", lambda images: padded[1:])
    with pytest.raises(FacesemError, match="no face was found in the generator's images"):
        photo_faces.reference_points(np.zeros((1, 8, 8, 3), np.float32))


def test_the_error_names_the_option_that_there_is(photo, monkeypatch):
    monkeypatch.setattr(photo_framing, "available", lambda: True)
    monkeypatch.setattr(photo_framing, "find_faces", lambda photo: np.zeros((0, 468, 2)))
    for option in ("--crop", "--box"):
        with pytest.raises(FacesemError, match=f"no face was found .* {option} top,left"):
            frame_photo(photo, 32, Place(align=True, option=option), "digiface64")
