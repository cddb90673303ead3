"""A photo, and the part of it that a generator or a decomposer is shown."""

import dataclasses
import pathlib
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from experiments.image_files import photo_box, read_photo
from experiments.photo_faces import INSTALL, available, face_points, find_faces
from facesem_jax.alignment import (
    Transform,
    align_face,
    box_transform,
    face_transform,
    frame_side,
    invert_transform,
    part_transform,
)
from facesem_jax.decomposer.crop import CROPS, CropBox
from facesem_jax.errors import FacesemError
from facesem_jax.loading import load_crop


@dataclasses.dataclass(frozen=True)
class Place:
    """Where in a photo the face is.

    Attributes:
      crop: A box or a name, see `photo_box`; ``None`` for the largest square in the middle.
      align: Whether landmarks say it instead.
      face: Which face, 1 for the largest.
      framing: Of the aligned face, a name of `alignment.FRAMINGS`; ``None`` for the model's own.
      option: Name of the option that ``crop`` came from, for errors.
    """

    crop: str | None = None
    align: bool = False
    face: int = 1
    framing: str | None = None
    option: str = "--crop"

    def __post_init__(self):
        """Refuses what contradicts itself."""
        if self.align and self.crop is not None:
            raise FacesemError(f"Give --align or {self.option}, not both.")
        if self.face < 1:
            raise FacesemError(f"face is {self.face}; expected 1 for the largest face, or more.")
        for name, default in (("face", 1), ("framing", None)):
            if not self.align and getattr(self, name) != default:
                how = "--align" if self.option == "--crop" else f"without {self.option}"
                raise FacesemError(f"--{name} is for faces found by landmarks ({how}).")


class FramedPhoto(NamedTuple):
    """A photo with the frame around its face.

    Attributes:
      photo: RGB, 8 bit, upright.
      transform: Frame to photo, see `facesem_jax.alignment`.
      image: The frame's content in [-1, 1].
      note: What the user should know.
      landmarks: Of the face, in fractions of the frame; ``None`` where they are not known.
    """

    photo: UInt8[np.ndarray, "h w 3"]
    transform: Transform
    image: Float[np.ndarray, "s s 3"]
    note: str
    landmarks: Float[np.ndarray, "468 2"] | None = None


def framing_of(generator: str) -> str:
    """The framing of a generator's faces, as its description's crop tells it.

    Args:
      generator: A bundled name or a directory.

    Raises:
      FacesemError: As `load_crop`, or if the crop is neither the bundled generator's nor FFHQ's.
    """
    crop = load_crop(generator)
    if crop == CROPS["digiface64"]:
        return "digiface64"
    if crop == CROPS["ffhq"]:
        return "ffhq"
    raise FacesemError(
        f"{generator} does not say how its faces are framed; add --framing digiface64 or ffhq."
    )


def frame_photo(
    path: pathlib.Path, size: int, place: Place, framing: str, part: CropBox | None = None
) -> FramedPhoto:
    """Reads a photo and frames its face.

    Args:
      path: Any file that `read_photo` reads; turned upright as its EXIF data says.
      size: Height and width of the framed face in pixels.
      place: Where the face is. Without the landmark model's package, the square in the middle is
        taken and the note says so.
      framing: Of an aligned face, where the place says none.
      part: The part of the aligned frame that is wanted; ``None`` for all of it.

    Raises:
      FacesemError: As `read_photo` and `photo_box`; if no face, or too few, are found.
    """
    photo, landmarks = read_photo(path), None
    if place.align and available():
        transform, landmarks, note = _aligned(path, photo, place, framing)
        transform = transform if part is None else part_transform(transform, part)
    else:
        height, width = photo.shape[:2]
        box = photo_box(place.crop, height, width, place.option)
        transform = box_transform(
            box.top * height, box.left * width, box.height * height, box.width * width
        )
        note = ""
        if place.align:
            note = f"note: the square in the middle was taken; to align faces: {INSTALL}"
    if landmarks is not None:
        back = invert_transform(transform)
        landmarks = landmarks @ back[:, :2].T + back[:, 2]
    return FramedPhoto(photo, transform, align_face(photo, transform, size), note, landmarks)


def _aligned(path, photo, place: Place, framing: str) -> tuple[Transform, np.ndarray, str]:
    faces = find_faces(photo)
    if len(faces) == 0:
        raise FacesemError(
            f"no face was found in {path}; say where it is with {place.option} "
            "top,left,height,width."
        )
    if place.face > len(faces):
        raise FacesemError(f"face is {place.face}; {len(faces)} were found in {path}.")
    points = face_points(faces[place.face - 1 : place.face])[0]
    transform = face_transform(points, place.framing or framing)
    note = ""
    if len(faces) > 1:
        note = f"note: face {place.face} of {len(faces)} was taken, the largest is 1 (--face)."
    side = frame_side(transform)
    if side < 48:
        note += f"\nnote: the face is only {side:.0f} pixels wide; expect little of it."
    return transform, faces[place.face - 1], note.strip()
