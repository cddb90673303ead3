"""`facesem edit`: a face of the generator, moved along named directions."""

import dataclasses
import math
import pathlib
from typing import Annotated, Literal

import jax
import numpy as np
import tyro
from jaxtyping import Float
from rich.console import Console

import facesem_jax
from experiments.localized_options import crop_of_pair
from experiments.localized_stages import call, images_at_once, in_batches, silent, synthesize
from experiments.output_files import check_outputs, write_files
from experiments.photo_edit import edit_photo, invert_photo, mask_reader
from experiments.photo_framing import Place
from facesem_jax.array_files import npy_bytes, read_array
from facesem_jax.checkpoint import checkpoint_digest
from facesem_jax.checks import check_seed
from facesem_jax.decomposer.crop import parse_crop
from facesem_jax.errors import FacesemError
from facesem_jax.loading import resolve
from facesem_jax.semantics.direction_set import DirectionSet
from facesem_jax.semantics.inversion import InversionSettings
from facesem_jax.semantics.semantic_function import ENVIRONMENT_UNITS, environment_semantics
from facesem_jax.viz.overlays import strip_difference
from facesem_jax.viz.pictures import enlarge, grid, rgb
from facesem_jax.viz.png import picture_png

_MOST_FACES, _MOST_PICTURES, _MOST_PIXELS = 64, 33, 2**26


