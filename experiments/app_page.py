"""The app's page: what lies where, and which change calls what. Nothing is computed here."""

import base64
import dataclasses
import html
import pathlib
import secrets
from collections.abc import Callable

import gradio as gr
import numpy as np
from jaxtyping import UInt8

from experiments.app_layout import (
    HINT,
    SLOTS,
    TURNS,
    Controls,
    Decomposed,
    decomposition_tab,
    edit_tab,
    header,
)
from experiments.app_pictures import Pictures
from experiments.app_session import LIMITS, EditState, Face, from_json, to_json
from experiments.app_style import DOWNLOAD_SCRIPT
from experiments.decompose_command import summary
from experiments.edit_command import read_latents
from facesem_jax.errors import FacesemError
from facesem_jax.semantics.semantic_function import ENVIRONMENT_UNITS
from facesem_jax.viz.gif import animation_gif
from facesem_jax.viz.png import data_uri, picture_png
from facesem_jax.viz.sheets import DECOMPOSITION_ROWS

# Calls of one page and of another draw one after the other: each finds the state that the last
# one left, and the processor has no more than one program to run.
_CALL = {
    "concurrency_id": "draw",
    "concurrency_limit": 1,
    "show_progress": "hidden",
    "api_visibility": "private",
}
_LIVE = _CALL | {"trigger_mode": "always_last"}


@dataclasses.dataclass(frozen=True)
class Session:
    """What one browser tab is at.

    Attributes:
      state: The edit and its history.
      slots: Names of the components that have a slider, the first slider first.
      strengths: Their shares of what acts at the point; 0 where chosen by name.
      mark: (row, column) of the point clicked, in fractions of the picture.
    """

    state: EditState
    slots: tuple[str, ...] = ()
    strengths: tuple[float, ...] = ()
    mark: tuple[float, float] | None = None


def build_page(pictures: Pictures, start: Session, first: Callable[[], object]) -> gr.Blocks:
    """The page.

    Args:
      pictures: Draws.
      start: What every new tab begins with.
      first: Waits until the first picture has been drawn, so that it is not drawn twice.
    """
    page = _Page(pictures, start, first)
    return page.build()


