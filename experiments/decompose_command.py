"""`facesem decompose`: view, light, depth and albedo of the face in a picture."""

import dataclasses
import pathlib
from typing import Annotated, Literal

import numpy as np
import tyro
from jaxtyping import Float, UInt8
from rich.console import Console

import facesem_jax
from experiments.decomposition import decompose_faces, faces_sheet
from experiments.image_files import read_image
from experiments.localized_results import Faces
from experiments.output_files import check_outputs, write_files
from experiments.photo_framing import Place, frame_photo
from facesem_jax.array_files import npz_bytes
from facesem_jax.decomposer.crop import CROPS
from facesem_jax.errors import FacesemError
from facesem_jax.semantics.inversion import psnr
from facesem_jax.viz.pictures import enlarge, grid
from facesem_jax.viz.png import picture_png
from facesem_jax.viz.sheets import DECOMPOSITION_ROWS, depth_range


@dataclasses.dataclass(frozen=True)
class Options:
    """View, light, depth and albedo of the face in a picture.

    The picture should show one face, upright and cropped as tightly as those the decomposer
    learned from (the bundled one: brows to chin, ears cut off). Examples:

        facesem decompose photo.png
        facesem decompose holiday.jpg --align
        facesem decompose photo.jpg --crop 120,340,512,512 --arrays photo.npz

    Attributes:
      photo: PNG, JPEG, WebP, BMP, TIFF, GIF or PPM.
      output: A sheet: input, reconstruction, albedo, depth, relief of the normals, canonical image.
        Default: the photo's name with "-decomposition.png", in the working directory.
      arrays: A .npz file for the numbers: view in degrees, light, depth, albedo, normals,
        reconstruction, canonical.
      crop: The face: top,left,height,width in pixels or in fractions of the picture; or ffhq,
        celebahq for pictures aligned like these. Default: the largest square in the middle.
      align: Find the face by its landmarks and turn and scale it into the decomposer's framing
        (needs mediapipe: the extra "photos"; without it the square in the middle is taken).
      face: Which face to align, where there are several; 1 is the largest.
      framing: How the decomposer's faces are framed: digiface64 (tightly, brows to chin), or ffhq
        for one that is shown the crop "ffhq" of such pictures. Default: digiface64.
      scale: Times the decomposer's size.
      smooth: Enlarge smoothly (Lanczos) rather than by squares.
      decomposer: A bundled name, or a directory with a converted decomposer.
    """

    photo: Annotated[pathlib.Path, tyro.conf.Positional]
    output: Annotated[pathlib.Path | None, tyro.conf.arg(aliases=["-o"])] = None
    arrays: pathlib.Path | None = None
    crop: str | None = None
    align: bool = False
    face: int = 1
    framing: Literal["digiface64", "ffhq"] | None = None
    scale: int = 4
    smooth: bool = False
    decomposer: str = "digiface64"

    def checked(self) -> "Options":
        """The options with the output's default filled in.

        Raises:
          FacesemError: On a scale out of range, or outputs that cannot be written.
        """
        if not 1 <= self.scale <= 64:
            raise FacesemError(f"scale is {self.scale}; expected 1 to 64.")
        _ = self.place
        output = self.output or pathlib.Path(f"{self.photo.stem}-decomposition.png")
        check_outputs({".png": output, ".npz": self.arrays}, [self.photo])
        return dataclasses.replace(self, output=output)

    @property
    def place(self) -> Place:
        """Where in the photo the face is."""
        return Place(self.crop, self.align, self.face, self.framing)


def face_row(faces: Faces, near: float, far: float) -> UInt8[np.ndarray, "6 h w 3"]:
    """The pictures of one face's decomposition, in the order of `DECOMPOSITION_ROWS`.

    Args:
      faces: One face.
      near: Depth shown white, scene units.
      far: Depth shown black.
    """
    sheet = faces_sheet(faces, near, far)
    return sheet.reshape(len(DECOMPOSITION_ROWS), -1, *sheet.shape[1:])


def summary(faces: Faces) -> str:
    """View and light of one face, and how well the decomposition rebuilds it."""
    pitch, yaw, roll = faces.view[0]
    ambient, diffuse, x, y = faces.light[0]
    again = float(psnr(faces.reconstruction, faces.images)[0])
    return (
        f"view: pitch {pitch:.1f}, yaw {yaw:.1f}, roll {roll:.1f} degrees\n"
        f"light: ambient {ambient:.3f}, diffuse {diffuse:.3f}, direction x {x:.3f}, y {y:.3f}\n"
        f"reconstruction: {again:.1f} dB"
    )


def read_face(options: Options, size: int) -> tuple[Float[np.ndarray, "s s 3"], str]:
    """The face as the decomposer is shown it, and what the user should know.

    Raises:
      FacesemError: As `read_image`, or `frame_photo` where it is to be aligned.
    """
    if not options.align:
        return read_image(options.photo, size, options.crop), ""
    framing = options.framing or "digiface64"
    framed = frame_photo(options.photo, size, options.place, framing, CROPS[framing])
    return framed.image, framed.note


def main(options: Options) -> None:
    """Decomposes and writes."""
    options = options.checked()
    with Console(stderr=True).status("loading the decomposer") as status:
        decomposer = facesem_jax.load_decomposer(options.decomposer)
        image, note = read_face(options, decomposer.config.image_size)
        status.update("decomposing")
        faces = decompose_faces(decomposer, image[None])
        near, far = depth_range(faces.depth)
        pictures = enlarge(face_row(faces, near, far), options.scale, options.smooth)
        files = {options.output: picture_png(grid(pictures[None]))}
        if options.arrays is not None:
            numbers = {f.name: getattr(faces, f.name)[0] for f in dataclasses.fields(faces)}
            files[options.arrays] = npz_bytes(numbers)
        write_files(files)
    print(summary(faces))
    print(f"depth: white at {near:.2f}, black at {far:.2f}")
    print(f"sheet: {', '.join(DECOMPOSITION_ROWS)}")
    if note:
        print(note)
    print(f"written: {', '.join(map(str, files))}")