@dataclasses.dataclass(frozen=True)
class Options:
    """Draws a face, turned, lit or changed in one part, as PNG.

    `facesem directions list` shows what can be changed. Examples:

        facesem edit --seed 8 --yaw 20 --component mouth-1=-2.5 -o out.png
        facesem edit --seed 8 --yaw 30 --decorrelated --strip 7 --scale 2 -o strip.png
        facesem edit --latent photo-w.npy --light-x 0.3 --difference -o lit.png
        facesem edit --photo holiday.jpg --component mouth-1=-2 -o changed.png

    Attributes:
      output: The PNG file; replaced if it exists.
      seed: Draws the face; 0 if neither this nor a latent is given.
      latent: A .npy file with w instead: (w_dim,), (n, w_dim), or (n, layers, w_dim) for W+.
      photo: A photograph instead: its face is found, inverted and edited, and the change is blended
        back into the whole picture.
      box: Where the photo's face is, top,left,height,width in pixels or in fractions, where its
        landmarks are not to say it (they need mediapipe: the extra "photos").
      face: Which face of the photo; 1 is the largest.
      framing: How the generator frames faces: digiface64 or ffhq. Default: what it says itself.
      space: Inverts the photo into "w", one latent for all layers, or into "w_plus".
      steps: Most steps of the inversion.
      blend: "add" puts the edit's change on the photo, "replace" the generator's edited face, each
        within a soft mask. "auto" replaces where the pose moves.
      truncation: Pulls a drawn face towards the average one: 1 for none, 0 for all the way.
      pitch: Degrees; positive looks down.
      yaw: Degrees; positive turns the nose to the left of the picture.
      roll: Degrees; positive leans clockwise.
      ambient: Strength of the light from everywhere, a pure number (0 to 1).
      diffuse: Strength of the light from one side, a pure number (0 to 1).
      light_x: Direction of the light, a pure number; positive comes from the picture's left.
      light_y: Direction of the light, a pure number; positive comes from above.
      component: NAME=AMOUNT, as often as wanted; the amount in standard deviations of W along
        the direction ("spreads").
      decorrelated: A change of pose or light leaves all other pose and light values as they are.
      strip: So many faces in a row, from minus the whole change to plus; odd, so that the
        unchanged face is in the middle.
      difference: Also show the unchanged face and where the change acts (red lighter, blue darker).
      measure: Also print how far pose and light really moved, as the decomposer sees it.
      scale: Times the generator's size.
      smooth: Enlarge smoothly (Lanczos) rather than by squares.
      save_latent: A .npy file for the edited w.
      generator: A bundled name, or a directory with a converted generator.
      decomposer: The same of a decomposer; measures, and finds where in a photo components act.
      crop: The part of the generator's image that the decomposer sees, as for
        `experiments.localized`. (Where in a photo the face is, says ``--box``.)
      directions: A bundled name, a directory that `experiments.localized` wrote, or a file of
        `facesem directions export`. Default: those that lie with the generator.
    """

    output: Annotated[pathlib.Path, tyro.conf.arg(aliases=["-o"])] = pathlib.Path("edit.png")
    seed: int | None = None
    latent: pathlib.Path | None = None
    photo: pathlib.Path | None = None
    box: str | None = None
    face: int = 1
    framing: Literal["digiface64", "ffhq"] | None = None
    space: Literal["w", "w_plus"] = "w"
    steps: int = InversionSettings().steps
    blend: Literal["auto", "add", "replace"] = "auto"
    truncation: float = 1.0
    pitch: float = 0.0
    yaw: float = 0.0
    roll: float = 0.0
    ambient: float = 0.0
    diffuse: float = 0.0
    light_x: float = 0.0
    light_y: float = 0.0
    component: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    decorrelated: bool = False
    strip: int = 1
    difference: bool = False
    measure: bool = False
    scale: int = 1
    smooth: bool = False
    save_latent: pathlib.Path | None = None
    generator: str = "digiface64"
    decomposer: str = "digiface64"
    crop: str | None = None
    directions: str | None = None

    def checked(self) -> "Options":
        """The options themselves.

        Raises:
          FacesemError: On numbers out of range, or options that contradict each other.
        """
        given = [n for n in ("seed", "latent", "photo") if getattr(self, n) is not None]
        if len(given) > 1:
            raise FacesemError(f"Give --{given[0]} or --{given[1]}, not both.")
        self._check_photo()
        if self.crop is not None:
            parse_crop(self.crop)
        if self.seed is not None:
            check_seed(self.seed)
        if not (math.isfinite(self.truncation) and 0 <= self.truncation <= 2):
            raise FacesemError(f"truncation is {self.truncation}; expected 0 to 2.")
        if given and given[0] != "seed" and self.truncation != 1:
            raise FacesemError(f"--truncation is for a drawn face (--seed), not for --{given[0]}.")
        if not 1 <= self.strip <= _MOST_PICTURES or self.strip % 2 == 0:
            raise FacesemError(
                f"strip is {self.strip}; expected an odd number, 1 to {_MOST_PICTURES}."
            )
        if not 1 <= self.scale <= 64:
            raise FacesemError(f"scale is {self.scale}; expected 1 to 64.")
        check_outputs(
            {".png": self.output, ".npy": self.save_latent},
            [path for path in (self.latent, self.photo) if path is not None],
        )
        return self

    @property
    def place(self) -> Place:
        """Where in the photo the face is."""
        return Place(self.box, self.box is None, self.face, self.framing, option="--box")

    def _check_photo(self) -> None:
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        for_photos = ("box", "face", "framing", "space", "steps", "blend")
        for_faces = ("strip", "difference", "scale", "smooth")
        for name in for_photos if self.photo is None else for_faces:
            if getattr(self, name) != defaults[name]:
                kind = "a photo (--photo)" if self.photo is None else "faces without a photo"
                raise FacesemError(f"--{name} is for {kind}.")
        if self.photo is not None:
            _ = self.place
            if not 1 <= self.steps <= 100_000:
                raise FacesemError(f"steps is {self.steps}; expected 1 to 100000.")


def asked_amounts(options: Options, directions: DirectionSet) -> dict[str, float]:
    """Name to amount of every direction that the options move.

    Raises:
      FacesemError: On a component that is not written NAME=AMOUNT, is unknown or given twice, or
        a global semantic that the directions do not hold.
    """
    amounts = {}
    for name in ENVIRONMENT_UNITS:
        amount = getattr(options, name, 0.0)
        if amount != 0:
            if name not in directions.names:
                raise FacesemError(
                    f"these directions have no {name}; they have {', '.join(directions.names)}."
                )
            amounts[name] = amount
    for text in options.component:
        name, equals, number = text.rpartition("=")
        try:
            amount = float(number) if equals else None
        except ValueError:
            amount = None
        if amount is None:
            raise FacesemError(f"--component {text}: expected NAME=AMOUNT, such as mouth-1=-2.5.")
        if name in directions.names:
            raise FacesemError(f"--component {text}: {name} has an option, --{_dashed(name)}.")
        directions.direction(name)
        if name in amounts:
            raise FacesemError(f"--component {name} is given twice.")
        amounts[name] = amount
    return amounts


