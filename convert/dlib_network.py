"""Reads dlib's face-recognition network from the package ``face_recognition_models``."""

import importlib.util
import pathlib
import re

import jax.numpy as jnp
import numpy as np

from facesem_jax.errors import FacesemError
from facesem_jax.metrics.face_network import FaceNetwork, Layer, face_network, layer_shapes

INSTALL = "python -m pip install --no-deps face_recognition_models==0.3.0"
_FILE = "dlib_face_recognition_resnet_model_v1.dat"
# A string is its length, packed, and its characters; every kind of layer names itself so.
_NAMES = re.compile(rb"\x01\x05con_4|\x01\x07affine_|\x01\x04fc_2")


def network_path() -> pathlib.Path | None:
    """The file in the installed package, or ``None`` without the package."""
    # Found by its file: importing the package needs setuptools' pkg_resources.
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None or not spec.origin:
        return None
    return pathlib.Path(spec.origin).parent / "models" / _FILE


def load_face_network(path: pathlib.Path | None = None) -> FaceNetwork:
    """Reads the network, each affine layer folded into the convolution before it.

    dlib writes the layers in the order of computation. Of each only the array of its parameters is
    read: a convolution's filters (out, in, rows, columns) and then its biases, an affine layer's
    factors and then its offsets, the last layer's matrix (in, out).

    Args:
      path: The file; ``None`` takes the one in the installed package.

    Raises:
      FacesemError: If the package is not installed, or the file is not the expected one.
    """
    path = path or network_path()
    if path is None:
        raise FacesemError(f"The face network needs a package: {INSTALL}")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FacesemError(f"{path} cannot be read ({error.strerror}).") from error
    arrays = {"con": [], "affine": [], "fc": []}
    try:
        for match in _NAMES.finditer(data):
            kind = match.group()[2:].split(b"_")[0].decode()
            at = match.end()
            if kind == "fc":  # The numbers of outputs and inputs come first.
                for _ in range(2):
                    _, at = _integer(data, at)
            arrays[kind].append(_array(data, at))
    except (IndexError, ValueError) as error:
        raise FacesemError(f"{path} is no network that dlib wrote ({error}).") from error
    shapes = layer_shapes()
    sizes = [s * s * i * o + o for s, i, o in shapes]
    expected = {"con": sizes, "affine": [2 * o for *_, o in shapes], "fc": [256 * 128]}
    if {kind: [a.size for a in found] for kind, found in arrays.items()} != expected:
        raise FacesemError(f"{path} is not dlib's face-recognition network.")
    layers = [_folded(*pair) for pair in zip(shapes, arrays["con"], arrays["affine"], strict=True)]
    return face_network(layers, jnp.asarray(arrays["fc"][0].reshape(256, 128)))


def _folded(shape: tuple[int, int, int], con: np.ndarray, affine: np.ndarray) -> Layer:
    side, inputs, outputs = shape
    factor, offset = np.split(affine, 2)
    kernel = con[:-outputs].reshape(outputs, inputs, side, side).transpose(2, 3, 1, 0)
    return Layer(jnp.asarray(kernel * factor), jnp.asarray(con[-outputs:] * factor + offset))


def _integer(data: bytes, at: int) -> tuple[int, int]:
    """A packed integer (a byte with its length, then its bytes) and where the next thing begins."""
    length = data[at] & 0x0F
    return int.from_bytes(data[at + 1 : at + 1 + length], "little"), at + 1 + length


def _array(data: bytes, at: int) -> np.ndarray:
    version, at = _integer(data, at)
    if version != 2:
        raise ValueError(f"an array of version {version}")
    count = 1
    for _ in range(4):
        size, at = _integer(data, at)
        count *= size
    return np.frombuffer(data, "<f4", count, at)
