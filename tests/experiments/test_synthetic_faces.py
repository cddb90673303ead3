import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments import synthetic_faces, synthetic_sets
from experiments.pretrain_decomposer import with_view_net
from experiments.synthetic_faces import Options, head_sets, main
from experiments.synthetic_measures import (
    PUBLISHED,
    Estimate,
    average_estimate,
    canonical_estimates,
    constant_estimate,
    depth_errors,
    margin,
    pose_and_light_errors,
    table_row,
    unsupervised_estimate,
)
from experiments.synthetic_sets import (
    draw_set,
    frontal_depth,
    shuffled_batches,
    stored_set,
)
from experiments.synthetic_training import (
    TrainingConfig,
    latest_supervised,
    supervised_depth,
    supervised_loss,
    train_supervised,
)
from facesem_jax.decomposer import Decomposer, DecomposerConfig
from facesem_jax.decomposer.decomposer import depth_prior
from facesem_jax.errors import FacesemError
from facesem_jax.metrics.depth import eroded

_CONFIG = DecomposerConfig.compact()

pytestmark = pytest.mark.usefixtures("quick_compilation")


def silent(iterable, name, total):
    return iterable


@pytest.fixture(scope="module", autouse=True)
def few_heads_at_once():
    """One size of the renderer's program for all sets, the size that its own tests compile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic_sets, "_CHUNK", 4)
        yield


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def sets(directory):
    return head_sets(Options(runs=directory, heads=16, test_heads=5), silent)


@jax.tree_util.register_static
class Pupil:
    """A decomposer that sees the depth prior, turned by what the first pixels say."""

    config = _CONFIG

    def depth(self, images, release):
        depth = 1 + 0.1 * release * jnp.tanh(depth_prior(_CONFIG))
        return jnp.broadcast_to(depth, images.shape[:3])

    def view(self, images):
        return jnp.zeros((len(images), 6)).at[:, 1].set(0.3 * images[:, 0, 0, 0])

    def light(self, images):
        return images[:, 0, :4, 0]


@jax.tree_util.register_static
class Reader:
    """A network whose output is the picture's red channel."""

    def __call__(self, images):
        return images[..., :1]


def test_sets_are_drawn_once_and_read_again(directory, sets):
    training, test = sets
    assert len(training) == 16 and len(test) == 5
    again = head_sets(Options(runs=directory, heads=16, test_heads=5), silent)
    for field in dataclasses.fields(training):
        for one, two in zip(sets, again, strict=True):
            np.testing.assert_array_equal(getattr(one, field.name), getattr(two, field.name))
    assert not np.array_equal(training.view[:5], test.view)
    with pytest.raises(FacesemError, match="holds 16 heads of seed 0, but 17 of seed 0"):
        stored_set(directory / "training.npz", 0, 17, silent)
    with pytest.raises(FacesemError, match="A set of 0 heads"):
        draw_set(0, 0, silent)
    path = directory / "other.npz"
    np.savez(path, view=np.zeros(3))
    with pytest.raises(FacesemError, match="no set of synthetic heads"):
        stored_set(path, 0, 3, silent)


def test_stored_depth_and_pictures_keep_their_values(sets):
    test = sets[1]
    assert np.abs(test.images()).max() <= 1 and test.images().std() > 0.2
    depth = test.depth()
    np.testing.assert_allclose(depth[~test.mask], _CONFIG.max_depth, atol=5e-6)
    assert 0.9 < depth[test.mask].min() < 0.95 < depth[test.mask].max() < 1.1


def test_every_pass_shows_every_head_once():
    rows = shuffled_batches(12, 4, 7)
    first = np.concatenate([rows(step) for step in range(3)])
    second = np.concatenate([rows(step) for step in range(3, 6)])
    assert sorted(first) == sorted(second) == list(range(12))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(rows(4), shuffled_batches(12, 4, 7)(4))
    with pytest.raises(FacesemError, match="batch_size is 13"):
        shuffled_batches(12, 13, 0)


def test_the_truth_has_no_error_and_constant_depth_its_spread(sets):
    test = sets[1]
    perfect = depth_errors(Estimate(test.depth(), test.mask), test, _CONFIG)
    np.testing.assert_allclose(perfect.side, 0, atol=1e-7)
    np.testing.assert_allclose(perfect.mad, 0, atol=1e-3)
    np.testing.assert_array_equal(perfect.covered, 1)
    flat = depth_errors(constant_estimate(test, _CONFIG), test, _CONFIG)
    inside = np.asarray(eroded(test.mask))
    spread = [np.log(d[m]).std() for d, m in zip(test.depth(), inside, strict=True)]
    np.testing.assert_allclose(flat.side, spread, rtol=1e-4)
    assert np.all((20 < flat.mad) & (flat.mad < 70))
    half = test.mask.copy()
    half[:, :, :32] = False
    seen = depth_errors(Estimate(test.depth(), half), test, _CONFIG)
    assert np.all((0.2 < seen.covered) & (seen.covered < 0.8))


