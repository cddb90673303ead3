"""Sheets of the bundled pair, to be looked at: samples, their decomposition, the components.

python -m experiments.sheets --directions digiface64 --output outputs/sheets
"""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

import facesem_jax
from experiments.decomposition import decompose_faces, faces_sheet
from experiments.localized_options import load_pair
from experiments.option_checks import check_truncation
from experiments.output_directory import OutputDirectory
from facesem_jax.checks import check_seed
from facesem_jax.command_line import run_command
from facesem_jax.decomposer.crop import crop_and_resize
from facesem_jax.errors import FacesemError
from facesem_jax.semantics.direction_set import DirectionSet
from facesem_jax.viz.component_figure import component_figure
from facesem_jax.viz.png import figure_png, picture_png
from facesem_jax.viz.sheets import depth_range, sample_sheet

FILES = ("samples.png", "decomposition.png", "components.png")


@dataclasses.dataclass(frozen=True)
class Options:
    """Draws the sheets of a pair.

    Attributes:
      generator: A bundled name, or a directory.
      decomposer: A bundled name, or a directory.
      truncation_psi: Truncation of w, 1 for none.
      seed: Seeds the latents; nothing is picked by hand.
      directions: Also draw these components: a bundled name, a directory that
        `experiments.localized` wrote, or a file of `facesem directions export`.
      output: Directory for ``samples.png`` (10 x 10), ``decomposition.png`` (10 faces) and
        ``components.png``.
    """

    generator: str = "digiface64"
    decomposer: str = "digiface64"
    truncation_psi: float = 1.0
    seed: int = 0
    directions: str | None = None
    output: pathlib.Path = pathlib.Path("outputs/sheets")


def main(options: Options) -> None:
    """Draws and writes.

    Raises:
      FacesemError: If the directions' maps are missing, or not of the decomposer's size.
    """
    check_seed(options.seed)
    check_truncation(options.truncation_psi)
    directions = None if options.directions is None else _with_maps(options.directions)
    generator, decomposer, crop = load_pair(options.generator, options.decomposer)
    z = jax.random.normal(jax.random.key(options.seed), (100, generator.config.z_dim))
    images = jax.jit(lambda g, z: g(z, options.truncation_psi))(generator, z)
    framed = jnp.clip(images[:10], -1, 1)
    if crop is not None:
        framed = crop_and_resize(framed, crop, decomposer.config.image_size)
    faces = decompose_faces(decomposer, np.asarray(framed))
    drawn = {"samples.png": picture_png(sample_sheet(np.asarray(images), 10))}
    near, far = depth_range(faces.depth)
    drawn["decomposition.png"] = picture_png(faces_sheet(faces, near, far))
    if directions is not None:
        sheet = component_figure(directions.maps, directions.labels, faces.albedo.mean(axis=0))
        drawn["components.png"] = figure_png(sheet, 96, transparent=False)
    with OutputDirectory(options.output, FILES) as output:
        for name, png in drawn.items():
            (output / name).write_bytes(png)
    print(f"{options.output}: {', '.join(drawn)}; depth white at {near:.2f}, black at {far:.2f}")


def _with_maps(name: str) -> DirectionSet:
    directions = facesem_jax.load_directions(name)
    if directions.maps is None:
        raise FacesemError(f"the directions {name!r} were exported without their maps.")
    return directions


if __name__ == "__main__":
    run_command(main, Options)
