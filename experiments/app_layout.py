"""What lies where on the app's page."""

import html
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import gradio as gr

from experiments.app_pictures import AppModels
from experiments.app_session import COMPONENT_LIMIT, LIMITS
from experiments.app_style import RENDER_TEMPLATE, SHEET_TEMPLATE, STAGE_SCRIPT, STAGE_TEMPLATE
from facesem_jax.semantics.semantic_function import ENVIRONMENT_UNITS

SLOTS = 6
"""Sliders for components: those that act at the point clicked, or were chosen by name."""
HINT = "Click a part of the face"

ANGLES, LIGHTS = ("pitch", "yaw", "roll"), ("ambient", "diffuse", "light_x", "light_y")
TURNS = {"pitch": 40.0, "yaw": 60.0, "roll": 40.0}
"""Degrees by which the rendered head turns; beyond, its canonical frame's edge comes into view."""
_LIGHT_RANGES = {"ambient": (0, 1), "diffuse": (0, 1), "light_x": (-1, 1), "light_y": (-1, 1)}
_SENSE = {
    "pitch": "+ down",
    "yaw": "+ left",
    "roll": "+ clockwise",
    "ambient": "from everywhere",
    "diffuse": "from one side",
    "light_x": "+ from the left",
    "light_y": "+ from above",
}


class Controls(NamedTuple):
    """What shows the state of an edit, and changes it.

    Attributes:
      session: The tab's state.
      stage: The pictures; its "select" is a click on the face.
      seed: Of the face.
      truncation: Of the face.
      decorrelated: Whether other global semantics stay.
      amounts: Sliders of the global semantics that the directions have.
      slots: Sliders of components.
      hint: What the components' sliders are for.
    """

    session: gr.State
    stage: gr.HTML
    seed: gr.Number
    truncation: gr.Slider
    decorrelated: gr.Checkbox
    amounts: dict[str, gr.Slider]
    slots: list[gr.Slider]
    hint: gr.HTML

    @property
    def all(self) -> list:
        """All of them in order."""
        return [*self[:5], *self.amounts.values(), *self.slots, self.hint]


class Decomposed(NamedTuple):
    """What the decomposition's tab shows, and what changes it."""

    sheet: gr.HTML
    numbers: gr.HTML
    render: gr.HTML
    turns: list[gr.Slider]
    again: gr.Button


def header(models: AppModels) -> None:
    """The name of the app and of the models, and what the user should know about them."""
    count = 0 if models.directions is None else len(models.directions.labels)
    size = models.generator.config.resolution
    notes = "".join(f"<p class='note'>{html.escape(note)}</p>" for note in models.notes)
    name = html.escape(pathlib.Path(models.name).name)
    gr.HTML(
        f"<header><h1>facesem</h1><p>{name} · {size}×{size} · {count} components</p></header>"
        f"{notes}",
        elem_id="top",
        js_on_load=None,
    )


def edit_tab(
    session: gr.State, names: Sequence[str], labels: Sequence[str]
) -> tuple[Controls, dict[str, gr.Button]]:
    """The face, and everything that changes it.

    Args:
      session: The tab's state.
      names: The global semantics that can be moved.
      labels: The components.

    Returns:
      The controls, and the buttons by name.
    """
    buttons = {}
    with gr.Row(equal_height=False, elem_id="edit"):
        with gr.Column(scale=6, min_width=420):
            stage = gr.HTML(
                {}, html_template=STAGE_TEMPLATE, js_on_load=STAGE_SCRIPT, elem_id="stage"
            )
            with gr.Row(elem_classes="actions"):
                for name, text in (("png", "Picture"), ("strip", "Strip"), ("gif", "GIF")):
                    buttons[name] = gr.Button(text, size="sm", elem_id=name, min_width=80)
                buttons["save"] = gr.Button("Save edit", size="sm", elem_id="save", min_width=80)
                buttons["load"] = gr.UploadButton(
                    "Load edit",
                    size="sm",
                    file_types=[".json", ".npy"],
                    elem_id="load",
                    min_width=80,
                )
            seed, truncation = _face_panel(buttons)
        with gr.Column(scale=5, min_width=380):
            slots, hint = _component_panel(buttons, labels)
            amounts = {}
            for title, group in (("Pose", ANGLES), ("Light", LIGHTS)):
                own = [n for n in group if n in names]
                columns = "triples" if len(own) == 3 else "pairs"
                with _panel(title, columns, visible=bool(own)), gr.Row():
                    amounts |= {n: _amount_slider(n) for n in own}
            with gr.Group(elem_classes="panel", visible=bool(names)):
                decorrelated = gr.Checkbox(
                    False,
                    label="A change of pose or light leaves the others as they are",
                    elem_id="decorrelated",
                )
    return Controls(session, stage, seed, truncation, decorrelated, amounts, slots, hint), buttons


