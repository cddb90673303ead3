"""A photograph, edited: its face inverted, the latent moved, the change blended back."""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, UInt8
from rich.console import Console

from experiments.invert_command import (
    encoder_of,
    first_guess,
    mapped_prior,
    matching_encoder,
    run_inversion,
)
from experiments.localized_options import crop_of_pair
from experiments.localized_stages import synthesize
from experiments.photo_framing import FramedPhoto, Place, frame_photo, framing_of
from facesem_jax.alignment import add_back, paste_back
from facesem_jax.decomposer import Decomposer
from facesem_jax.decomposer.crop import CROPS, CropBox, crop_and_resize
from facesem_jax.errors import FacesemError
from facesem_jax.loading import load_decomposer
from facesem_jax.semantics.direction_set import DirectionSet
from facesem_jax.semantics.edit_mask import (
    canonical_support,
    face_mask,
    inside_mask,
    mask_in_frame,
    soft_mask,
    support_in_view,
)
from facesem_jax.semantics.inversion import Inversion, InversionSettings

POSE = ("pitch", "yaw", "roll")
BLENDS = ("auto", "add", "replace")


class InvertedPhoto(NamedTuple):
    """A photo whose face the generator draws.

    Attributes:
      framed: The photo and the frame around its face.
      inversion: Of the framed face.
    """

    framed: FramedPhoto
    inversion: Inversion


def invert_photo(
    name: str,
    generator,
    path: pathlib.Path,
    place: Place,
    space: str,
    settings: InversionSettings,
    console: Console,
) -> InvertedPhoto:
    """Frames and inverts the face of a photo.

    Args:
      name: The generator's name or directory.
      generator: The generator.
      path: The photo.
      place: Where in it the face is.
      space: "w" or "w_plus".
      settings: How it is inverted.
      console: Shows the progress.

    Raises:
      FacesemError: As `frame_photo`, `framing_of` and `run_inversion`.
    """
    framing = place.framing or (framing_of(name) if place.align else "digiface64")
    framed = frame_photo(path, generator.config.resolution, place, framing)
    prior, encoder = mapped_prior(generator, 0), matching_encoder(generator, encoder_of(name))
    start = first_guess(generator, encoder, framed.image, prior, space)
    found = run_inversion(generator, encoder, framed.image, start, prior, settings, console)
    return InvertedPhoto(framed, found)


def check_maps(directions: DirectionSet, decomposer) -> None:
    """Refuses directions whose components have no place in this decomposer's images.

    Raises:
      FacesemError: If the components' maps are missing or not of the decomposer's size.
    """
    if directions.maps is None:
        raise FacesemError(
            "these directions were exported without their maps, which say where in the photo a "
            "component acts; export them again without --no-maps."
        )
    size = decomposer.config.image_size
    if directions.maps.shape[1:3] != (size, size):
        raise FacesemError(
            f"the components' maps have {directions.maps.shape[1:3]} pixels and the decomposer "
            f"{size}: they do not belong together."
        )


def _whole_face(names: Sequence[str], directions: DirectionSet) -> bool:
    return any(name in directions.names for name in names)


class Reader(NamedTuple):
    """What says where in a photo components act.

    Attributes:
      decomposer: Finds depth and view of the face; ``None`` where the whole face is edited.
      crop: The part of the generator's image that it sees; ``None`` for all of it.
    """

    decomposer: Decomposer | None = None
    crop: CropBox | None = None


def mask_reader(
    name: str,
    generator,
    names: Sequence[str],
    directions: DirectionSet,
    decomposer: str,
    crop: str | None,
) -> Reader:
    """What the mask of an edit needs, checked before a photo is inverted for it.

    Args:
      name: The generator's name or directory.
      generator: The generator.
      names: The directions moved along.
      directions: They are among these.
      decomposer: Name or directory; loaded only where a component's place is wanted.
      crop: ``--crop``, or ``None`` for the generator's own.

    Raises:
      FacesemError: As `load_decomposer`, `check_maps` and `crop_of_pair`.
    """
    if _whole_face(names, directions):
        return Reader()
    loaded = load_decomposer(decomposer)
    check_maps(directions, loaded)
    return Reader(loaded, crop_of_pair(name, crop, generator, loaded))


