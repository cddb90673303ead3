import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.tree_util import Partial
from PIL import Image

from experiments.training_loop import (
    LoopConfig,
    cosine_tail,
    restore_latest,
    run_training,
    steps_per_call,
)
from facesem_jax.errors import FacesemError
from facesem_jax.generators.layers import Buffer
from facesem_jax.training.state import init_state, make_step

# Orbax's own threads still report what the loop has made one error of.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class Net(nnx.Module):
    def __init__(self, width):
        rng = np.random.default_rng(0)
        self.kernel = nnx.Param(jnp.asarray(rng.normal(size=(3, width)), jnp.float32))
        self.bias = nnx.Param(jnp.zeros(width))
        self.noise = Buffer(jnp.asarray(rng.normal(size=width), jnp.float32))


OPTIMIZER = optax.adam(cosine_tail(0.05, 6))


def _start(width=4):
    return init_state(Net(width), OPTIMIZER)


def _batch(number):
    x = jax.random.normal(jax.random.fold_in(jax.random.key(0), number), (8, 3))
    return x, jnp.sum(x, axis=1, keepdims=True)


def _step(graph, diverges_at=None):
    def loss(net, batch, step):
        x, y = batch
        noise = 0.1 * jax.random.normal(jax.random.fold_in(jax.random.key(1), step), y.shape)
        value = jnp.mean(jnp.square(jnp.tanh(x @ net.kernel[...] + net.bias[...]) - y - noise))
        if diverges_at is not None:
            value = jnp.where(step == diverges_at, jnp.nan, 1) * value
        return value, {"scale": jnp.mean(jnp.abs(net.kernel[...]))}

    return make_step(graph, loss, OPTIMIZER)


def _train(directory, steps, *, width=4, diverges_at=None, sheet=None, **settings):
    graph, state = _start(width)
    config = LoopConfig(steps, directory, **({"log_steps": 2} | settings))
    return run_training(config, state, _step(graph, diverges_at), _batch, sheet)


def _log(directory):
    return [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]


def _arrays(state):
    return [np.asarray(x) for x in jax.tree.leaves(state)]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "whole"
    return directory, _train(directory, 6)


def test_a_resumed_run_equals_an_uninterrupted_one(uninterrupted, tmp_path):
    _, whole = uninterrupted
    first = _train(tmp_path / "run", 3)
    assert int(first.step) == 3
    second = _train(tmp_path / "run", 6)
    assert int(second.step) == int(whole.step) == 6
    assert jax.tree.structure(second) == jax.tree.structure(whole)
    for found, expected in zip(_arrays(second), _arrays(whole), strict=True):
        np.testing.assert_array_equal(found, expected)
    moved = np.abs(np.asarray(second.params["kernel"][...] - first.params["kernel"][...]))
    assert moved.max() > 1e-3
    assert [line["step"] for line in _log(tmp_path / "run")] == [2, 3, 4, 6]


def _scaled(scale, number, doubled=False):
    x, y = _batch(number)
    return x, (2 if doubled else scale) * y


def _third(number):
    return number % 3 == 0


@pytest.mark.parametrize("parts", [((6, 4),), ((3, 1), (6, 2))])
def test_several_steps_per_call_are_the_same_steps(uninterrupted, tmp_path, parts):
    for steps, several in parts:
        graph, state = _start()
        config = LoopConfig(steps, tmp_path / "run", log_steps=2, steps_per_call=several)
        found = run_training(config, state, _step(graph), Partial(_scaled, jnp.ones(())))
    assert int(found.step) == 6
    chex.assert_trees_all_close(_arrays(found), _arrays(uninterrupted[1]), rtol=1e-5, atol=1e-6)
    lines = _log(tmp_path / "run")
    assert [line["step"] for line in lines] == ([4, 6] if len(parts) == 1 else [2, 3, 5, 6])
    # The terms are those of the last step, not of the call's first.
    assert lines[-1]["loss"] == pytest.approx(_log(uninterrupted[0])[-1]["loss"], rel=1e-4)
    chex.assert_trees_all_equal(restore_latest(tmp_path / "run", _start()[1]).params, found.params)


def test_a_call_takes_steps_of_one_kind(tmp_path):
    found, traced = {}, []

    def batch(scale, number, doubled):
        if isinstance(number, jax.core.Tracer):
            traced.append(doubled)
        return _scaled(scale, number, doubled)

    for several in (1, 3):
        graph, state = _start()
        config = LoopConfig(7, tmp_path / str(several), log_steps=1, steps_per_call=several)
        given = Partial(batch, jnp.ones(()))
        found[several] = run_training(config, state, _step(graph), given, kind=_third)
    chex.assert_trees_all_close(_arrays(found[3]), _arrays(found[1]), rtol=1e-5, atol=1e-6)
    # Steps 0, 3 and 6 go alone, 1 and 2, 4 and 5 together; they share one program.
    assert [line["step"] for line in _log(tmp_path / "3")] == [1, 3, 4, 6, 7]
    assert traced and not any(traced)