def test_average_depth_is_the_mean_of_the_heads_that_show(sets):
    training, test = sets
    found = average_estimate(test, training).depth
    depth = np.where(training.mask, training.depth().astype(np.float64), np.nan)
    seen = training.mask.any(0)
    mean = np.nanmean(depth[:, seen], axis=0)
    for one in found:
        np.testing.assert_allclose(one[seen], mean, rtol=1e-6)
        np.testing.assert_allclose(one[~seen], mean.max(), rtol=1e-6)


def test_canonical_depth_is_moved_into_the_view(sets):
    test = sets[1]
    estimate, view, light = unsupervised_estimate(test, Pupil())
    np.testing.assert_allclose(view[:, 1], 0.3 * test.images()[:, 0, 0, 0], rtol=1e-6)
    assert light.shape == (5, 4)
    nearest = estimate.depth.reshape(5, -1).argmin(1) % 64
    # The bump's tip lies in front of the axis and moves against the sign of yaw.
    moved = np.abs(view[:, 1]) > 0.1
    assert moved.any()
    np.testing.assert_array_equal(np.sign(nearest - 31.5)[moved], -np.sign(view[moved, 1]))
    flat, _, _ = unsupervised_estimate(test, Pupil(), release=0.0)
    shown = flat.mask & (np.abs(view[:, 1]) < 1e-3)[:, None, None]
    np.testing.assert_allclose(flat.depth[shown], 1, atol=1e-4)


@pytest.mark.whole_run
def test_true_canonical_depth_is_nearly_the_truth_in_the_true_view(sets):
    test = sets[1]
    estimates = canonical_estimates(test, *frontal_depth(1, 5, silent), _CONFIG)
    errors = {name: depth_errors(e, test, _CONFIG) for name, e in estimates.items()}
    flat = depth_errors(constant_estimate(test, _CONFIG), test, _CONFIG)
    # Not 0: what the frontal head hides is not in its map.
    assert np.all((errors["individual"].side > 0) & (errors["individual"].side < 0.5 * flat.side))
    assert np.all((errors["individual"].mad > 0.5) & (errors["individual"].mad < 10))
    assert errors["individual"].side.mean() < errors["shared"].side.mean() < flat.side.mean()
    assert errors["individual"].mad.mean() < errors["shared"].mad.mean() < flat.mad.mean()
    # A head's shape is nearer to the mean of heads than to a surface that knows of none.
    assert errors["shared"].side.mean() < errors["prior"].side.mean()
    facing = dataclasses.replace(test, view=np.zeros_like(test.view))
    frontal = canonical_estimates(facing, *frontal_depth(1, 5, silent), _CONFIG)
    expected = 1 + 0.1 * np.tanh(depth_prior(_CONFIG))
    inside = np.s_[:, 4:-4, 4:-4]
    np.testing.assert_allclose(
        frontal["prior"].depth[inside], np.broadcast_to(expected, (5, 64, 64))[inside], atol=1e-4
    )


def test_pose_and_light_are_measured_up_to_an_affine_map(sets):
    test = sets[0]
    errors = pose_and_light_errors(-2 * test.view + 0.1, 0.5 * test.light, test)
    for name in ("pitch", "yaw", "roll", "ambient", "light_x", "light_direction"):
        assert errors[name]["error"] < 1e-3 < errors[name]["chance"]
    np.testing.assert_allclose(errors["yaw"]["slope"], -0.5, rtol=1e-4)
    np.testing.assert_allclose(errors["light_y"]["slope"], 2, rtol=1e-4)


def test_the_margin_is_the_papers():
    rows = {
        "unsupervised": {"side_x100": 0.5, "mad_degrees": 20.0},
        "average": {"side_x100": 2.0, "mad_degrees": 25.0},
    }
    found = margin(rows)
    np.testing.assert_allclose(found["side"]["ratio"], 0.25)
    np.testing.assert_allclose(found["side"]["published"], 0.793 / 1.990)
    assert found["side"]["met"] == 1
    assert found["mad"]["met"] == 0  # 0.8 is not below 16.51 / 23.26 = 0.71.


def test_supervised_loss_counts_the_head_alone(sets):
    test = sets[1]
    images, depth = jnp.zeros((5, 64, 64, 3)), test.depth()
    np.testing.assert_allclose(supervised_depth(Reader(), images, _CONFIG), 1)
    found = supervised_loss(Reader(), images, depth, test.mask, _CONFIG)
    wanted = np.abs(depth[test.mask].astype(np.float64) - 1).mean() / 0.1
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


