import dataclasses
import json
import pathlib
import re

import numpy as np
import pytest

from experiments.app_session import (
    COMPONENT_LIMIT,
    LIMITS,
    MOST_BYTES,
    Edit,
    EditState,
    Face,
    from_json,
    to_json,
)
from facesem_jax import load_directions
from facesem_jax.checkpoint import checkpoint_digest
from facesem_jax.errors import FacesemError
from facesem_jax.loading import resolve
from facesem_jax.semantics.direction_set import DirectionSet
from facesem_jax.semantics.semantic_function import ENVIRONMENT_NAMES

DIRECTIONS = DirectionSet(
    names=("yaw",),
    gradients=np.ones((1, 3), np.float32),
    labels=("mouth-1", "eyes-1"),
    vectors=np.eye(3, dtype=np.float32)[:2],
    spreads=np.ones(2, np.float32),
)
SHAPES = ((1, 3), (4, 3))
EDIT = Edit(Face(7, 0.5), (("mouth-1", -2.5), ("yaw", 20.0)), True)


def read(text, directions=DIRECTIONS):
    return from_json(text, "abc", directions, SHAPES)


def test_every_global_semantic_has_a_limit():
    assert set(LIMITS) == set(ENVIRONMENT_NAMES)


def test_undo_takes_back_one_control_at_a_time():
    start = EditState()
    turned = start.with_amount("yaw", 5).with_amount("yaw", 12).with_amount("yaw", 20)
    opened = turned.with_amount("mouth-1", 1).with_amount("yaw", 30)
    assert opened.edit.amounts == (("mouth-1", 1.0), ("yaw", 30.0))
    back = opened.undo()
    assert back.edit.amounts == (("mouth-1", 1.0), ("yaw", 20.0))
    assert back.undo().edit == turned.edit
    assert back.undo().undo().edit == start.edit
    assert start.undo() == start


def test_after_an_undo_a_slider_starts_a_new_step():
    state = EditState().with_amount("yaw", 5).with_amount("mouth-1", 1).undo()
    assert state.with_amount("yaw", 9).undo().edit == state.edit


def test_what_changes_nothing_is_no_step():
    state = EditState().with_amount("yaw", 5)
    assert state.with_amount("yaw", 5) == state
    assert state.with_amount("yaw", 0).edit.amounts == ()
    assert EditState().reset() == EditState()


def test_a_drag_of_the_truncation_is_one_step():
    state = EditState(EDIT).with_truncation(0.6).with_truncation(0.9)
    assert state.edit == dataclasses.replace(EDIT, face=Face(7, 0.9))
    assert state.undo().edit == EDIT
    with pytest.raises(FacesemError, match="truncation is 5"):
        state.with_truncation(5)


def test_other_changes_and_the_way_back():
    state = EditState(EDIT)
    changed = state.with_face(Face(9)).with_decorrelated(False).reset()
    assert changed.edit == Edit(Face(9))
    assert changed.undo().undo().undo().edit == EDIT
    assert EDIT.amount("yaw") == 20 and EDIT.amount("eyes-1") == 0


def test_the_history_has_an_end():
    state = EditState()
    for seed in range(300):
        state = state.with_face(Face(seed + 1))
    assert len(state.history) == 200


@pytest.mark.parametrize(
    "name, amount", [("yaw", 46), ("mouth-1", -COMPONENT_LIMIT - 1), ("yaw", float("nan"))]
)
def test_amounts_out_of_range(name, amount):
    with pytest.raises(FacesemError, match=f"{name} (is|must be)"):
        EditState().with_amount(name, amount)


def test_saved_and_read_again():
    assert read(to_json(EDIT, "abc")) == EDIT
    assert read(to_json(EDIT, "abc").encode()) == EDIT


@pytest.mark.parametrize("shape", [(1, 3), (1, 4, 3)])
def test_a_latent_keeps_every_bit(shape):
    w = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    edit = dataclasses.replace(EDIT, face=Face.of_latent(w))
    again = read(to_json(edit, "abc"))
    assert again == edit
    np.testing.assert_array_equal(again.face.w, w)


def _changed(**fields):
    return json.dumps(json.loads(to_json(EDIT, "abc")) | fields)


def _without(key):
    return json.dumps({k: v for k, v in json.loads(to_json(EDIT, "abc")).items() if k != key})


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "must be a JSON object"),
        ("{}", "no edit"),
        (" " * (MOST_BYTES + 1), "more than 1 MiB"),
        ('{"format": "facesem-edit", "format": "facesem-edit"}', "occurs twice"),
        (_changed(version=2), "version 1"),
        (_changed(extra=1), "'extra' is unknown"),
        (_changed(latent=[[1, 2, 3]]), "'seed' is unknown"),
        (_without("amounts"), "'amounts' is missing"),
        (_without("truncation"), "'truncation' is missing"),
        (_changed(generator_digest="other"), "another generator"),
        (_changed(decorrelated=1), "true or false"),
        (_changed(amounts=[["yaw", 1]]), "must be an object"),
        (_changed(amounts={"yaw": "20"}), "finite number"),
        (_changed(amounts={"yaw": True}), "finite number"),
        (_changed(amounts={"yaw": 1e9}), "expected -45 to 45"),
        (_changed(amounts={"yaw": 10**400}), "finite number|no JSON"),
        (_changed(amounts={"mouth-9": 1}), "unknown direction"),
        (_changed(amounts={"yaw": 1}).replace("1}", "NaN}"), "no number"),
        (_changed(seed=-1), "seed is -1"),
        (_changed(seed=1.5), "whole number"),
        (_changed(seed=True), "whole number"),
        (_changed(truncation=3), "truncation is 3"),
        (_changed(truncation=None), "finite number"),
    ],
)
def test_bad_files_are_refused_in_one_line(text, message):
    with pytest.raises(FacesemError, match=message) as error:
        read(text)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("latent", [[], [[1, 2]], [[1, 2, 3]] * 2, [[1, 2, 3], [1, 2]], 5, ["abc"]])
def test_latents_of_another_shape(latent):
    fields = json.loads(to_json(dataclasses.replace(EDIT, face=Face.of_latent([[1, 2, 3]])), "abc"))
    with pytest.raises(FacesemError, match="1 row of 3 numbers or 4 rows of 3"):
        read(json.dumps(fields | {"latent": latent}))


def test_latents_that_float32_cannot_hold():
    fields = json.loads(to_json(dataclasses.replace(EDIT, face=Face.of_latent([[1, 2, 3]])), "abc"))
    with pytest.raises(FacesemError, match="float32"):
        read(json.dumps(fields | {"latent": [[1e300, 0, 0]]}))


def test_without_directions_an_edit_cannot_move():
    with pytest.raises(FacesemError, match="has none"):
        read(to_json(EDIT, "abc"), None)
    assert read(to_json(Edit(Face(2)), "abc"), None) == Edit(Face(2))


def test_the_documented_edit_can_be_opened_with_the_bundled_generator():
    page = pathlib.Path(__file__).parents[2] / "docs" / "app.md"
    text = re.search(r"```json\n(.*?)```", page.read_text(), re.DOTALL)[1]
    digest = checkpoint_digest(resolve("digiface64", "generator"))
    edit = from_json(text, digest, load_directions("digiface64"), ((1, 128), (10, 128)))
    assert dict(edit.amounts) == {"mouth-1": -3.0, "yaw": 20.0}
