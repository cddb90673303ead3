"""Sheets of the bundled pair, to be looked at: uncurated samples, and their decomposition.

python -m experiments.sheets --output outputs/sheets
"""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

import facesem_jax
from experiments.decomposition import decompose_faces, faces_sheet
from experiments.localized_options import crop_of_pair
from experiments.output_directory import OutputDirectory
from facesem_jax.command_line import run_command
from facesem_jax.decomposer.crop import crop_and_resize
from facesem_jax.viz.png import picture_png
from facesem_jax.viz.sheets import depth_range, sample_sheet

FILES = ("samples.png", "decomposition.png")


@dataclasses.dataclass(frozen=True)
class Options:
    """Draws the sheets of a pair.

    Attributes:
      generator: A bundled name, or a directory.
      decomposer: A bundled name, or a directory.
      truncation_psi: Truncation of w, 1 for none.
      seed: Seeds the latents; nothing is picked by hand.
      output: Directory for ``samples.png`` (10 x 10) and ``decomposition.png`` (10 faces).
    """

    generator: str = "digiface64"
    decomposer: str = "digiface64"
    truncation_psi: float = 1.0
    seed: int = 0
    output: pathlib.Path = pathlib.Path("outputs/sheets")


def main(options: Options) -> None:
    """Draws and writes."""
    generator = facesem_jax.load_generator(options.generator)
    decomposer = facesem_jax.load_decomposer(options.decomposer)
    crop = crop_of_pair(options.generator, None, generator, decomposer)
    z = jax.random.normal(jax.random.key(options.seed), (100, generator.config.z_dim))
    images = jax.jit(lambda g, z: g(z, options.truncation_psi))(generator, z)
    framed = jnp.clip(images[:10], -1, 1)
    if crop is not None:
        framed = crop_and_resize(framed, crop, decomposer.config.image_size)
    faces = decompose_faces(decomposer, np.asarray(framed))
    near, far = depth_range(faces.depth)
    sheet = faces_sheet(faces, near, far)
    with OutputDirectory(options.output, FILES) as output:
        (output / "samples.png").write_bytes(picture_png(sample_sheet(np.asarray(images), 10)))
        (output / "decomposition.png").write_bytes(picture_png(sheet))
    print(f"{options.output}: {', '.join(FILES)}; depth white at {near:.2f}, black at {far:.2f}")


if __name__ == "__main__":
    run_command(main, Options)