def photo_mask(
    names: Sequence[str],
    directions: DirectionSet,
    image: Float[np.ndarray, "h w 3"],
    decomposer,
    crop: CropBox | None,
) -> Float[np.ndarray, "h w"]:
    """Where an edit of these directions acts on a framed face.

    Args:
      names: The directions moved along. Any global one takes the whole face.
      directions: They are among these.
      image: The framed face in [-1, 1].
      decomposer: Finds depth and view of the face; not used for global directions.
      crop: The part of the image that the decomposer sees; ``None`` for all of it.

    Raises:
      FacesemError: As `check_maps`.
    """
    if _whole_face(names, directions):
        return face_mask(image.shape[0])
    check_maps(directions, decomposer)
    size = decomposer.config.image_size
    box = CROPS["identity"] if crop is None else crop
    seen = crop_and_resize(image[None], box, size)
    depth, view = jax.jit(lambda d, x: (d.depth(x), d.view(x)))(decomposer, seen)
    maps = directions.maps[[directions.labels.index(name) for name in names]]
    support = support_in_view(canonical_support(maps), depth[0], view[0], decomposer.config)
    # Widths for 64 pixels, where a component's map ends a few pixels before its edit does.
    mask = soft_mask(support, 2 * size / 64, 8 * size / 64)
    return mask_in_frame(mask, box, image.shape[0])


def blend_of(names: Sequence[str], asked: str) -> str:
    """The blend: what was asked for, else "replace" where the pose moves and "add" elsewhere.

    A face that turns leaves its place: its change, added to a sharp photo, would show both. Light
    and parts stay in place, and the photo keeps its own detail.
    """
    if asked != "auto":
        return asked
    return "replace" if any(name in POSE for name in names) else "add"


def blend_edit(
    framed: FramedPhoto,
    inverted: Float[np.ndarray, "h w 3"],
    edited: Float[np.ndarray, "h w 3"],
    mask: Float[np.ndarray, "h w"],
    blend: str,
) -> UInt8[np.ndarray, "H W 3"]:
    """The whole photo with an edited face.

    Args:
      framed: The photo.
      inverted: The generator's face of it, in [-1, 1].
      edited: The same face, edited.
      mask: Where the edit acts, in the frame; kept within the face where its landmarks are known.
      blend: "add" for photo + mask (edited - inverted), "replace" for photo + mask (edited -
        photo).
    """
    if framed.landmarks is not None:
        mask = mask * inside_mask(framed.landmarks, len(mask), len(mask) / 16)
    if blend == "add":
        return add_back(framed.photo, edited - inverted, framed.transform, mask)
    return paste_back(framed.photo, edited, framed.transform, mask)


def edit_photo(
    generator,
    photo: InvertedPhoto,
    move: Float[np.ndarray, " d"],
    names: Sequence[str],
    directions: DirectionSet,
    reader: Reader,
    blend: str = "auto",
) -> UInt8[np.ndarray, "H W 3"]:
    """The whole photo, its face moved along directions.

    Args:
      generator: The generator.
      photo: Its face, inverted.
      move: Of w, or of every row of a w_plus.
      names: The directions that make it up.
      directions: They are among these.
      reader: From `mask_reader`.
      blend: One of `BLENDS`.

    Raises:
      FacesemError: As `photo_mask`, or if the edited face is not finite.
    """
    mask = photo_mask(names, directions, photo.framed.image, *reader)
    edited = synthesize(generator, (photo.inversion.w + move).astype(np.float32))[0]
    if not np.isfinite(edited).all():
        raise FacesemError("the edited face is not finite: choose smaller amounts.")
    inverted = photo.inversion.images[0]
    edited = np.clip(edited, -1, 1)
    return blend_edit(photo.framed, inverted, edited, mask, blend_of(names, blend))