def read_latents(path: pathlib.Path, generator) -> Float[np.ndarray, "n *l d"]:
    """Latents from a `.npy` file.

    Args:
      path: Holds (d,), (n, d), or (n, num_layers, d) where the generator takes a w_plus.
      generator: Whose latents they are.

    Returns:
      float32, with the axis n.

    Raises:
      FacesemError: As `read_array`, on another shape, too many, or values that are not finite.
    """
    with np.errstate(over="ignore"):  # Refused below.
        w = read_array(path).astype(np.float32)
    w = w[None] if w.ndim == 1 else w
    d, layers = generator.config.w_dim, getattr(generator.config, "num_layers", None)
    if w.shape[1:] not in ((d,), (layers, d)):
        plus = f", (n, {layers}, {d})" if layers else ""
        raise FacesemError(
            f"{path} holds an array of shape {w.shape}; this generator takes ({d},), (n, {d})"
            f"{plus}."
        )
    if not 1 <= len(w) <= _MOST_FACES:
        raise FacesemError(f"{path} holds {len(w)} latents; expected 1 to {_MOST_FACES}.")
    if not np.isfinite(w).all():
        raise FacesemError(f"{path} holds values that are not finite, or beyond float32.")
    return w


def at_once(compute, f, ws: Float[np.ndarray, "n *l d"]) -> np.ndarray:
    """``compute(f, ws)``, in batches only where the images of all do not fit the memory."""
    batch = min(len(ws), images_at_once(f))
    return in_batches(f, ws, silent, "", call=compute, batch=batch)


def drawn_images(generator, ws: Float[np.ndarray, "n *l d"]) -> Float[np.ndarray, "n h w 3"]:
    """Images of latents in [-1, 1], clipped as they are shown.

    Raises:
      FacesemError: If an image is not finite: the latent is too far out.
    """
    images = at_once(synthesize, generator, ws)
    if not np.isfinite(images).all():
        raise FacesemError("the edited face is not finite: choose smaller amounts.")
    return np.clip(images, -1, 1)


def edited_picture(
    images: Float[np.ndarray, "n t h w 3"], options: Options
) -> tuple[np.ndarray, float | None]:
    """The picture of faces by amounts, and the full colour of the difference, if it is shown.

    Args:
      images: In [-1, 1]; the amounts rise evenly from -1 to 1 times the whole change, or are 0
        and 1 where there are two.
      options: Which of them are shown, and how large.
    """
    amounts = np.array([0.0, 1.0]) if images.shape[1] == 2 else np.linspace(-1, 1, images.shape[1])
    shown = rgb(images if options.difference or options.strip > 1 else images[:, -1:])
    limit = None
    if options.difference:
        changes, limit = strip_difference(images, amounts)
        shown = np.concatenate([shown, changes[:, None]], axis=1)
    return grid(enlarge(shown, options.scale, options.smooth)), limit


def measured_changes(options: Options, generator, before, after) -> dict[str, float]:
    """Mean change of every global semantic from one set of latents to another, its own unit."""
    decomposer = facesem_jax.load_decomposer(options.decomposer)
    crop = crop_of_pair(options.generator, options.crop, generator, decomposer)
    f = environment_semantics(generator, decomposer, crop, size=decomposer.config.image_size)
    values = at_once(call, f, np.concatenate([before, after]))
    change = (values[len(before) :] - values[: len(before)]).mean(axis=0)
    return dict(zip(f.names, map(float, change), strict=True))


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _amount(value: float, unit: str) -> str:
    return f"{value:+.3g}" + ("" if unit == "1" else f" {unit}")


