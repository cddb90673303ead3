import numpy as np
import pytest

from facesem_jax import alignment as al
from facesem_jax.errors import FacesemError


def similarity(angle=20.0, factor=37.0, x=11.0, y=5.0):
    c, s = factor * np.cos(np.radians(angle)), factor * np.sin(np.radians(angle))
    return np.array([[c, -s, x], [s, c, y]])


def apply(transform, points):
    return points @ transform[:, :2].T + transform[:, 2]


def smooth_photo(height=90, width=120):
    y, x = np.mgrid[:height, :width] / 40
    waves = [np.sin(2 * x + y), np.cos(x - 2 * y), np.sin(3 * x * y / 3)]
    return np.round(127.5 + 100 * np.stack(waves, -1)).astype(np.uint8)


def test_a_planted_similarity_is_found():
    points = np.random.default_rng(0).uniform(size=(7, 2))
    found = al.fit_similarity(points, apply(similarity(), points))
    np.testing.assert_allclose(found, similarity(), atol=1e-10)
    np.testing.assert_allclose(al.frame_side(found), 37)
    back = al.invert_transform(found)
    np.testing.assert_allclose(apply(back, apply(found, points)), points, atol=1e-12)


def test_the_fit_is_a_least_squares_optimum():
    rng = np.random.default_rng(1)
    source, target = rng.uniform(size=(2, 5, 2))

    def error(a, b, x, y):
        return np.sum((apply(np.array([[a, -b, x], [b, a, y]]), source) - target) ** 2)

    # Over all similarities a, b, x, y the problem is linear.
    rows = np.concatenate(
        [
            [[s[0], -s[1], 1, 0] for s in source],
            [[s[1], s[0], 0, 1] for s in source],
        ]
    )
    best = np.linalg.lstsq(rows, np.concatenate(target.T), rcond=None)[0]
    found = al.fit_similarity(source, target)
    np.testing.assert_allclose(
        error(found[0, 0], found[1, 0], found[0, 2], found[1, 2]), error(*best), rtol=1e-9
    )


def test_no_reflection_is_chosen():
    points = al.DIGIFACE64_POINTS
    found = al.fit_similarity(points, points * [-1, 1] + [1, 0])
    assert np.linalg.det(found[:, :2]) > 0


def test_the_reference_is_symmetric_and_a_face_on_it_gives_the_frame_itself():
    points = al.DIGIFACE64_POINTS
    np.testing.assert_allclose(points[[1, 0, 2, 4, 3]] * [-1, 1] + [1, 0], points, atol=1e-12)
    np.testing.assert_allclose(
        al.face_transform(apply(similarity(), points)), similarity(), atol=1e-9
    )


def test_ffhq_frames_by_its_rule():
    # Eyes 100 apart, mouth 120 below: the side is max(4 * 100, 3.6 * 120) = 432.
    points = np.array([[450.0, 300], [550, 300], [500, 360], [460, 420], [540, 420]])
    found = al.face_transform(points, "ffhq")
    np.testing.assert_allclose(found, al.box_transform(312 - 216, 500 - 216, 432), atol=1e-9)
    turned = al.face_transform(apply(similarity(), points), "ffhq")
    np.testing.assert_allclose(
        turned, similarity()[:, :2] @ found + [[0, 0, 11], [0, 0, 5]], atol=1e-8
    )


def test_aligning_an_upright_whole_square_averages_its_blocks():
    photo = smooth_photo(96, 96)
    found = al.align_face(photo, al.box_transform(0, 0, 96), 32)
    blocks = photo.reshape(32, 3, 32, 3, 3).mean(axis=(1, 3)) / 127.5 - 1
    np.testing.assert_allclose(found, blocks, atol=1e-6)


def test_fine_texture_does_not_alias():
    photo = np.zeros((400, 400, 3), np.uint8)
    photo[::2] = 255
    aligned = al.align_face(photo, similarity(15, 250, 80, 40), 16)
    assert np.abs(aligned).max() < 0.06


def test_beyond_the_photo_its_border_is_repeated():
    photo = np.full((10, 10, 3), 90, np.uint8)
    aligned = al.align_face(photo, al.box_transform(-50, -50, 100), 8)
    np.testing.assert_allclose(aligned, 90 / 127.5 - 1)


def test_a_face_pasted_back_is_the_photo_again():
    photo = smooth_photo()
    transform = similarity(20, 50, 50, 20)
    face = al.align_face(photo, transform, 64)
    mask = np.zeros((64, 64))
    mask[16:48, 16:48] = 1
    result = al.paste_back(photo, face, transform, mask)
    assert np.abs(result.astype(int) - photo).max() <= 2
    assert (al.paste_back(photo, -face, transform, mask) != photo).any()


def test_outside_the_mask_every_pixel_stays():
    photo = np.random.default_rng(2).integers(0, 256, (90, 120, 3), np.uint8)
    transform = similarity(20, 50, 50, 20)
    mask = np.zeros((64, 64))
    mask[20:40, 20:40] = 0.5
    y, x = np.mgrid[:90, :120] + 0.5
    frame = np.stack([x, y], -1) @ al.invert_transform(transform)[:, :2].T
    frame = 64 * (frame + al.invert_transform(transform)[:, 2])
    outside = ((frame < 19.4) | (frame > 40.6)).any(axis=-1)
    for result in (
        al.paste_back(photo, np.ones((64, 64, 3)), transform, mask),
        al.add_back(photo, np.ones((64, 64, 3)), transform, mask),
    ):
        assert result.dtype == np.uint8
        np.testing.assert_array_equal(result[outside], photo[outside])
        inner = ((frame > 21) & (frame < 39)).all(axis=-1)
        assert (result[inner] >= photo[inner]).all() and inner.sum() > 50


def test_a_change_of_zero_and_a_frame_beyond_the_photo_change_nothing():
    photo = smooth_photo()
    full, none = np.ones((16, 16)), np.zeros((16, 16, 3))
    np.testing.assert_array_equal(al.add_back(photo, none, similarity(), full), photo)
    for corner in (-500, 500):
        away = al.box_transform(corner, corner, 40)
        np.testing.assert_array_equal(al.paste_back(photo, none, away, full), photo)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: al.fit_similarity(np.zeros((3, 2)), np.zeros((3, 2))), "coincide"),
        (lambda: al.fit_similarity(np.zeros((3, 2)), np.zeros((2, 2))), "target has shape"),
        (lambda: al.face_transform(np.full((5, 2), np.nan)), "NaN"),
        (lambda: al.face_transform(np.zeros((5, 2)), "ffhq"), "eyes coincide"),
        (lambda: al.face_transform(al.DIGIFACE64_POINTS, "moon"), "unknown framing 'moon'"),
        (lambda: al.align_face(smooth_photo(), similarity(), 0), "size is 0"),
        (lambda: al.align_face(smooth_photo() / 2, similarity(), 8), "expected uint8"),
        (
            lambda: al.paste_back(
                smooth_photo(), np.zeros((4, 4, 3)), similarity(), np.full((4, 4), np.nan)
            ),
            "outside",
        ),
        (
            lambda: al.paste_back(
                smooth_photo(), np.zeros((5, 5, 3)), similarity(), np.zeros((4, 4))
            ),
            "face has shape",
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(FacesemError, match=message):
        call()
