"""`facesem invert`: the latent of the face in a picture."""

import dataclasses
import pathlib
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Float
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import facesem_jax
from experiments.image_files import read_image
from experiments.localized_stages import synthesize
from experiments.output_files import check_outputs, write_files
from experiments.photo_framing import Place, frame_photo, framing_of
from facesem_jax.array_files import npy_bytes
from facesem_jax.checkpoint import read_description
from facesem_jax.checks import check_seed
from facesem_jax.errors import FacesemError
from facesem_jax.loading import resolve
from facesem_jax.semantics.inversion import (
    Inversion,
    InversionSettings,
    LatentPrior,
    fit_latent_prior,
    inversion_result,
    psnr,
    stream_inversion,
)
from facesem_jax.viz.overlays import change_picture, magnitude
from facesem_jax.viz.pictures import enlarge, grid, rgb
from facesem_jax.viz.png import picture_png

_DEFAULTS = InversionSettings()


@dataclasses.dataclass(frozen=True)
class Options:
    """Finds the latent of the face in a picture, so that `facesem edit --latent` can change it.

    Starts from the encoder's guess where the generator has an encoder, else from the average face,
    and descends. Examples:

        facesem invert photo.png
        facesem invert holiday.jpg --align --face 2
        facesem invert photo.png --space w_plus -o photo-w.npy
        facesem edit --latent photo-w.npy --yaw 15 -o turned.png

    Attributes:
      photo: PNG, JPEG, WebP, BMP, TIFF, GIF or PPM; one face, framed as the generator frames its
        own, or any photo with --align.
      output: A .npy file for w, (1, w_dim) or (1, layers, w_dim). Default: the photo's name with
        "-w.npy", in the working directory.
      picture: A PNG file: the photo, the generator's face, their difference. Default: the photo's
        name with "-inversion.png".
      space: "w", one latent for all layers, where edits mean most; "w_plus", one for each layer,
        which comes nearer to photographs.
      steps: Most steps; it ends earlier when the loss no longer falls.
      learning_rate: Step in units of the latents' standard deviation.
      prior: Weight of staying near the generator's own latents.
      spread: Weight of keeping the layers' latents alike (w_plus only).
      perceptual: Weight of the distance between the encoder's features of both images; 0 where the
        generator has no encoder.
      seed: Draws the latents to which the prior is fitted.
      crop: The face: top,left,height,width in pixels or in fractions of the picture; or a name.
        Default: the largest square in the middle.
      align: Find the face by its landmarks and turn and scale it into the generator's framing
        (needs mediapipe: the extra "photos"; without it the square in the middle is taken).
      face: Which face to align, where there are several; 1 is the largest.
      framing: How the generator frames faces: digiface64 (tightly, brows to chin) or ffhq. Default:
        what its description says.
      scale: Times the generator's size.
      smooth: Enlarge smoothly (Lanczos) rather than by squares.
      generator: A bundled name, or a directory with a converted generator.
    """

    photo: Annotated[pathlib.Path, tyro.conf.Positional]
    output: Annotated[pathlib.Path | None, tyro.conf.arg(aliases=["-o"])] = None
    picture: pathlib.Path | None = None
    space: Literal["w", "w_plus"] = "w"
    steps: int = _DEFAULTS.steps
    learning_rate: float = _DEFAULTS.learning_rate
    prior: float = _DEFAULTS.prior_weight
    spread: float = _DEFAULTS.spread_weight
    perceptual: float = _DEFAULTS.perceptual_weight
    seed: int = 0
    crop: str | None = None
    align: bool = False
    face: int = 1
    framing: Literal["digiface64", "ffhq"] | None = None
    scale: int = 4
    smooth: bool = False
    generator: str = "digiface64"

    def checked(self) -> "Options":
        """The options with the outputs' defaults filled in.

        Raises:
          FacesemError: On numbers out of range, or outputs that cannot be written.
        """
        if not 1 <= self.scale <= 64:
            raise FacesemError(f"scale is {self.scale}; expected 1 to 64.")
        check_seed(self.seed)
        if self.steps > 100_000:
            raise FacesemError(f"steps is {self.steps}; expected at most 100000.")
        _ = self.place
        output = self.output or pathlib.Path(f"{self.photo.stem}-w.npy")
        picture = self.picture or pathlib.Path(f"{self.photo.stem}-inversion.png")
        check_outputs({".npy": output, ".png": picture}, [self.photo])
        return dataclasses.replace(self, output=output, picture=picture)

    @property
    def place(self) -> Place:
        """Where in the photo the face is."""
        return Place(self.crop, self.align, self.face, self.framing)

    @property
    def settings(self) -> InversionSettings:
        """How the image is inverted."""
        return InversionSettings(
            steps=self.steps,
            learning_rate=self.learning_rate,
            prior_weight=self.prior,
            spread_weight=self.spread,
            perceptual_weight=self.perceptual,
        )


