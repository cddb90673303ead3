import importlib.util

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import landmarks
from facesem_jax.decomposer.camera import rotation_matrix, to_view
from facesem_jax.errors import FacesemError

NOSE = 1


def frontal_head() -> np.ndarray:
    """Landmarks (468, 3) of a head that looks at the camera: x right, y down, z away."""
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (landmarks.NUM_LANDMARKS, 3))
    points[234], points[454] = (-0.5, 0.0, 0.2), (0.5, 0.0, 0.2)  # cheeks
    points[10], points[152] = (0.0, -0.7, 0.05), (0.0, 0.6, 0.05)  # forehead, chin
    points[13], points[14] = (0.0, 0.30, -0.1), (0.0, 0.43, -0.1)  # inner lips
    points[NOSE] = (0.0, 0.0, -0.5)
    points[159], points[145] = (-0.2, -0.20, 0.0), (-0.2, -0.135, 0.0)  # lids
    points[386], points[374] = (0.2, -0.20, 0.0), (0.2, -0.07, 0.0)
    return points


def turned(pitch=0.0, yaw=0.0, roll=0.0) -> np.ndarray:
    """The head under the decomposer's rotation, angles in degrees."""
    rotation = np.asarray(rotation_matrix(jnp.radians(jnp.array([pitch, yaw, roll]))), np.float64)
    return (frontal_head() @ rotation.T)[None]


def test_a_frontal_head_has_zero_angles():
    np.testing.assert_allclose(landmarks.head_angles(frontal_head()[None]), 0, atol=1e-9)


def test_angles_are_those_of_the_decomposers_rotation():
    rng = np.random.default_rng(1)
    angles = rng.uniform(-1, 1, (20, 3)) * [40, 60, 30]
    heads = np.concatenate([turned(*a) for a in angles])
    found = landmarks.head_angles(heads)
    np.testing.assert_allclose(np.stack(found, -1), angles, atol=1e-3)


def test_angles_do_not_depend_on_place_and_size():
    head = turned(10, -25, 5)
    np.testing.assert_allclose(
        landmarks.head_angles(0.3 * head + [0.5, 0.4, 2.0]), landmarks.head_angles(head), atol=1e-9
    )


@pytest.mark.parametrize(
    ("name", "index", "axis", "moves"),
    [
        ("yaw", NOSE, 0, -1),  # The nose goes to the left of the image.
        ("yaw", 454, 2, -1),  # The cheek on the right of the image comes nearer.
        ("pitch", NOSE, 1, +1),  # The nose goes down.
        ("pitch", 152, 2, +1),  # The chin recedes.
        ("roll", 454, 1, +1),  # The right side goes down: clockwise.
    ],
)
def test_what_a_positive_angle_does_in_the_image(name, index, axis, moves):
    head = turned(**{name: 20.0})
    assert getattr(landmarks.head_angles(head), name)[0] > 15
    shift = head[0, index, axis] - frontal_head()[index, axis]
    assert np.sign(shift) == moves
    # The camera's own transform moves the point the same way.
    canonical = jnp.asarray(frontal_head() * 0.1 + [0, 0, 1.0])
    view = np.zeros((1, 6), np.float32)
    view[0, ["pitch", "yaw", "roll"].index(name)] = np.radians(20)
    seen = to_view(tuple(canonical.T[:, None]), jnp.asarray(view), 1.0)
    assert np.sign(float(seen[axis][0, index] - canonical[index, axis])) == moves


def test_a_mirrored_head_has_the_opposite_yaw_and_roll():
    head = turned(12, 25, -7)
    mirrored = head * [-1, 1, 1]
    mirrored[:, [234, 454]] = mirrored[:, [454, 234]]
    angles, found = landmarks.head_angles(head), landmarks.head_angles(mirrored)
    np.testing.assert_allclose(found.yaw, -angles.yaw, atol=1e-6)
    np.testing.assert_allclose(found.roll, -angles.roll, atol=1e-6)
    np.testing.assert_allclose(found.pitch, angles.pitch, atol=1e-6)


def test_openings_are_shares_of_the_faces_height_in_any_pose():
    for head in (frontal_head()[None], 3 * turned(20, 40, 10)):
        np.testing.assert_allclose(landmarks.mouth_opening(head), 0.13 / 1.3, rtol=1e-5)
        np.testing.assert_allclose(landmarks.eye_opening(head), 0.0975 / 1.3, rtol=1e-5)


def test_nan_landmarks_give_nan_and_leave_the_others_alone():
    heads = np.concatenate([np.full((1, 468, 3), np.nan), turned(yaw=30.0)])
    angles = landmarks.head_angles(heads)
    assert np.isnan([a[0] for a in angles]).all()
    np.testing.assert_allclose(angles.yaw[1], 30, atol=1e-3)
    assert np.isnan(landmarks.mouth_opening(heads)).tolist() == [True, False]


def test_points_that_coincide_give_nan():
    head = frontal_head()[None]
    head[:, 454] = head[:, 234]
    assert np.isnan(landmarks.head_angles(head)).all()


def test_wrong_shape_is_refused():
    with pytest.raises(FacesemError, match="landmarks has shape"):
        landmarks.head_angles(np.zeros((2, 478, 3)))


def test_missing_mediapipe_names_the_command(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FacesemError, match=r"pip install mediapipe==0\.10\.14"):
        landmarks.landmark_measurements(np.zeros((1, 64, 64, 3), np.float32))


def test_mediapipe_starts_without_a_word_and_finds_no_face_in_grey(capfd):
    pytest.importorskip("mediapipe")
    found = landmarks.find_landmarks(np.zeros((2, 64, 64, 3), np.float32))
    assert found.shape == (2, 468, 3) and np.isnan(found).all()
    assert capfd.readouterr().err == ""