class _Page:
    def __init__(self, pictures: Pictures, start: Session, first: Callable[[], object]):
        self.pictures, self.start, self.first = pictures, start, first
        directions = pictures.models.directions
        self.names = () if directions is None else tuple(n for n in LIMITS if n in directions.names)
        self.labels = () if directions is None else directions.labels

    def build(self) -> gr.Blocks:
        models = self.pictures.models
        with gr.Blocks(
            title="facesem", analytics_enabled=False, delete_cache=(3600, 3600), fill_width=True
        ) as blocks:
            session = gr.State(self.start)
            header(models)
            with gr.Tabs():
                with gr.Tab("Edit"):
                    controls, buttons = edit_tab(session, self.names, self.labels)
                with gr.Tab("Decomposition") as tab:
                    parts = decomposition_tab()
            download = gr.HTML({}, visible="hidden", html_template="", js_on_load=DOWNLOAD_SCRIPT)
            blocks.load(self._begin, [session], controls.all, **_CALL)
            self._wire_edits(controls, buttons)
            self._wire_files(controls, buttons, download)
            self._wire_decomposition(tab, session, parts)
        return blocks

    def _wire_edits(self, c: Controls, buttons: dict) -> None:
        drawn = [c.session, c.stage]
        for name, slider in c.amounts.items():
            slider.input(self._mover(name), [c.session, slider], drawn, **_LIVE)
        for index, slider in enumerate(c.slots):
            slider.input(self._slot_mover(index), [c.session, slider], drawn, **_LIVE)
        c.truncation.input(self._truncate, [c.session, c.truncation], drawn, **_LIVE)
        c.seed.input(self._draw, [c.session, c.seed, c.truncation], drawn, **_LIVE)
        c.decorrelated.input(self._decorrelate, [c.session, c.decorrelated], drawn, **_LIVE)
        changes = {"random": self._random, "undo": EditState.undo, "reset": EditState.reset}
        for name, change in changes.items():
            buttons[name].click(self._changer(change), [c.session], c.all, **_CALL)
        places = [c.session, c.stage, *c.slots, c.hint]
        c.stage.select(self._click, [c.session], places, **_LIVE)
        choice = buttons["choice"]
        choice.input(self._choose, [c.session, choice], places, **_LIVE)

    def _wire_files(self, c: Controls, buttons: dict, download: gr.HTML) -> None:
        for name in ("png", "strip", "gif", "save"):
            buttons[name].click(self._writer(name), [c.session], [download], **_CALL)
        buttons["load"].upload(self._load, [c.session, buttons["load"]], c.all, **_CALL)

    def _wire_decomposition(self, tab: gr.Tab, session: gr.State, d: Decomposed) -> None:
        shown = [d.sheet, d.numbers, d.render, *d.turns]
        tab.select(self._decompose, [session], shown, **_CALL)
        d.again.click(self._decompose, [session], shown, **_CALL)
        for slider in d.turns:
            slider.input(self._render, [session, *d.turns], [d.render], **_LIVE)

    # What the calls do.

    def _stage(self, session: Session) -> dict:
        edit = session.state.edit
        found = self.pictures.edit(edit)
        changed = [_amount_words(n, t) for n, t in edit.amounts]
        percent = f"{100 * found.limit:.0f}\N{NO-BREAK SPACE}%"
        return {
            "before": _uri(found.before),
            "after": _uri(found.after),
            "difference": _uri(found.difference),
            "scale": f"full colour at {percent} of black to white" if found.limit else "",
            "changed": changed,
            "mark": session.mark,
        }

    def _shown(self, session: Session) -> list:
        """Values of all controls, in the order of `Controls.all`."""
        edit = session.state.edit
        return [
            session,
            self._stage(session),
            gr.Number(edit.face.seed, interactive=edit.face.latent is None),
            gr.Slider(value=edit.face.truncation, interactive=edit.face.latent is None),
            edit.decorrelated,
            *map(edit.amount, self.names),
            *self._slots(session),
            self._hint(session),
        ]

    def _slots(self, session: Session) -> list:
        found = [
            gr.Slider(
                value=session.state.edit.amount(name),
                label=f"{name} (spreads)",
                info=f"{100 * share:.0f} % of what acts here" if share else "chosen by name",
                visible=True,
            )
            for name, share in zip(session.slots, session.strengths, strict=True)
        ]
        return found + [gr.Slider(visible=False)] * (SLOTS - len(found))

    def _hint(self, session: Session) -> str:
        if session.mark is None and not session.slots:
            return HINT
        if not session.slots:
            return "No component acts there"
        regions = dict.fromkeys(r for n in session.slots if (r := self._region(n)))
        place = "At the ring" if session.mark else "Chosen"
        return html.escape(f"{place}: {', '.join(regions)}") if regions else place

    def _region(self, label: str) -> str:
        return self.pictures.models.directions.direction(label).region

    def _begin(self, session):
        def compute():
            self.first()
            return self._shown(session)

        return self._refused(compute)

    def _refused(self, compute, *args):
        try:
            return compute(*args)
        except FacesemError as error:
            raise gr.Error(str(error), print_exception=False, duration=8) from error

    def _redrawn(self, session: Session, change: Callable[[EditState], EditState]):
        def compute():
            after = dataclasses.replace(session, state=change(session.state))
            return after, self._stage(after)

        return self._refused(compute)

    def _mover(self, name: str):
        def move(session, amount):
            return self._redrawn(session, lambda state: state.with_amount(name, amount))

        return move

    def _slot_mover(self, index: int):
        def move(session, amount):
            if index >= len(session.slots):
                return session, gr.skip()
            name = session.slots[index]
            return self._redrawn(session, lambda state: state.with_amount(name, amount))

        return move

    def _truncate(self, session, truncation):
        return self._redrawn(session, lambda s: s.with_truncation(truncation))

    def _draw(self, session, seed, truncation):
        if seed is None:
            return session, gr.skip()
        return self._redrawn(session, lambda s: s.with_face(Face(int(seed), truncation)))

    def _decorrelate(self, session, decorrelated):
        return self._redrawn(session, lambda state: state.with_decorrelated(decorrelated))

    def _random(self, state: EditState) -> EditState:
        face = state.edit.face
        seed, truncation = secrets.randbelow(10**6), 1.0 if face.latent else face.truncation
        return state.with_face(Face(seed, truncation))

    def _changer(self, change: Callable[[EditState], EditState]):
        def run(session):
            after = dataclasses.replace(session, state=change(session.state))
            return self._refused(self._shown, after)

        return run

    def _placed(self, session: Session) -> list:
        return [session, self._stage(session), *self._slots(session), self._hint(session)]

    def _click(self, session, event: gr.EventData):
        def compute():
            try:
                mark = float(event.row), float(event.column)
            except (AttributeError, TypeError, ValueError) as error:
                raise FacesemError("the click has no place on the picture.") from error
            found = self.pictures.acting(session.state.edit, *mark)[:SLOTS]
            slots, strengths = tuple(f.name for f in found), tuple(f.strength for f in found)
            return self._placed(Session(session.state, slots, strengths, mark))

        return self._refused(compute)

    def _choose(self, session, name):
        if name not in self.labels:
            return [gr.skip()] * (3 + SLOTS)
        kept = [(n, s) for n, s in zip(session.slots, session.strengths, strict=True) if n != name]
        slots, strengths = zip(*[(name, 0.0), *kept][:SLOTS], strict=True)
        return self._placed(dataclasses.replace(session, slots=slots, strengths=strengths))

    def _writer(self, kind: str):
        def write(session):
            return self._refused(self._file, kind, session.state.edit)

        return write

    def _file(self, kind: str, edit) -> dict:
        if kind == "save":
            data = to_json(edit, self.pictures.models.digest).encode()
            ending, mime = ".json", "application/json"
        elif kind == "gif":
            data, ending, mime = animation_gif(self.pictures.frames(edit, 15)), ".gif", "image/gif"
        else:
            drawn = self.pictures.picture(edit) if kind == "png" else self.pictures.strip(edit)
            ending, mime = ".png" if kind == "png" else "-strip.png", "image/png"
            data = picture_png(drawn)
        stem = "face" if edit.face.latent else f"face-{edit.face.seed}"
        uri = f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"
        # The number makes a second download of the same file a change.
        return {"name": stem + ending, "data": uri, "number": secrets.token_hex(8)}

    def _load(self, session, path):
        def compute():
            file, models = pathlib.Path(path), self.pictures.models
            if file.suffix.lower() == ".npy":
                latents = read_latents(file, models.generator)
                if len(latents) != 1:
                    raise FacesemError(f"the file holds {len(latents)} latents; expected one.")
                edit = dataclasses.replace(session.state.edit, face=Face.of_latent(latents))
            else:
                data = file.read_bytes()
                edit = from_json(data, models.digest, models.directions, models.latent_shapes)
            return self._shown(
                dataclasses.replace(session, state=session.state.changed("load", edit))
            )

        return self._refused(compute)

    def _decompose(self, session):
        def compute():
            faces = self.pictures.decomposed(session.state.edit)
            row = self.pictures.decomposition_row(faces)
            shown = zip(DECOMPOSITION_ROWS, row, strict=True)
            sheet = [{"name": name, "src": _uri(picture)} for name, picture in shown]
            view = [
                float(np.clip(v, -m, m)) for v, m in zip(faces.view[0], TURNS.values(), strict=True)
            ]
            light = [float(v) for v in faces.light[0]]
            render = _uri(self.pictures.rendered(faces, view, light))
            numbers = summary(faces).replace("\n", "<br>")
            return [{"parts": sheet}, numbers, render, *(round(v, 2) for v in (*view, *light))]

        return self._refused(compute)

    def _render(self, session, *values):
        def compute():
            faces = self.pictures.decomposed(session.state.edit)
            return _uri(self.pictures.rendered(faces, values[:3], values[3:]))

        return self._refused(compute)


def _amount_words(name: str, amount: float) -> str:
    unit = {"degrees": "°", "1": ""}.get(ENVIRONMENT_UNITS.get(name, "spreads"), " spreads")
    number = f"{amount:+.3g}".replace("-", "−")
    return f"{name.replace('_', ' ')} {number}{unit}"


def _uri(picture: UInt8[np.ndarray, "h w 3"]) -> str:
    return data_uri(picture_png(picture))
