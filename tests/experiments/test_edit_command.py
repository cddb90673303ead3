import dataclasses
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments.edit_command import Options, main
from facesem_jax.checkpoint import checkpoint_digest
from facesem_jax.direction_files import directions_bytes
from facesem_jax.errors import FacesemError
from facesem_jax.loading import load_generator
from facesem_jax.semantics.direction_set import DirectionSet
from facesem_jax.viz.pictures import rgb

pytestmark = pytest.mark.usefixtures("quick_compilation")
W_DIM, SIZE, LAYERS = 16, 32, 8


@pytest.fixture(scope="module")
def directions():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(2, W_DIM))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return DirectionSet(
        names=("yaw", "light_x"),
        gradients=(rng.normal(size=(2, W_DIM)) * [[20.0], [0.5]]).astype(np.float32),
        labels=("mouth-1", "mouth-2"),
        vectors=vectors.astype(np.float32),
        spreads=np.array([1.0, 0.5], np.float32),
        about={"generator": "another", "generator_digest": "0" * 64},
    )


@pytest.fixture(scope="module")
def options(pair, directions, tmp_path_factory):
    """Makes options for the tiny pair."""
    path = tmp_path_factory.mktemp("directions") / "directions.npz"
    path.write_bytes(directions_bytes(directions))

    def make(tmp_path, **changes):
        given = {
            "output": tmp_path / "out.png",
            "generator": str(pair),
            "decomposer": str(pair),
            "directions": str(path),
        }
        return Options(**(given | changes))

    return make


@pytest.fixture(scope="module")
def draw(pair):
    """Draws latents as an edit should."""
    generator = load_generator(pair)
    run = jax.jit(lambda g, w: g.synthesis(w))
    return lambda w: rgb(np.asarray(run(generator, jnp.asarray(w, jnp.float32))))


@pytest.fixture(scope="module")
def w(pair):
    z = jax.random.normal(jax.random.key(3), (1, W_DIM))
    return np.asarray(load_generator(pair).mapping(z))


def _read(path):
    return np.asarray(Image.open(path)).astype(int)


def _close(picture, expected):
    # The reference compiles another batch size: a rounding of a pixel may differ.
    assert picture.shape == expected.shape
    assert np.abs(picture - expected.astype(int)).max() <= 1


def test_a_face_is_moved_by_what_was_asked(options, directions, draw, w, tmp_path, capsys):
    main(
        options(
            tmp_path,
            seed=3,
            yaw=20.0,
            component=("mouth-1=2.5", "mouth-2=-1"),
            save_latent=tmp_path / "w.npy",
        )
    )
    moved = w + directions.move({"yaw": 20.0, "mouth-1": 2.5, "mouth-2": -1.0})
    np.testing.assert_allclose(np.load(tmp_path / "w.npy"), moved, atol=1e-5)
    picture = _read(tmp_path / "out.png")
    _close(picture, draw(moved)[0])
    assert np.abs(picture - draw(w)[0]).max() > 10
    captured = capsys.readouterr()
    assert "asked: yaw +20 degrees, mouth-1 +2.5 spreads, mouth-2 -1 spreads" in captured.out
    assert "out.png" in captured.out
    assert "note: these directions were found with other weights (another)" in captured.out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.png", "w.npy"]


def test_a_latent_comes_back_as_it_was_saved(options, draw, w, tmp_path):
    for name, latent in (("one", w[0]), ("rows", w), ("plus", np.repeat(w[:, None], LAYERS, 1))):
        np.save(tmp_path / f"{name}.npy", latent.astype(np.float64))
        main(options(tmp_path, latent=tmp_path / f"{name}.npy"))
        _close(_read(tmp_path / "out.png"), draw(w)[0])


def test_a_strip_runs_from_minus_to_plus(options, directions, draw, w, tmp_path):
    given = {"seed": 3, "yaw": 30.0, "light_x": 0.2, "decorrelated": True}
    main(options(tmp_path, strip=5, scale=2, **given))
    move = directions.move({"yaw": 30.0, "light_x": 0.2}, decorrelated=True)
    expected = draw(np.concatenate([w + t * move for t in (-1, -0.5, 0, 0.5, 1)]))
    picture = _read(tmp_path / "out.png")
    assert picture.shape == (2 * SIZE, 10 * SIZE, 3)
    _close(picture[::2, ::2], np.concatenate(list(expected), axis=1))
    _close(picture[1::2, 1::2], np.concatenate(list(expected), axis=1))


def test_a_difference_stands_beside_before_and_after(options, draw, w, tmp_path, capsys):
    main(options(tmp_path, seed=3, component=("mouth-2=3",), difference=True))
    picture = _read(tmp_path / "out.png")
    assert picture.shape == (SIZE, 3 * SIZE, 3)
    _close(picture[:, :SIZE], draw(w)[0])
    change = picture[:, SIZE : 2 * SIZE] - picture[:, :SIZE]
    shown = 255 - picture[:, 2 * SIZE :].min(axis=-1)
    # The more a pixel changes, the more colour it has.
    assert np.corrcoef(np.abs(change).mean(axis=-1).ravel(), shown.ravel())[0, 1] > 0.9
    assert re.search(r"difference: full colour at [\d.]+ %", capsys.readouterr().out)


