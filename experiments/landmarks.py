"""Pose and expression of a face by an independent model: MediaPipe Face Mesh's landmarks.

MediaPipe (0.10.14) was trained on labelled photographs and knows nothing of the decomposer, so
where both agree, the decomposer has found the pose. Its landmarks are x to the right, y down and z
away from the camera in one common unit: the axes of `facesem_jax.decomposer.camera`. The angles
here are those of its R = R_z(roll) R_y(yaw) R_x(pitch), with the same signs:

- positive yaw turns the nose to the left of the image: the canonical nose (0, 0, -1) moves to
  (-sin yaw, 0, -cos yaw), and the cheek on the right of the image comes nearer;
- positive pitch lowers the nose (the face looks down): the nose moves to
  (0, sin pitch, -cos pitch), and the chin recedes;
- positive roll turns the face clockwise as one sees the image: the right side goes down.

Zero pitch is only a convention: here the line from forehead to chin is parallel to the image, in
the decomposer the canonical frame says. Compare pitch up to an offset.
"""

import importlib.util
import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from experiments.native_log import without_native_log
from facesem_jax.checks import check_images, check_shape
from facesem_jax.errors import FacesemError
from facesem_jax.viz.pictures import rgb

NUM_LANDMARKS = 468
# Left and right are those of the image, not of the person.
_LEFT_CHEEK, _RIGHT_CHEEK = 234, 454
_FOREHEAD, _CHIN = 10, 152
_UPPER_LIP, _LOWER_LIP = 13, 14
_UPPER_LIDS, _LOWER_LIDS = (159, 386), (145, 374)
_BROWS = (105, 334)  # Their middles, over the lids of the same eye.

# Measured on 300 faces of the stream, against the same faces with their surroundings (the DCGAN's
# whole frame): padded by repeating the edge, yaw has slope 1.02 and correlation 0.992; padded with
# one colour 0.75 to 0.79 and 0.975 to 0.985, as the mesh takes the frame for the face's outline.
# The confidence of 0.3 finds 94 % of the faces in place of 89 % at 0.5, as accurately.
_SIZE, _PADDING = 256, 64
_CONFIDENCE = 0.3


class Angles(NamedTuple):
    """Angles of a head in degrees, with the signs of the decomposer's view.

    Attributes:
      pitch: Positive where the face looks down.
      yaw: Positive where the nose points to the left of the image.
      roll: Positive where the head leans clockwise in the image.
    """

    pitch: Float[np.ndarray, " n"]
    yaw: Float[np.ndarray, " n"]
    roll: Float[np.ndarray, " n"]


def head_angles(landmarks: Float[np.ndarray, "n 468 3"]) -> Angles:
    """The rotation that carries the frontal head's axes to those of the landmarks.

    The head's x axis runs from the left to the right cheek, its y axis from forehead to chin (what
    of it is perpendicular to x). Of R's entries, R[2, 0] = -sin yaw; R[1, 0] / R[0, 0] = tan roll;
    R[2, 1] / R[2, 2] = tan pitch.

    Args:
      landmarks: x to the right, y down, z away from the camera, in any common unit.

    Returns:
      The angles in degrees; NaN where landmarks are NaN or coincide.

    Raises:
      FacesemError: If the landmarks have a wrong shape.
    """
    points = _checked(landmarks)
    x = _unit(points[:, _RIGHT_CHEEK] - points[:, _LEFT_CHEEK])
    down = points[:, _CHIN] - points[:, _FOREHEAD]
    y = _unit(down - np.sum(down * x, axis=-1, keepdims=True) * x)
    z = np.cross(x, y)
    return Angles(
        pitch=np.degrees(np.arctan2(y[:, 2], z[:, 2])),
        yaw=np.degrees(np.arcsin(np.clip(-x[:, 2], -1, 1))),
        roll=np.degrees(np.arctan2(x[:, 1], x[:, 0])),
    )


def mouth_opening(landmarks: Float[np.ndarray, "n 468 3"]) -> Float[np.ndarray, " n"]:
    """Gap between the inner lips, as a share of the distance from forehead to chin.

    Args:
      landmarks: In any common unit.

    Returns:
      About 0 for a closed mouth, some 0.2 for a wide open one; NaN where landmarks are NaN.

    Raises:
      FacesemError: If the landmarks have a wrong shape.
    """
    points = _checked(landmarks)
    return _distance(points, _UPPER_LIP, _LOWER_LIP) / _face_height(points)


def eye_opening(landmarks: Float[np.ndarray, "n 468 3"]) -> Float[np.ndarray, " n"]:
    """Gap between the lids, mean of both eyes, as a share of the distance from forehead to chin.

    Args:
      landmarks: In any common unit.

    Returns:
      About 0 for closed eyes; NaN where landmarks are NaN.

    Raises:
      FacesemError: If the landmarks have a wrong shape.
    """
    points = _checked(landmarks)
    pairs = zip(_UPPER_LIDS, _LOWER_LIDS, strict=True)
    return np.mean([_distance(points, *pair) for pair in pairs], axis=0) / _face_height(points)


