"""What the app draws: faces, edits and decompositions, as 8-bit pictures. No interface here.

Every compiled program takes one face, so that each is compiled once, whatever is asked for.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

import facesem_jax
from experiments.app_session import Edit, Face
from experiments.decompose_command import face_row
from experiments.decomposition import decompose_faces
from experiments.edit_command import drawn_images
from experiments.localized_options import load_pair
from experiments.localized_results import Faces
from facesem_jax.checkpoint import checkpoint_digest
from facesem_jax.decomposer.crop import CropBox, crop_and_resize
from facesem_jax.decomposer.decomposer import Decomposer, Decomposition
from facesem_jax.decomposer.picture_points import canonical_point_of
from facesem_jax.errors import FacesemError
from facesem_jax.loading import resolve
from facesem_jax.semantics.acting import ActingComponent, components_at
from facesem_jax.semantics.direction_set import DirectionSet
from facesem_jax.viz.overlays import ground_picture, strip_difference
from facesem_jax.viz.pictures import enlarge, rgb
from facesem_jax.viz.sheets import depth_range, strip_sheet

_SHOWN = 384
"""Pixels per side that a smaller generator's face is enlarged to."""
_KEPT = 32


@dataclasses.dataclass(frozen=True, eq=False)
class AppModels:
    """What the app works with.

    Attributes:
      generator: The generator.
      decomposer: The decomposer.
      crop: From the generator's image to the decomposer's; ``None`` for none.
      directions: ``None`` where there are none: then nothing can be moved.
      digest: `checkpoint_digest` of the generator.
      name: The generator's name or directory.
      notes: What the user should know about these, in sentences.
    """

    generator: object
    decomposer: Decomposer
    crop: CropBox | None
    directions: DirectionSet | None
    digest: str
    name: str
    notes: tuple[str, ...] = ()

    @property
    def latent_shapes(self) -> tuple[tuple[int, int], ...]:
        """(rows, w_dim) of the latents that the generator takes."""
        config = self.generator.config
        layers = getattr(config, "num_layers", None)
        return ((1, config.w_dim), *(((layers, config.w_dim),) if layers else ()))

    @property
    def scale(self) -> int:
        """How many times a face is enlarged for the page; those beside it half as often."""
        return max(1, _SHOWN // self.generator.config.resolution)


def load_models(
    generator: str, decomposer: str, directions: str | None, crop: str | None
) -> AppModels:
    """Loads what the app works with.

    Args:
      generator: A bundled name or a directory.
      decomposer: The same of a decomposer.
      directions: As `load_directions` takes them; ``None`` for those beside the generator, where
        there are any.
      crop: As ``--crop`` of `experiments.localized`; ``None`` for what the generator says.

    Raises:
      FacesemError: If anything that was named cannot be loaded, or does not fit the rest.
    """
    made, taken, box = load_pair(generator, decomposer, crop)
    digest = checkpoint_digest(resolve(generator, "generator"))
    notes = []
    try:
        found = facesem_jax.load_directions(directions or generator)
    except FacesemError as error:
        if directions is not None:
            raise
        found = None
        notes.append(
            f"There are no directions for this generator, so nothing can be moved. {error}"
        )
    if found is not None:
        if found.w_dim != made.config.w_dim:
            raise FacesemError(
                f"the directions have w_dim {found.w_dim} and the generator "
                f"{made.config.w_dim}: they do not belong together."
            )
        if found.about.get("generator_digest") not in (None, digest):
            notes.append("The directions were found with other weights: amounts may mislead.")
    return AppModels(made, taken, box, found, digest, generator, tuple(notes))


class EditPictures(NamedTuple):
    """Three pictures of an edit; `after` is the larger one where they are enlarged.

    Attributes:
      before: The face.
      after: The edited face.
      difference: What the edit changes, over the pale face: red lighter, blue darker.
      limit: The change shown in full colour, as a share of the range from black to white.
    """

    before: UInt8[np.ndarray, "h w 3"]
    after: UInt8[np.ndarray, "h w 3"]
    difference: UInt8[np.ndarray, "h w 3"]
    limit: float


class Pictures:
    """Draws edits with one set of models; the last faces are kept."""

    def __init__(self, models: AppModels):
        """Draws nothing yet.

        Args:
          models: The models.
        """
        self.models = models
        self._before = functools.lru_cache(_KEPT)(self._before)
        self._after = functools.lru_cache(_KEPT)(self._after)

    def latent(self, edit: Edit) -> Float[np.ndarray, "1 *l d"]:
        """The edited latent, w or w_plus."""
        return self._moved(edit, 1.0)

    def edit(self, edit: Edit) -> EditPictures:
        """The face before and after, and the difference, enlarged for the page.

        Raises:
          FacesemError: If the edited face is not finite.
        """
        pair = np.stack([self._before(edit.face), self._after(edit)])[None]
        ground = ground_picture(pair[0, 0])[None]
        difference, limit = strip_difference(pair, np.array([0.0, 1.0]), ground)
        scale = self.models.scale
        # Beside the face, and smaller: packing the pictures takes longer than drawing them.
        beside = np.concatenate([rgb(pair[0, :1]), difference])
        before, changed = enlarge(beside, max(1, scale // 2), smooth=True)
        return EditPictures(before, enlarge(rgb(pair[0, 1]), scale, smooth=True), changed, limit)

    def picture(self, edit: Edit) -> UInt8[np.ndarray, "h w 3"]:
        """The edited face, pixel for pixel."""
        return rgb(self._after(edit))

    def frames(self, edit: Edit, count: int) -> UInt8[np.ndarray, "t h w 3"]:
        """The face on its way from before to after, in even steps, pixel for pixel."""
        return rgb(self._steps(edit, count))

    def strip(self, edit: Edit, count: int = 7) -> UInt8[np.ndarray, "h w 3"]:
        """The same in a row."""
        return strip_sheet(self._steps(edit, count)[None])

    def acting(self, edit: Edit, row: float, column: float) -> tuple[ActingComponent, ...]:
        """The components that act where the edited face shows a point.

        Args:
          edit: The edit.
          row: As a fraction of the picture's height, from its upper edge.
          column: As a fraction of its width, from its left edge.

        Returns:
          The components, the strongest first; none where the picture does not show the canonical
          face, or there are no directions.

        Raises:
          FacesemError: If the directions have no maps.
        """
        if self.models.directions is None or not self.models.directions.labels:
            return ()
        image = self._after(edit)
        point = np.array([row, column], np.float32) * image.shape[:2] - 0.5
        found, shown = canonical_point_of(
            self.models.decomposer,
            self._framed(image),
            jnp.asarray(point),
            self.models.crop,
            image.shape[:2],
        )
        if not shown:
            return ()
        maps = self.models.directions.maps
        size = self.models.decomposer.config.image_size
        # Maps of another size cover the same frame.
        factor = 1.0 if maps is None else maps.shape[1] / size
        return components_at(self.models.directions, (np.asarray(found) + 0.5) * factor - 0.5)

    def decomposed(self, edit: Edit) -> Faces:
        """The decomposition of the edited face."""
        return decompose_faces(self.models.decomposer, np.asarray(self._framed(self._after(edit))))

    def decomposition_row(self, faces: Faces) -> UInt8[np.ndarray, "6 h w 3"]:
        """The pictures of a decomposition, in the order of `DECOMPOSITION_ROWS`, enlarged."""
        size = self.models.decomposer.config.image_size
        row = face_row(faces, *depth_range(faces.depth))
        return enlarge(row, max(1, 192 // size), smooth=True)

    def rendered(
        self, faces: Faces, view: Float[np.ndarray, "3"], light: Float[np.ndarray, "4"]
    ) -> UInt8[np.ndarray, "h w 3"]:
        """A decomposed face under another view and light, drawn by the rasteriser, enlarged.

        Args:
          faces: One face.
          view: Pitch, yaw, roll in degrees; the head stays in the middle.
          light: Ambient, diffuse, direction x and y.
        """
        size = self.models.decomposer.config.image_size
        angles = np.radians(np.asarray(view, np.float32))
        view = np.concatenate([angles, np.zeros(3)]).astype(np.float32)[None]
        image = _render(
            self.models.decomposer,
            faces.depth,
            faces.albedo,
            view,
            np.asarray(light, np.float32)[None],
        )
        return enlarge(rgb(image)[0], max(1, _SHOWN // size), smooth=True)

    def _base(self, face: Face) -> Float[np.ndarray, "1 *l d"]:
        if face.latent is not None:
            return face.w
        generator = self.models.generator
        z = jax.random.normal(jax.random.key(face.seed), (1, generator.config.z_dim))
        return np.asarray(_map(generator.mapping, z, face.truncation))

    def _moved(self, edit: Edit, share: float) -> Float[np.ndarray, "1 *l d"]:
        w = self._base(edit.face)
        if not edit.amounts or share == 0:
            return w
        move = self.models.directions.move(dict(edit.amounts), decorrelated=edit.decorrelated)
        return (w + np.float32(share) * move).astype(np.float32)

    def _before(self, face: Face) -> Float[np.ndarray, "h w 3"]:
        return drawn_images(self.models.generator, self._base(face))[0]

    def _after(self, edit: Edit) -> Float[np.ndarray, "h w 3"]:
        if not edit.amounts:
            return self._before(edit.face)
        return drawn_images(self.models.generator, self._moved(edit, 1.0))[0]

    def _steps(self, edit: Edit, count: int) -> Float[np.ndarray, "t h w 3"]:
        shares = np.linspace(0, 1, count)
        return np.stack(
            [drawn_images(self.models.generator, self._moved(edit, s))[0] for s in shares]
        )

    def _framed(self, image: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "1 s s 3"]:
        size = self.models.decomposer.config.image_size
        box = self.models.crop or "identity"
        return _frame(jnp.asarray(image)[None], box, size)


@jax.jit
def _map(mapping, z, truncation):
    return mapping(z, truncation)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _frame(images, box, size):
    return crop_and_resize(images, box, size)


@jax.jit
def _render(decomposer, depth, albedo, view, light):
    parts = Decomposition(view, light, depth, albedo, None, None)
    return decomposer.render(parts, method="rasterizer")[0]