def decomposition_tab() -> Decomposed:
    """The parts of the edited face, and its head under another view and light."""
    sheet = gr.HTML({}, html_template=SHEET_TEMPLATE, elem_id="sheet", js_on_load=None)
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320):
            render = gr.HTML("", html_template=RENDER_TEMPLATE, elem_id="render", js_on_load=None)
        with gr.Column(scale=5, min_width=380):
            with _panel("Turn the head", "triples"), gr.Row():
                turns = [
                    _slider(f"turn-{n}", _title(n, "degrees"), (-most, most), 1)
                    for n, most in TURNS.items()
                ]
            with _panel("Move the light", "pairs"), gr.Row():
                turns += [
                    _slider(f"relit-{n}", _title(n), ends, 0.02)
                    for n, ends in _LIGHT_RANGES.items()
                ]
            with gr.Row(elem_classes="actions"):
                again = gr.Button("As in the picture", size="sm", elem_id="again")
            numbers = gr.HTML("", elem_classes="numbers", js_on_load=None)
    return Decomposed(sheet, numbers, render, turns, again)


def _face_panel(buttons: dict) -> tuple[gr.Number, gr.Slider]:
    with _panel("Face", "pairs"):
        with gr.Row():
            seed = gr.Number(
                0,
                label="Seed",
                info="draws the face",
                precision=0,
                minimum=0,
                elem_id="seed",
                min_width=120,
            )
            truncation = _slider("truncation", "Truncation", (0, 2), 0.05, "0 is the average face")
        with gr.Row(elem_classes="actions"):
            buttons["random"] = gr.Button(
                "Random", size="sm", variant="primary", elem_id="random", min_width=80
            )
            for name in ("undo", "reset"):
                buttons[name] = gr.Button(name.capitalize(), size="sm", elem_id=name, min_width=80)
    return seed, truncation


def _component_panel(buttons: dict, labels: Sequence[str]) -> tuple[list[gr.Slider], gr.HTML]:
    ends = (-COMPONENT_LIMIT, COMPONENT_LIMIT)
    with gr.Group(elem_classes="panel pairs", visible=bool(labels)):
        hint = gr.HTML(HINT, elem_classes="title", elem_id="hint", js_on_load=None)
        with gr.Row():
            slots = [
                _slider(f"component-{i}", "", ends, 0.1, " ", visible=False) for i in range(SLOTS)
            ]
        buttons["choice"] = gr.Dropdown(
            list(labels), value=None, label="or choose a component by its name", elem_id="choice"
        )
    return slots, hint


def _panel(title: str, classes: str = "", visible: bool = True) -> gr.Group:
    group = gr.Group(elem_classes=f"panel {classes}".split(), visible=visible)
    with group:
        gr.HTML(title, elem_classes="title", js_on_load=None)
    return group


def _title(name: str, unit: str = "1") -> str:
    sign = {"1": "", "degrees": " (°)"}.get(unit, f" ({unit})")
    return name.replace("_", " ").capitalize() + sign


def _slider(elem_id, label, ends, step, info=None, visible=True) -> gr.Slider:
    low, high = ends
    return gr.Slider(
        low,
        high,
        max(low, 0),
        step=step,
        label=label,
        info=info,
        elem_id=elem_id,
        min_width=120,
        visible=visible,
        buttons=[],
        elem_classes="centred" if low == -high else None,
    )


def _amount_slider(name: str) -> gr.Slider:
    limit, unit = LIMITS[name], ENVIRONMENT_UNITS[name]
    step = 1 if unit == "degrees" else 0.01
    return _slider(f"amount-{name}", _title(name, unit), (-limit, limit), step, _SENSE[name])
