"""What `experiments.localized` found, as plain arrays: what its files and its page are made of."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float


@dataclasses.dataclass(frozen=True)
class Faces:
    """Sample faces and their decomposition; all pictures in [-1, 1] unless said otherwise.

    Attributes:
      images: What the decomposer saw.
      reconstruction: Rendered from the decomposition.
      albedo: Canonical albedo.
      depth: Canonical depth, scene units (smaller is nearer).
      normals: Unit normals of the depth, z away from the camera.
      canonical: The shaded canonical face.
      view: (pitch, yaw, roll) in degrees.
      light: (ambient, diffuse, d_x, d_y).
    """

    images: Float[np.ndarray, "m h w 3"]
    reconstruction: Float[np.ndarray, "m h w 3"]
    albedo: Float[np.ndarray, "m h w 3"]
    depth: Float[np.ndarray, "m h w"]
    normals: Float[np.ndarray, "m h w 3"]
    canonical: Float[np.ndarray, "m h w 3"]
    view: Float[np.ndarray, "m 3"]
    light: Float[np.ndarray, "m 4"]


@dataclasses.dataclass(frozen=True)
class Strip:
    """Faces moved along one direction.

    Attributes:
      name: A global semantic ("yaw") or a component's label ("mouth-1").
      unit: Unit of the amounts: "degrees", "1", or "w" for a distance in W.
      amounts: How far, in that unit; contains 0.
      images: In [-1, 1], faces by amounts.
      measured: For a global semantic, the mean change of the decomposed value at every amount, in
        its unit; ``None`` for a component.
    """

    name: str
    unit: str
    amounts: Float[np.ndarray, " t"]
    images: Float[np.ndarray, "m t h w 3"]
    measured: Float[np.ndarray, " t"] | None = None


@dataclasses.dataclass(frozen=True)
class ComponentTable:
    """The local components, ordered by explained variance, dead ones last.

    Attributes:
      U: Maps: albedo RGB then depth, in the units of the factorisation (0 where masked).
      V: Unit directions in the rows.
      labels: Command-line names, such as "left-eye-1".
      regions: Region names, such as "left eye"; "dead" for a map that is zero.
      confidence: Share of each map's energy in its region.
      shares: Explained variance lost when the component alone is removed.
      effective_area: Participation ratio of the map, share of the frame.
      edit_locality: Share of an edit's change, in energy, inside the component's own support.
      support_area: Share of the unmasked frame that the support covers (what a change spread
        evenly would score as locality).
      view_leakage_degrees: Mean absolute change of the view angles under an edit of two standard
        deviations of W along the direction, half of the strip's largest.
      light_leakage: The same of the four light values.
      live: Whether the map has any non-zero entry.
    """

    U: Float[np.ndarray, "P h w 4"]
    V: Float[np.ndarray, "P d"]
    labels: list[str]
    regions: list[str]
    confidence: Float[np.ndarray, " P"]
    shares: Float[np.ndarray, " P"]
    effective_area: Float[np.ndarray, " P"]
    edit_locality: Float[np.ndarray, " P"]
    support_area: Float[np.ndarray, " P"]
    view_leakage_degrees: Float[np.ndarray, " P"]
    light_leakage: Float[np.ndarray, " P"]
    live: Bool[np.ndarray, " P"]


@dataclasses.dataclass(frozen=True)
class LocalizedResults:
    """All that the page shows.

    Attributes:
      metrics: The contents of ``metrics.json``.
      samples: Uncurated generated faces in [-1, 1], at the generator's own size.
      faces: A few faces with their decomposition.
      mean_albedo: Mean canonical albedo in [-1, 1], the ground on which maps are drawn.
      environment: One strip per global semantic.
      components: The local components.
      strips: One strip per shown component, in the components' order.
      distances: Cosine distances 1 - |cos| of the live components' directions.
      order: Clustered order of the live components.
      objective: Objective after every accepted iteration.
    """

    metrics: dict
    samples: Float[np.ndarray, "s H W 3"]
    faces: Faces
    mean_albedo: Float[np.ndarray, "h w 3"]
    environment: list[Strip]
    components: ComponentTable
    strips: list[Strip]
    distances: Float[np.ndarray, "L L"]
    order: np.ndarray
    objective: Float[np.ndarray, " iterations"]
