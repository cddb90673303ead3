r"""Teaches a decomposer's reading of the view from views that are searched picture by picture.

    python -m experiments.search_views --directory runs/views --start runs/decomposer_nods

Twice over, the view of every face is searched from the network's own reading
(`facesem_jax.training.view_search`), and the network learns what was found. Depth, albedo, light
and confidence stay as they are. Resumes from the last checkpoint in the directory.
`facesem_jax.load_decomposer` reads the result.
"""

import dataclasses
import pathlib

from experiments.face_sources import face_set, stream_source
from experiments.option_checks import check_numbers
from experiments.output_files import make_directory
from experiments.pretrain_decomposer import load_any
from experiments.searched_views import ViewLearning, learn_views
from facesem_jax.checkpoint import Description, save_module
from facesem_jax.command_line import run_command
from facesem_jax.errors import FacesemError

#: Index of the latents that are searched: steps that no sensible training reaches.
_SEARCHED = 30_000_000


@dataclasses.dataclass(frozen=True)
class Options(ViewLearning):
    """Teaches a decomposer's reading of the view from views that are searched.

    Attributes:
      directory: Where checkpoints, sheets and the log go.
      output: Where the decomposer goes; must not exist yet. ``decomposer`` in the directory unless
        given.
      start: A decomposer: bundled name, directory, or run of `experiments.pretrain_decomposer`.
      faces: Faces of the stream whose views are searched.
    """

    directory: pathlib.Path = pathlib.Path("runs/views")
    output: pathlib.Path | None = None
    start: str = "digiface64"
    faces: int = 8000

    def __post_init__(self):
        """Refuses numbers that cannot be."""
        super().__post_init__()
        check_numbers(self, {"faces": 1})


def main(options: Options) -> None:
    """Searches and trains, or resumes, and writes the decomposer."""
    result = options.output or options.directory / "decomposer"
    if result.exists():
        raise FacesemError(f"{result} is there already; choose another directory or remove it.")
    make_directory(options.directory)
    decomposer = load_any(options.start)
    source = stream_source(options.seed, decomposer.config.image_size)
    faces = face_set(source, options.faces, _SEARCHED).images
    trained = learn_views(decomposer, faces, options, options.directory)
    words = f"views searched {options.rounds} times, from {options.start}"
    config = decomposer.config.to_dict()
    description = Description("unsup3d", config, None, f"facesem-jax, {words}")
    save_module(result, trained, description, dtype="float16")


if __name__ == "__main__":
    run_command(main, Options)
