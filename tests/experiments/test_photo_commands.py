"""`facesem decompose` and `facesem invert`."""

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import decompose_command, invert_command
from experiments.decomposition import decompose_faces
from experiments.image_files import read_image
from facesem_jax.checkpoint import Description, save_module
from facesem_jax.errors import FacesemError
from facesem_jax.generators.encoder import Encoder, EncoderConfig
from facesem_jax.loading import load_decomposer, load_generator
from facesem_jax.viz.pictures import rgb

pytestmark = pytest.mark.usefixtures("quick_compilation")
W_DIM, SIZE, LAYERS = 16, 32, 8


@pytest.fixture(scope="module")
def photo(pair, tmp_path_factory):
    """A face of the tiny generator in the middle of a wide picture."""
    z = jax.random.normal(jax.random.key(5), (1, W_DIM))
    face = rgb(0.3 * np.asarray(load_generator(pair)(z))[0])
    wide = np.full((SIZE, 2 * SIZE, 3), 128, np.uint8)
    wide[:, SIZE // 2 : SIZE // 2 + SIZE] = face
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.fromarray(wide).save(path)
    return path


def _decompose(pair, photo, tmp_path, **changes):
    given = {"output": tmp_path / "out.png", "decomposer": str(pair), "scale": 1}
    decompose_command.main(decompose_command.Options(photo, **(given | changes)))


@pytest.mark.whole_run
def test_a_photo_is_decomposed(pair, photo, tmp_path, capsys):
    _decompose(pair, photo, tmp_path, arrays=tmp_path / "out.npz", scale=2)
    sheet = np.asarray(Image.open(tmp_path / "out.png"))
    assert sheet.shape == (2 * SIZE, 12 * SIZE, 3)
    face = np.asarray(Image.open(photo))[:, SIZE // 2 : SIZE // 2 + SIZE]
    np.testing.assert_array_equal(sheet[::2, : 2 * SIZE : 2], face)
    image = read_image(photo, SIZE)
    expected = decompose_faces(load_decomposer(pair), image[None])
    with np.load(tmp_path / "out.npz") as numbers:
        for name in ("view", "light", "depth", "albedo", "normals"):
            np.testing.assert_allclose(numbers[name], getattr(expected, name)[0], atol=1e-6)
    shown = capsys.readouterr().out
    pitch, yaw, roll = expected.view[0]
    assert f"view: pitch {pitch:.1f}, yaw {yaw:.1f}, roll {roll:.1f} degrees" in shown
    assert f"light: ambient {expected.light[0, 0]:.3f}" in shown and "reconstruction:" in shown


@pytest.mark.whole_run
def test_the_default_outputs_are_named_after_the_photo(pair, photo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _decompose(pair, photo, tmp_path, output=None)
    assert [p.name for p in tmp_path.iterdir()] == ["photo-decomposition.png"]


def test_a_crop_is_cut_out(pair, photo, tmp_path):
    pictures = []
    for crop in (None, f"0,{SIZE // 2},{SIZE},{SIZE}", f"0,0,{SIZE},{SIZE}"):
        _decompose(pair, photo, tmp_path, crop=crop)
        pictures.append((tmp_path / "out.png").read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]


def _invert(pair, photo, tmp_path, **changes):
    given = {
        "output": tmp_path / "w.npy",
        "picture": tmp_path / "w.png",
        "generator": str(pair),
        "steps": 60,
        "scale": 1,
    }
    invert_command.main(invert_command.Options(photo, **(given | changes)))


@pytest.mark.whole_run
@pytest.mark.parametrize("space", ["w", "w_plus"])
def test_a_photo_is_inverted(pair, photo, tmp_path, space, capsys):
    _invert(pair, photo, tmp_path, space=space)
    w = np.load(tmp_path / "w.npy")
    assert w.shape == ((1, W_DIM) if space == "w" else (1, LAYERS, W_DIM))
    assert w.dtype == np.float32 and np.isfinite(w).all()
    picture = np.asarray(Image.open(tmp_path / "w.png"))
    assert picture.shape == (SIZE, 3 * SIZE, 3)
    np.testing.assert_array_equal(picture[:, :SIZE], rgb(read_image(photo, SIZE)))
    drawn = rgb(np.asarray(load_generator(pair).synthesis(w))[0])
    assert np.abs(picture[:, SIZE : 2 * SIZE] - drawn.astype(int)).max() <= 1
    words = capsys.readouterr().out.split()
    assert float(words[6]) > float(words[1])  # dB after and before.
    assert sorted(p.name for p in tmp_path.iterdir()) == ["w.npy", "w.png"]


def test_an_encoder_gives_the_first_guess(pair, random_module, tmp_path):
    from flax import nnx

    assert invert_command.encoder_of(str(pair)) is None
    assert invert_command.encoder_of(str(pair / "generator")) is None
    config = EncoderConfig(SIZE, (4, 4, 4, 4), W_DIM, groups=2)
    encoder = random_module(lambda: Encoder(config, rngs=nnx.Rngs(0)))
    description = Description("encoder", {"resolution": SIZE, "channels": [4] * 4,
                                          "w_dim": W_DIM, "groups": 2})  # fmt: skip
    save_module(tmp_path / "encoder", encoder, description)
    found = invert_command.encoder_of(str(tmp_path))
    generator = load_generator(pair)
    image = np.zeros((SIZE, SIZE, 3), np.float32)
    prior = invert_command.LatentPrior(np.ones(W_DIM), np.eye(W_DIM), np.float32(1))
    guess = invert_command.first_guess(generator, found, image, prior, "w")
    np.testing.assert_allclose(guess, found(image[None]), atol=1e-5)
    without = invert_command.first_guess(generator, None, image, prior, "w_plus")
    np.testing.assert_array_equal(without, np.ones((1, LAYERS, W_DIM)))
    (tmp_path / "encoder" / "description.json").write_text("{")
    with pytest.raises(FacesemError):
        invert_command.encoder_of(str(tmp_path))


@pytest.mark.parametrize("run", [_decompose, _invert])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": 0}, "scale is 0"),
        ({"crop": "0,0,99,99"}, "leaves the picture"),
        ({"crop": "moon"}, "unknown crop"),
        ({"output": "folder"}, "must end in"),
    ],
)
def test_bad_input_writes_nothing(run, pair, photo, tmp_path, changes, message):
    if "output" in changes:
        changes = {"output": tmp_path / changes["output"]}
    with pytest.raises(FacesemError, match=message):
        run(pair, photo, tmp_path, **changes)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("run", [_decompose, _invert])
def test_a_broken_photo_writes_nothing(run, pair, photo, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(photo.read_bytes()[:200])
    for path in (broken, tmp_path / "none.png"):
        with pytest.raises(FacesemError, match=path.name):
            run(pair, path, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["broken.png"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"steps": 10**6}, "steps is 1000000"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"prior": -1.0}, "prior_weight is -1"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_bad_numbers_are_refused_before_the_work(pair, photo, tmp_path, changes, message):
    with pytest.raises(FacesemError, match=message):
        _invert("no-such", photo, tmp_path, **changes)