@pytest.mark.parametrize("obstacle", ["prepare", "closure"])
def test_steps_that_cannot_go_together_are_refused(tmp_path, obstacle):
    graph, state = _start()
    config = LoopConfig(6, tmp_path / "run", steps_per_call=2)
    batch, prepare = Partial(_scaled, jnp.ones(())), None
    if obstacle == "prepare":
        prepare = lambda number, state, batch: (state, batch)  # noqa: E731
    else:
        batch = _batch
    with pytest.raises(FacesemError, match="steps_per_call is 2; this training takes its steps"):
        run_training(config, state, _step(graph), batch, prepare=prepare)
    assert not (tmp_path / "run").exists()


def test_accelerators_take_several_steps_per_call():
    assert steps_per_call(0, "cpu") == 1 and steps_per_call(0, "gpu") == 16
    assert steps_per_call(5, "cpu") == steps_per_call(5, "tpu") == 5
    with pytest.raises(FacesemError, match="steps_per_call is -1; expected 0"):
        steps_per_call(-1)


def test_the_log_has_every_term(uninterrupted):
    directory, _ = uninterrupted
    lines = _log(directory)
    assert [line["step"] for line in lines] == [2, 4, 6]
    for line in lines:
        assert set(line) == {"step", "seconds", "loss", "gradient_norm", "scale"}
        assert np.isfinite(list(line.values())).all()
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert not [p for p in directory.iterdir() if p.suffix == ".png"]


def test_a_finished_run_is_read_and_left_alone(uninterrupted):
    directory, whole = uninterrupted
    before = (directory / "log.jsonl").read_text()
    again = _train(directory, 6)
    for found, expected in zip(_arrays(again), _arrays(whole), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert (directory / "log.jsonl").read_text() == before
    restored = restore_latest(directory, _start()[1])
    chex.assert_trees_all_equal(restored.params, whole.params)


def test_without_a_checkpoint_there_is_nothing_to_restore(tmp_path):
    assert restore_latest(tmp_path, _start()[1]) is None
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("other", ["shape", "structure"])
def test_a_run_of_another_configuration_is_refused_and_kept(uninterrupted, other):
    directory, whole = uninterrupted
    if other == "shape":
        with pytest.raises(FacesemError, match="holds a run of another configuration"):
            _train(directory, 8, width=5)
    else:
        _, state = init_state({"a": Net(4), "b": Net(4)}, OPTIMIZER)
        with pytest.raises(FacesemError, match="holds a run of another configuration"):
            restore_latest(directory, state)
    chex.assert_trees_all_equal(restore_latest(directory, _start()[1]).params, whole.params)


def test_a_loss_that_diverges_stops_the_run(tmp_path):
    with pytest.raises(FacesemError, match=r"step 4: .*nan.*training diverged"):
        _train(tmp_path / "run", 6, diverges_at=3)
    assert [line["step"] for line in _log(tmp_path / "run")] == [2]
    # The parameters of steps 1 to 3 were never saved: the run starts over.
    assert restore_latest(tmp_path / "run", _start()[1]) is None


def test_a_diverged_state_is_not_what_a_run_resumes_from(tmp_path):
    with pytest.raises(FacesemError, match="training diverged"):
        _train(tmp_path / "run", 6, diverges_at=2, log_steps=5, checkpoint_seconds=0.0)
    state = restore_latest(tmp_path / "run", _start()[1])
    assert state is None or np.isfinite(state.params["kernel"][...]).all()


def test_checkpoints_come_in_time_and_two_are_kept(tmp_path):
    _train(tmp_path / "run", 5, checkpoint_seconds=0.0)
    kept = sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir())
    assert kept == ["4", "5"]


def test_sheets_are_written_now_and_then_and_at_the_end(tmp_path):
    def sheet(state):
        return np.full((4, 6, 3), 10.0 * int(state.step))

    _train(tmp_path / "run", 5, sheet=sheet, sheet_steps=2)
    found = sorted(p.name for p in (tmp_path / "run").glob("*.png"))
    assert found == ["sheet_000002.png", "sheet_000004.png", "sheet_000005.png"]
    picture = np.asarray(Image.open(tmp_path / "run" / "sheet_000004.png"))
    assert picture.shape == (4, 6, 3) and (picture == 40).all()
    assert not list((tmp_path / "run").glob(".sheet*"))


def test_the_learning_rate_falls_to_a_tenth_at_the_end():
    rate = cosine_tail(2.0, 100)
    np.testing.assert_allclose(
        [rate(0), rate(60), rate(80), rate(100)], [2, 2, 1.1, 0.2], rtol=1e-5
    )
    np.testing.assert_allclose(cosine_tail(2.0, 1)(0), 2.0)