def main(options: Options) -> None:
    """Draws and writes."""
    options = options.checked()
    with Console(stderr=True).status("loading the generator") as status:
        digest = checkpoint_digest(resolve(options.generator, "generator"))
        asked, move, notes = asked_move(options, digest)
        generator = facesem_jax.load_generator(options.generator)
        if move is not None and len(move) != generator.config.w_dim:
            raise FacesemError(
                f"the directions have w_dim {len(move)} and the generator "
                f"{generator.config.w_dim}: they do not belong together."
            )
        if options.photo is not None:
            if move is None:
                raise FacesemError("name a change of the photo, such as --component mouth-1=-2.")
            status.stop()
            _edit_photo(options, generator, asked, move, notes)
            return
        w = first_latents(options, generator)
        move = np.zeros(generator.config.w_dim, np.float32) if move is None else move
        status.update("drawing")
        factors = np.linspace(-1, 1, options.strip) if options.strip > 1 else np.array([0.0, 1.0])
        _check_size(options, len(w), len(factors), generator.config.resolution)
        edited = (w + move).astype(np.float32)
        moved = np.stack([w + np.float32(t) * move for t in factors], axis=1)
        images = drawn_images(generator, moved.reshape(-1, *moved.shape[2:]))
        images = images.reshape(*moved.shape[:2], *images.shape[1:])
        picture, limit = edited_picture(images, options)
        if options.measure:
            status.update("measuring")
            notes.append(_measured(options, generator, w, edited))
        files = {options.output: picture_png(picture)}
        if options.save_latent is not None:
            files[options.save_latent] = npy_bytes(edited)
        write_files(files)
    if limit is not None:
        notes.append(
            f"difference: full colour at {100 * limit:.1f} % of the range from black to white"
        )
    print(f"asked: {asked}", *notes, f"written: {', '.join(map(str, files))}", sep="\n")


def _edit_photo(options: Options, generator, asked: str, move, notes: list[str]) -> None:
    """Edits a photo and writes."""
    settings = InversionSettings(steps=options.steps)
    name, console = options.generator, Console(stderr=True)
    directions = facesem_jax.load_directions(options.directions or name)
    names = list(asked_amounts(options, directions))
    reader = mask_reader(name, generator, names, directions, options.decomposer, options.crop)
    found = invert_photo(
        name, generator, options.photo, options.place, options.space, settings, console
    )
    picture = edit_photo(generator, found, move, names, directions, reader, options.blend)
    w = found.inversion.w
    edited = (w + move).astype(np.float32)
    if options.measure:
        notes.append(_measured(options, generator, w, edited))
    files = {options.output: picture_png(picture)}
    if options.save_latent is not None:
        files[options.save_latent] = npy_bytes(edited)
    write_files(files)
    quality = f"inverted: {found.inversion.psnr[0]:.1f} dB after {found.inversion.steps[0]} steps"
    notes = [quality, *filter(None, [found.framed.note]), *notes]
    print(f"asked: {asked}", *notes, f"written: {', '.join(map(str, files))}", sep="\n")


def _measured(options: Options, generator, before, after) -> str:
    changes = measured_changes(options, generator, before, after)
    found = (f"{n} {_amount(t, ENVIRONMENT_UNITS[n])}" for n, t in changes.items())
    return f"measured: {', '.join(found)}"


def asked_move(
    options: Options, digest: str
) -> tuple[str, Float[np.ndarray, " d"] | None, list[str]]:
    """The move of w that the options ask for.

    Args:
      options: The options; directions are read only where one is moved along.
      digest: `checkpoint_digest` of the generator.

    Returns:
      The amounts in words, the move (``None`` for none), and what the user should know.

    Raises:
      FacesemError: As `load_directions`, `asked_amounts` and `DirectionSet.move`.
    """
    if not options.component and not any(getattr(options, n, 0.0) for n in ENVIRONMENT_UNITS):
        return "nothing, the face as it is", None, []
    directions = facesem_jax.load_directions(options.directions or options.generator)
    amounts = asked_amounts(options, directions)
    move = directions.move(amounts, decorrelated=options.decorrelated)
    words = (f"{n} {_amount(t, directions.direction(n).unit)}" for n, t in amounts.items())
    notes = []
    if directions.about.get("generator_digest") not in (None, digest):
        notes.append(
            f"note: these directions were found with other weights "
            f"({directions.about.get('generator')}); amounts may not mean what they say."
        )
    return ", ".join(words), move, notes


def first_latents(options: Options, generator) -> Float[np.ndarray, "n *l d"]:
    """The latents that are edited: drawn from the seed, or read from the file."""
    if options.latent is not None:
        return read_latents(options.latent, generator)
    z = jax.random.normal(jax.random.key(options.seed or 0), (1, generator.config.z_dim))
    return np.asarray(jax.jit(lambda m, z: m(z, options.truncation))(generator.mapping, z))


def _check_size(options: Options, rows: int, columns: int, resolution: int) -> None:
    if rows * (columns + 1) * (resolution * options.scale) ** 2 > _MOST_PIXELS:
        raise FacesemError(
            f"the picture would have more than {_MOST_PIXELS // 2**20} million pixels; choose a "
            "smaller --scale or --strip, or fewer latents."
        )
