import dataclasses

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from changed_parts import changed_parts
from flax import nnx

from experiments import search_views
from experiments.face_sources import LatentSource, face_set
from experiments.search_views import Options, main
from experiments.searched_views import SearchedViews, ViewLearning, in_pieces
from facesem_jax import load_decomposer
from facesem_jax.errors import FacesemError
from facesem_jax.heads import load_heads
from facesem_jax.training.decomposer_loss import MIRROR_VIEW
from facesem_jax.training.mean_head import HeadFraming, mean_head_depth
from facesem_jax.training.pooled_surface import PooledSurfaceConfig, surface_functions
from facesem_jax.training.state import init_state
from facesem_jax.training.view_search import ViewSearchConfig

pytestmark = [
    pytest.mark.usefixtures("quick_compilation"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
SIZE, COUNT = 32, 100
SEARCH = ViewSearchConfig(components=5, near=180.0, steps=2)
LEARNING = ViewLearning(steps=2, batch_size=8, search=SEARCH)


def source(seed=0, size=SIZE):
    """Faces whose pictures are noise, from latents of their number."""

    def draw(latents):
        rng = np.random.default_rng(int(latents[0, 0]))
        return jnp.asarray(rng.uniform(-1, 1, (len(latents), size, size, 3)), jnp.float32)

    return LatentSource(lambda index, count: jnp.full((count, 1), index), draw, "z", 1)


@pytest.fixture(scope="module")
def faces():
    return face_set(source(), COUNT).images


@pytest.fixture
def views(tiny_decomposer, faces):
    made = SearchedViews(tiny_decomposer, faces, LEARNING)
    return made, *init_state(tiny_decomposer.view_net, optax.sgd(0.1))


def test_functions_take_faces_in_pieces(faces):
    assert faces.shape == (COUNT, SIZE, SIZE, 3)
    assert not np.array_equal(faces[:50], faces[50:])
    seen = []

    def both(x, y):
        seen.append(len(x))
        return x + y, y

    total, same = in_pieces(both, faces, faces)
    assert seen == [50, 50]
    np.testing.assert_array_equal(total, 2 * faces)
    np.testing.assert_array_equal(same, faces)


@pytest.mark.whole_run
def test_views_are_searched_every_so_many_steps_and_stand_in_the_state(views):
    made, graph, state = views
    state = made.start(state)
    assert state.extra.shape == (COUNT, 6) and not state.extra.any()
    chosen = made.batch(0)
    np.testing.assert_array_equal(chosen, made.batch(0))
    searched, (images, view) = made.prepare(graph, 0, state, chosen)
    assert np.isfinite(searched.extra).all() and jnp.abs(searched.extra).max() > 1e-3
    kept, _ = made.prepare(graph, 1, searched, chosen)
    assert kept.extra is searched.extra
    for picture, angles, number in zip(images, view, chosen, strict=True):
        straight = np.array_equal(picture, made.faces[number])
        assert straight or np.array_equal(picture, made.faces[number][:, ::-1])
        wanted = searched.extra[number] * (1 if straight else jnp.array(MIRROR_VIEW))
        np.testing.assert_allclose(angles, wanted, rtol=1e-6)
    flipped = made.prepare(graph, 1, searched, np.arange(COUNT))[1][0] != made.faces
    assert 0.3 < flipped.any(axis=(1, 2, 3)).mean() < 0.7


@pytest.mark.whole_run
def test_the_search_begins_at_the_networks_reading(views):
    made = views[0]
    still = ViewSearchConfig(components=5, near=180.0, steps=1, freedom=(1e-4, 1e-4, 1e-4))
    held = SearchedViews(made.decomposer, made.faces, ViewLearning(search=still))
    found = held.searched(nnx.clone(made.decomposer.view_net))
    read = made.decomposer.view(jnp.asarray(made.faces))
    np.testing.assert_allclose(found[:, :3], read[:, :3], atol=1e-5)


@pytest.mark.whole_run
def test_the_surface_is_the_decomposers_own_or_the_mean_heads(tiny_decomposer, faces):
    def surface(name, relief=1.0):
        search = dataclasses.replace(SEARCH, relief=relief)
        config = ViewLearning(surface=name, search=search, pooled=pooled, shaded=shaded)
        made = SearchedViews(tiny_decomposer, faces, config)
        return made.surface(np.asarray(tiny_decomposer.view(jnp.asarray(faces))))

    # Bins that whatever an untrained network reads falls into, on either side of 0; so stiff that
    # the surface stays within its range.
    pooled = PooledSurfaceConfig(
        yaw=(-90, 0, 90), pitch=(-90, 90), columns=2, rows=2, least=1, stiffness=10.0
    )
    shaded = dataclasses.replace(pooled, columns=3, rows=3, shading=1e-3)
    mean = jnp.mean(tiny_decomposer.depth(jnp.asarray(faces)), axis=0)
    np.testing.assert_allclose(surface("mean"), mean, atol=1e-5)
    framing = HeadFraming(relief=1.4)
    head = mean_head_depth(load_heads(), tiny_decomposer.config, framing)
    np.testing.assert_allclose(surface("head", 1.4), head, atol=1e-6)
    assert np.abs(surface("head", 1.4) - surface("head")).max() > 0.01
    fitted = surface("pooled")
    np.testing.assert_array_equal(fitted, fitted[:, ::-1])
    # The mean made alike left and right, and changed by the fit's four functions alone.
    functions = surface_functions(len(fitted), pooled).maps.reshape(4, -1)
    change = (fitted - (mean + mean[:, ::-1]) / 2).reshape(-1)
    coefficients = np.linalg.lstsq(functions.T, change, rcond=None)[0]
    np.testing.assert_allclose(coefficients @ functions, change, atol=1e-5)
    assert np.abs(change).max() > 1e-5
    # Then by the next fit's nine, on what the decomposer reads of the light.
    functions = surface_functions(len(fitted), shaded).maps.reshape(9, -1)
    lit = surface("shaded")
    coefficients = np.linalg.lstsq(functions.T, (lit - fitted).reshape(-1), rcond=None)[0]
    np.testing.assert_allclose(coefficients @ functions, (lit - fitted).reshape(-1), atol=1e-5)
    shaded = dataclasses.replace(shaded, shading=0.0)
    assert np.abs(lit - surface("shaded")).max() > 1e-5
    with pytest.raises(
        FacesemError, match="surface is 'ear'; use one of mean, head, pooled, shaded"
    ):
        ViewLearning(surface="ear")


def test_too_few_frontal_faces_are_refused(views):
    made = views[0]
    view = np.zeros((COUNT, 6), np.float32)
    view[3:, 1] = np.pi
    made.config = ViewLearning(search=ViewSearchConfig(components=6, near=15.0))
    with pytest.raises(FacesemError, match="6 principal components of 6 examples"):
        made.texture(view)


@pytest.mark.whole_run
def test_a_run_changes_the_view_alone_and_is_written_once(tiny_decomposer, tmp_path, monkeypatch):
    monkeypatch.setattr(search_views, "stream_source", source)
    monkeypatch.setattr(search_views, "load_any", lambda name: tiny_decomposer)
    options = Options(
        directory=tmp_path / "run", output=tmp_path / "out", start="tiny", faces=COUNT, rounds=2,
        steps=2, batch_size=16, learning_rate=1e-2, search=SEARCH,
    )  # fmt: skip
    main(options)
    found = load_decomposer(tmp_path / "out")
    assert changed_parts(tiny_decomposer, found, 1e-3) == {"view_net"}
    with pytest.raises(FacesemError, match="is there already"):
        main(options)


@pytest.mark.parametrize(
    ("wrong", "message"), [({"faces": 0}, "at least 1"), ({"rounds": 0}, "at least 1")]
)
def test_numbers_that_cannot_be_are_refused(wrong, message):
    with pytest.raises(FacesemError, match=message):
        Options(**wrong)