def encoder_of(generator: str):
    """The encoder that lies beside a generator; ``None`` where there is none.

    Raises:
      FacesemError: If there is one and it is damaged.
    """
    try:
        directory = resolve(generator, "encoder")
    except FacesemError:
        return None
    if read_description(directory).kind != "encoder":  # The directory is the generator's own.
        return None
    return facesem_jax.load_encoder(directory)


def matching_encoder(generator, encoder):
    """The encoder where it is of the generator's sizes, else ``None``."""
    config = generator.config
    sizes = (config.resolution, config.w_dim)
    fits = encoder is not None and (encoder.config.resolution, encoder.config.w_dim) == sizes
    return encoder if fits else None


def mapped_prior(generator, seed: int) -> LatentPrior:
    """The prior of 4,096 mapped latents."""
    z = jax.random.normal(jax.random.key(seed), (4096, generator.config.z_dim))
    return fit_latent_prior(jax.jit(lambda m, z: m(z))(generator.mapping, z))


def first_guess(
    generator, encoder, image: Float[np.ndarray, "h w 3"], prior: LatentPrior, space: str
) -> Float[np.ndarray, "1 *l d"]:
    """Where the descent starts.

    Args:
      generator: The generator.
      encoder: Its encoder, or ``None``; one for other sizes is left aside.
      image: In [-1, 1].
      prior: Of the mapped latents.
      space: "w" or "w_plus".

    Raises:
      FacesemError: If the generator has no W+.
    """
    config = generator.config
    encoder = matching_encoder(generator, encoder)
    if encoder is not None:
        w = jax.jit(lambda e, x: e(x))(encoder, jnp.asarray(image[None]))
    else:
        w = prior.mean[None]
    if space == "w":
        return np.asarray(w)
    if not hasattr(config, "num_layers"):
        raise FacesemError("this generator takes one latent for all layers; use --space w.")
    return np.asarray(jnp.repeat(w[:, None], config.num_layers, axis=1))


def read_face(options: Options, generator) -> tuple[Float[np.ndarray, "h w 3"], str]:
    """The face as the generator is to draw it, and what the user should know.

    Raises:
      FacesemError: As `read_image`, or `frame_photo` where it is to be aligned.
    """
    size = generator.config.resolution
    if not options.align:
        return read_image(options.photo, size, options.crop), ""
    framing = options.framing or framing_of(options.generator)
    framed = frame_photo(options.photo, size, options.place, framing)
    return framed.image, framed.note


def inversion_picture(found: Inversion, image: Float[np.ndarray, "h w 3"], options: Options):
    """The photo, the generator's face and where they differ (full colour at a tenth)."""
    change = (found.images - image) / 2
    limit = max(0.1, float(np.quantile(magnitude(change), 0.995)))
    row = np.concatenate([rgb(image[None]), rgb(found.images), change_picture(change, limit)])
    return grid(enlarge(row, options.scale, options.smooth)[None])


def run_inversion(
    generator,
    encoder,
    image: Float[np.ndarray, "h w 3"],
    start: Float[np.ndarray, "1 *l d"],
    prior: LatentPrior,
    settings: InversionSettings,
    console: Console,
) -> Inversion:
    """Inverts one image with a progress bar.

    Raises:
      FacesemError: If no step had a finite loss.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("inverting", total=settings.steps)
        states = stream_inversion(generator, image[None], start, prior, settings, encoder=encoder)
        for state in states:
            progress.update(
                task,
                completed=int(state.step[0]),
                description=f"inverting, loss {float(state.best_loss[0]):.4f}",
            )
    if not np.isfinite(state.best_loss).all():
        raise FacesemError("no step had a finite loss: the generator's images are not finite.")
    return inversion_result(generator, image[None], state)


def main(options: Options) -> None:
    """Inverts and writes."""
    options = options.checked()
    settings = options.settings
    console = Console(stderr=True)
    with console.status("loading the generator"):
        generator = facesem_jax.load_generator(options.generator)
        image, note = read_face(options, generator)
        prior = mapped_prior(generator, options.seed)
        encoder = matching_encoder(generator, encoder_of(options.generator))
        start = first_guess(generator, encoder, image, prior, options.space)
    found = run_inversion(generator, encoder, image, start, prior, settings, console)
    before = float(psnr(synthesize(generator, start), image[None])[0])
    files = {
        options.output: npy_bytes(found.w),
        options.picture: picture_png(inversion_picture(found, image, options)),
    }
    write_files(files)
    print(
        f"PSNR: {before:.1f} dB at the start, {found.psnr[0]:.1f} dB after {found.steps[0]} steps"
    )
    if note:
        print(note)
    print(f"written: {', '.join(map(str, files))}")