@pytest.mark.whole_run
def test_supervised_training_learns_and_resumes(tmp_path, sets):
    config = TrainingConfig(tmp_path, 6, batch_size=8, learning_rate=2e-3, log_steps=1)
    with pytest.raises(FacesemError, match="holds no checkpoint"):
        latest_supervised(tmp_path)
    train_supervised(config, sets[0])
    losses = [json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").open()]
    assert losses[-1] < 0.7 * losses[0]
    network, steps = latest_supervised(tmp_path)
    again = train_supervised(config, sets[0])
    x = sets[1].images()
    np.testing.assert_array_equal(network(x), again(x))
    assert steps == 6


@pytest.mark.whole_run
def test_evaluation_writes_a_page_from_what_was_trained(directory, sets, tmp_path, monkeypatch):
    decomposer = Decomposer(_CONFIG, rngs=nnx.Rngs(0))
    monkeypatch.setattr(synthetic_faces, "snapshot_decomposer", lambda *given: (decomposer, 900))
    options = Options(
        runs=directory, heads=16, test_heads=5, stage="evaluate", output=tmp_path / "out"
    )
    main(options)
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["steps_taken"] == {"unsupervised": 900}
    assert set(metrics["depth"]) == {
        *("unsupervised", "constant", "average", "prior", "shared", "individual"),
    }
    flat = depth_errors(constant_estimate(sets[1], _CONFIG), sets[1], _CONFIG)
    assert metrics["depth"]["constant"] == pytest.approx(table_row(flat))
    page = (tmp_path / "out" / "report.html").read_text()
    assert "without labels" in page and f"{PUBLISHED['average'][1]:.2f}" in page
    arrays = np.load(tmp_path / "out" / "errors.npz")
    assert arrays["unsupervised_side"].shape == (5,)
    np.testing.assert_array_equal(arrays["true_view"], sets[1].view)


@pytest.mark.whole_run
def test_views_are_learned_once_and_measured_beside_those_before(sets, tmp_path, monkeypatch):
    before = Decomposer(_CONFIG, rngs=nnx.Rngs(0))
    after = with_view_net(before, Decomposer(_CONFIG, rngs=nnx.Rngs(1)).view_net)
    steps, asked = [2], []

    def learn(decomposer, heads, config, directory):
        asked.append((len(heads), config.rounds, directory))
        return after

    monkeypatch.setattr(synthetic_faces, "snapshot_decomposer", lambda *given: (before, steps[0]))
    monkeypatch.setattr(synthetic_faces, "learn_views", learn)
    monkeypatch.setattr(synthetic_faces, "head_sets", lambda *given: sets)
    options = Options(
        runs=tmp_path, heads=16, test_heads=5, stage="views", output=tmp_path / "out", view_heads=16
    )
    with pytest.raises(FacesemError, match="depth is not released yet"):
        main(options)
    steps[0] = 1000
    main(options)
    main(options)
    assert asked == [(16, 3, tmp_path / "views_1000")]
    main(dataclasses.replace(options, stage="evaluate"))
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["steps_taken"] == {"unsupervised": 2800, "read": 1000}
    view = np.load(tmp_path / "out" / "errors.npz")["view"]
    np.testing.assert_allclose(view, after.view(sets[1].images()), atol=1e-5)
    assert metrics["depth"]["read"] != metrics["depth"]["unsupervised"]
    # Views that were searched from an earlier checkpoint are not those of a later one.
    steps[0] = 1100
    main(dataclasses.replace(options, stage="evaluate"))
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["steps_taken"] == {"unsupervised": 1100}


def test_bad_input_is_refused(directory, sets, tmp_path):
    with pytest.raises(FacesemError, match="heads is 3; expected at least 16"):
        main(Options(runs=tmp_path, heads=3))
    missing = Options(
        runs=directory, heads=16, test_heads=5, stage="evaluate", output=tmp_path / "out"
    )
    with pytest.raises(FacesemError, match="no checkpoint"):
        main(missing)
    assert not (tmp_path / "out").exists()


def test_a_quick_run_has_a_directory_of_its_own(tmp_path):
    quick = Options(runs=tmp_path, quick=True).checked()
    assert quick.runs == tmp_path / "quick" and quick.steps == 60 and quick.heads == 400
    assert (quick.view_heads, quick.views.rounds) == (100, 1)
    assert float(quick.loss.release(40)) == 1
    assert Options(runs=tmp_path).checked().runs == tmp_path


def test_the_prior_is_taller_than_the_bundled_decomposers_unless_given():
    taller = Options().sizes
    assert taller.depth_prior[:3] == _CONFIG.depth_prior[:3]
    assert taller.depth_prior[3] > _CONFIG.depth_prior[3]
    round_ = Options(prior=(0.0, -0.7, 20.0, 40.0), prior_shape="ellipsoid").sizes
    assert (round_.depth_prior, round_.prior_shape) == ((0.0, -0.7, 20.0, 40.0), "ellipsoid")
    plain = dataclasses.replace(round_, depth_prior=_CONFIG.depth_prior, prior_shape="bump")
    assert plain == _CONFIG
