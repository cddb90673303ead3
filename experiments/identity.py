"""How much a face's identity changed, by an independent face embedding: dlib's.

The network (dlib_face_recognition_resnet_model_v1, a ResNet trained on photographs; 128 numbers per
face, distances above about 0.6 are taken for different persons) ships in the package
``face_recognition_models``, its runtime in ``dlib-bin``. It expects the face to fill the picture,
as this library's crops do; no detector is run.
"""

import importlib.util
import pathlib

import numpy as np
from jaxtyping import Float

from facesem_jax.checks import check_images
from facesem_jax.errors import FacesemError
from facesem_jax.viz.pictures import rgb

INSTALL = "python -m pip install --no-deps dlib-bin==20.0.1.post1 face_recognition_models==0.3.0"
_SIZE = 150
_MODEL = "dlib_face_recognition_resnet_model_v1.dat"


def available() -> bool:
    """Whether both packages are installed."""
    return all(importlib.util.find_spec(n) is not None for n in ("dlib", "face_recognition_models"))


def face_embeddings(images: Float[np.ndarray, "n h w 3"]) -> Float[np.ndarray, "n 128"]:
    """Embeddings of faces.

    Args:
      images: RGB in [-1, 1], one face each that fills the frame.

    Returns:
      One row per face.

    Raises:
      FacesemError: If the images are wrong, or the packages are not installed.
    """
    check_images("images", images)
    if not available():
        raise FacesemError(f"The face embedding needs two packages: {INSTALL}")
    import dlib
    from PIL import Image

    # Found by its file: importing the package needs setuptools' pkg_resources.
    package = pathlib.Path(importlib.util.find_spec("face_recognition_models").origin).parent
    network = dlib.face_recognition_model_v1(str(package / "models" / _MODEL))
    pictures = [
        np.asarray(Image.fromarray(image).resize((_SIZE, _SIZE), Image.Resampling.BICUBIC))
        for image in rgb(images)
    ]
    if not pictures:
        return np.zeros((0, 128))
    return np.array(network.compute_face_descriptor(pictures), np.float64)
