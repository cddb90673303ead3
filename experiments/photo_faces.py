"""Faces in photographs of any size: where they are, and the points that alignment needs."""

import importlib.util
import warnings

import numpy as np
from jaxtyping import Float, UInt8

from experiments.landmarks import NUM_LANDMARKS, find_landmarks, to_frame
from experiments.native_log import without_native_log
from facesem_jax.alignment import align_face, box_transform
from facesem_jax.errors import FacesemError

INSTALL = "python -m pip install 'facesem-jax[photos]'"

# Indices of MediaPipe Face Mesh; left and right are those of the image. An eye is the mean of its
# corners and the middles of its lids: the iris moves, this hardly does.
_EYES = ((33, 133, 159, 145), (362, 263, 386, 374))
_NOSE, _MOUTH = 1, (61, 291)

# The mesh sees a face of a fifth of the picture or more; so it gets the detector's box, enlarged.
_BOX_FACTOR, _BOX_SIDE = 2.0, 512
_CONFIDENCE = 0.5


def available() -> bool:
    """Whether the landmark model's package is installed."""
    return importlib.util.find_spec("mediapipe") is not None


def face_points(landmarks: Float[np.ndarray, "n 468 d"]) -> Float[np.ndarray, "n 5 2"]:
    """The points of `facesem_jax.alignment.POINT_NAMES` from a face mesh.

    Args:
      landmarks: x right, y down, in any unit; further columns are left aside.
    """
    mesh = np.asarray(landmarks, np.float64)[..., :2]
    eyes = [mesh[:, list(eye)].mean(axis=1) for eye in _EYES]
    return np.stack([*eyes, mesh[:, _NOSE], *(mesh[:, i] for i in _MOUTH)], axis=1)


def find_faces(photo: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "n 468 2"]:
    """Landmarks of all faces in a photo, the largest face first.

    MediaPipe's full-range detector finds the faces (its short-range one where that finds none);
    Face Mesh gets a square of twice the box around each.

    Args:
      photo: RGB, 8 bit.

    Returns:
      In pixels of the photo, x right and y down; none where no face was found.

    Raises:
      FacesemError: If mediapipe is not installed.
    """
    if not available():
        raise FacesemError(f"To find faces, the package mediapipe is needed: {INSTALL}")
    from mediapipe.python.solutions.face_detection import FaceDetection
    from mediapipe.python.solutions.face_mesh import FaceMesh

    height, width = photo.shape[:2]
    found = []
    with without_native_log(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="SymbolDatabase", module="google.protobuf")
        for model in (1, 0):
            with FaceDetection(_CONFIDENCE, model_selection=model) as detector:
                detections = detector.process(np.ascontiguousarray(photo)).detections or ()
            if detections:
                break
        with FaceMesh(static_image_mode=True, min_detection_confidence=0.3) as mesh:
            for detection in detections:
                box = detection.location_data.relative_bounding_box
                centre = (
                    (box.xmin + box.width / 2) * width,
                    (box.ymin + box.height / 2) * height,
                )
                side = _BOX_FACTOR * max(box.width * width, box.height * height)
                points = _mesh_in_box(mesh, photo, centre, side)
                if points is not None:
                    found.append(points)
    found.sort(key=lambda points: -np.ptp(points, axis=0).prod())
    return np.array(found).reshape(-1, NUM_LANDMARKS, 2)


def _mesh_in_box(mesh, photo, centre, side: float):
    left, top = centre[0] - side / 2, centre[1] - side / 2
    square = align_face(photo, box_transform(top, left, side), _BOX_SIDE)
    pixels = np.ascontiguousarray(np.round((square + 1) * 127.5).astype(np.uint8))
    faces = mesh.process(pixels).multi_face_landmarks
    if not faces:
        return None
    return np.array([(left + side * p.x, top + side * p.y) for p in faces[0].landmark])


def reference_points(images: Float[np.ndarray, "n h w 3"]) -> Float[np.ndarray, "5 2"]:
    """Mean points of a generator's own faces and their mirror images, in fractions of its frame.

    Args:
      images: Square, in [-1, 1]; those in which no face is found are left aside.

    Raises:
      FacesemError: As `find_landmarks`, or if no face was found in any.
    """
    landmarks = find_landmarks(images)
    found = landmarks[np.isfinite(landmarks).all((1, 2))]
    if len(found) == 0:
        raise FacesemError("no face was found in the generator's images.")
    points = face_points(to_frame(found)).mean(axis=0)
    mirrored = points[[1, 0, 2, 4, 3]] * [-1, 1] + [1, 0]
    return (points + mirrored) / 2