def test_a_face_as_it_is_needs_no_directions(options, draw, w, tmp_path, capsys):
    main(options(tmp_path, seed=3, directions="no-such"))
    _close(_read(tmp_path / "out.png"), draw(w)[0])
    assert "asked: nothing" in capsys.readouterr().out


def test_directions_beside_the_generator_need_no_option(
    options, directions, pair, w, tmp_path, capsys
):
    model = tmp_path / "model"
    shutil.copytree(pair, model)
    about = {"generator_digest": checkpoint_digest(model / "generator")}
    own = dataclasses.replace(directions, about=about)
    (model / "directions.npz").write_bytes(directions_bytes(own))
    main(
        options(
            tmp_path,
            generator=str(model),
            directions=None,
            seed=3,
            yaw=5.0,
            save_latent=tmp_path / "w.npy",
        )
    )
    np.testing.assert_allclose(
        np.load(tmp_path / "w.npy"), w + directions.move({"yaw": 5.0}), atol=1e-5
    )
    assert "note" not in capsys.readouterr().out


def test_several_latents_are_rows(options, draw, w, tmp_path):
    np.save(tmp_path / "w.npy", np.concatenate([w, -w]))
    main(options(tmp_path, latent=tmp_path / "w.npy", strip=3, yaw=1.0))
    picture = _read(tmp_path / "out.png")
    assert picture.shape == (2 * SIZE, 3 * SIZE, 3)
    _close(picture[SIZE:, SIZE : 2 * SIZE], draw(-w)[0])


def test_what_was_measured_is_printed(options, tmp_path, capsys):
    main(options(tmp_path, seed=3, yaw=20.0, measure=True))
    (line,) = re.findall(r"^measured: .*", capsys.readouterr().out, re.MULTILINE)
    assert re.search(r"yaw [+-][\d.e-]+ degrees", line) and "light_x" in line


def test_truncation_pulls_towards_the_average(options, draw, tmp_path, pair):
    main(options(tmp_path, seed=3, truncation=0.0))
    average = np.asarray(load_generator(pair).mapping.w_avg[...])
    _close(_read(tmp_path / "out.png"), draw(average[None])[0])


def test_smooth_enlargement_is_smooth(options, tmp_path):
    pictures = []
    for smooth in (False, True):
        main(options(tmp_path, seed=3, scale=4, smooth=smooth))
        pictures.append(_read(tmp_path / "out.png"))
    steps = [np.abs(np.diff(p, axis=1)) for p in pictures]
    assert steps[1].max() < steps[0].max() and pictures[0].shape == pictures[1].shape


def _array(tmp_path, array):
    np.save(tmp_path / "bad.npy", array)
    return {"latent": tmp_path / "bad.npy"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (lambda t: {"component": ("mouth=1",)}, "unknown direction 'mouth'; did you mean mouth-1"),
        (lambda t: {"component": ("mouth-1",)}, "expected NAME=AMOUNT"),
        (lambda t: {"component": ("mouth-1=x",)}, "expected NAME=AMOUNT"),
        (lambda t: {"component": ("mouth-1=nan",)}, "mouth-1 is nan"),
        (lambda t: {"component": ("mouth-1=1", "mouth-1=2")}, "given twice"),
        (lambda t: {"component": ("light_x=1",)}, "has an option, --light-x"),
        (lambda t: {"pitch": 3.0}, "have no pitch; they have yaw, light_x"),
        (lambda t: {"yaw": float("inf")}, "yaw is inf"),
        (lambda t: {"component": ("mouth-1=1e39",)}, "too large"),
        (lambda t: {"seed": 1, "latent": t / "w.npy"}, "not both"),
        (lambda t: {"latent": t / "none.npy"}, "There is no file"),
        (lambda t: _array(t, np.zeros(W_DIM + 1)), r"shape \(1, 17\).*takes \(16,\), \(n, 16\), "),
        (lambda t: _array(t, np.zeros((1, LAYERS + 1, W_DIM))), "holds an array of shape"),
        (lambda t: _array(t, np.full(W_DIM, np.nan)), "not finite, or beyond float32"),
        (lambda t: _array(t, np.full(W_DIM, 1e300)), "not finite, or beyond float32"),
        (lambda t: _array(t, np.zeros((0, W_DIM))), "holds 0 latents"),
        (lambda t: _array(t, np.zeros(W_DIM)) | {"truncation": 0.5}, "for a drawn face"),
        (lambda t: {"truncation": float("nan")}, "truncation is nan"),
        (lambda t: {"strip": 4}, "odd number"),
        (lambda t: {"scale": 0}, "scale is 0"),
        (lambda t: {"scale": 64, "strip": 33}, "million pixels"),
        (lambda t: {"output": t / "out.jpg"}, r"must end in \.png"),
        (lambda t: {"save_latent": t / "no" / "w.npy"}, "there is no"),
        (lambda t: {"generator": "digiface64", "yaw": 1.0}, "w_dim 16 and the generator 128"),
        (lambda t: {"directions": str(t), "yaw": 1.0}, "holds neither"),
        (lambda t: {"generator": "no-such"}, "No generator called 'no-such'"),
    ],
)
def test_bad_input_is_one_clear_error_and_writes_nothing(options, changes, message, tmp_path):
    given = options(tmp_path, **changes(tmp_path))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(FacesemError, match=message) as error:
        main(given)
    assert "\n" not in str(error.value)
    assert sorted(tmp_path.iterdir()) == before