def brow_height(landmarks: Float[np.ndarray, "n 468 3"]) -> Float[np.ndarray, " n"]:
    """From the upper lid to the brow, mean of both sides, as a share of the face's height.

    Args:
      landmarks: In any common unit.

    Returns:
      Some 0.1 to 0.2; NaN where landmarks are NaN.

    Raises:
      FacesemError: If the landmarks have a wrong shape.
    """
    points = _checked(landmarks)
    pairs = zip(_BROWS, _UPPER_LIDS, strict=True)
    return np.mean([_distance(points, *pair) for pair in pairs], axis=0) / _face_height(points)


def find_landmarks(images: Float[np.ndarray, "n h w 3"]) -> Float[np.ndarray, "n 468 3"]:
    """Runs MediaPipe Face Mesh on every image by itself (no tracking).

    Args:
      images: RGB in [-1, 1], square, one face each that may fill the frame: it is enlarged to 256
        pixels and padded by 64, since the detector expects some surroundings.

    Returns:
      Landmarks in units of the padded frame's width, x right, y down, z away from the camera (from
      the head's middle); NaN where no face was found.

    Raises:
      FacesemError: If the images are wrong, or mediapipe is not installed.
    """
    check_images("images", images)
    landmarks = np.full((len(images), NUM_LANDMARKS, 3), np.nan, np.float32)
    with warnings.catch_warnings(), _face_mesh() as mesh:
        warnings.filterwarnings("ignore", message="SymbolDatabase", module="google.protobuf")
        for i, image in enumerate(images):
            faces = mesh.process(_prepared(image)).multi_face_landmarks
            if faces:
                landmarks[i] = [(p.x, p.y, p.z) for p in faces[0].landmark]
    return landmarks


def to_frame(landmarks: Float[np.ndarray, "n 468 3"]) -> Float[np.ndarray, "n 468 3"]:
    """Landmarks of `find_landmarks` in fractions of the image itself, without its padding."""
    padded = np.asarray(landmarks, np.float64) * (_SIZE + 2 * _PADDING)
    return (padded - [_PADDING, _PADDING, 0]) / _SIZE


def landmark_measurements(images: Float[np.ndarray, "n h w 3"]) -> dict[str, np.ndarray]:
    """What the landmarks say about each face.

    Args:
      images: As for `find_landmarks`.

    Returns:
      Arrays (n,): ``found`` (bool); ``pitch``, ``yaw``, ``roll`` in degrees, signs as in `Angles`;
      ``mouth_opening``, ``eye_opening`` and ``brow_height`` as shares of the face's height. All
      but ``found`` are NaN where no face was found.

    Raises:
      FacesemError: If the images are wrong, or mediapipe is not installed.
    """
    landmarks = find_landmarks(images)
    found: Bool[np.ndarray, " n"] = np.isfinite(landmarks).all((1, 2))
    return {
        "found": found,
        **head_angles(landmarks)._asdict(),
        "mouth_opening": mouth_opening(landmarks),
        "eye_opening": eye_opening(landmarks),
        "brow_height": brow_height(landmarks),
    }


def installed() -> bool:
    """Whether MediaPipe is there."""
    return importlib.util.find_spec("mediapipe") is not None


def check_installed() -> None:
    """Raises unless MediaPipe is there, before faces are drawn for it."""
    if not installed():
        raise FacesemError(
            "The landmarks need the package mediapipe: python -m pip install mediapipe==0.10.14"
        )


def _face_mesh():
    check_installed()
    from mediapipe.python.solutions.face_mesh import FaceMesh

    # Its C++ side logs as it starts, which is with its first picture.
    with without_native_log():
        mesh = FaceMesh(
            static_image_mode=True, max_num_faces=1, min_detection_confidence=_CONFIDENCE
        )
        mesh.process(np.zeros((_SIZE, _SIZE, 3), np.uint8))
    return mesh


def _prepared(image) -> UInt8[np.ndarray, "h w 3"]:
    from PIL import Image

    large = Image.fromarray(rgb(image)).resize((_SIZE, _SIZE), Image.Resampling.BICUBIC)
    pad = ((_PADDING, _PADDING), (_PADDING, _PADDING), (0, 0))
    return np.ascontiguousarray(np.pad(np.asarray(large), pad, mode="edge"))


def _checked(landmarks) -> Float[np.ndarray, "n 468 3"]:
    points = np.asarray(landmarks, np.float64)
    check_shape("landmarks", points, (None, NUM_LANDMARKS, 3))
    return points


def _unit(vectors):
    norm = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(norm > 0, norm, np.nan)


def _distance(points, a: int, b: int):
    return np.linalg.norm(points[:, a] - points[:, b], axis=-1)


def _face_height(points):
    height = _distance(points, _FOREHEAD, _CHIN)
    return np.where(height > 0, height, np.nan)
