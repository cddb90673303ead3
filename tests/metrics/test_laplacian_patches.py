import numpy as np
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.metrics import laplacian_patches as lp


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(-1, 1, (6, 32, 32, 3)).astype(np.float32)


def test_patches_are_pieces_of_the_pictures_with_normalised_channels(images):
    found = lp.random_patches(images, 40, 3)
    assert found.shape == (240, 147)
    channels = found.reshape(240, 3, 49)
    np.testing.assert_allclose(channels.mean(axis=(0, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(channels.std(axis=(0, 2)), 1, atol=1e-5)
    # A picture of the size of a patch has one place; channels first, as in the original.
    whole = images[:, :7, :7]
    one = lp.random_patches(whole, 1, 0).reshape(6, 3, 7, 7).transpose(0, 2, 3, 1)
    expected = (whole - whole.mean(axis=(0, 1, 2))) / whole.std(axis=(0, 1, 2))
    np.testing.assert_allclose(one, expected, atol=1e-5)


def test_the_order_of_a_sample_does_not_matter_and_a_shift_costs_its_projection():
    rng = np.random.default_rng(0)
    a, theta = rng.normal(size=(200, 5)), lp.directions(5, 4000, 1)
    shift = np.array([1.0, -2.0, 0.5, 0.0, 3.0])
    samples = [a, a[rng.permutation(200)], a + shift]
    same, shifted, back = lp.sliced_distances(samples, [(0, 1), (0, 2), (2, 0)], theta)
    assert same < 1e-12
    assert shifted == pytest.approx(np.abs(shift @ theta).mean()) == back
    # E |theta_1| on the unit sphere of 5 dimensions is gamma(5/2) / (sqrt(pi) gamma(3)) = 3/8.
    assert shifted == pytest.approx(0.375 * np.linalg.norm(shift), rel=0.03)


def test_in_one_dimension_it_is_the_wasserstein_distance():
    a, b = np.random.default_rng(0).normal(size=(2, 50, 1))
    expected = np.abs(np.sort(a, axis=0) - np.sort(b, axis=0)).mean()
    assert lp.sliced_distances([a, b], [(0, 1)], np.ones((1, 1))) == [pytest.approx(expected)]


def test_a_checkerboard_is_seen_at_the_finest_level_alone():
    # The pyramid's filter has a zero there: 1 - 4 + 6 - 4 + 1.
    rng = np.random.default_rng(1)
    sets = [rng.normal(size=(60, 32, 32, 3)) for _ in range(3)]
    plain = [*sets[:2], sets[2].copy()]
    board = 1 - 2 * (np.indices((32, 32)).sum(axis=0) % 2)
    sets[2] += 3 * board[:, :, None] * rng.choice([-1, 1], (60, 1, 1, 3))
    options = {"each": 16, "repeats": 1, "projections": 64}
    found = dict(lp.patch_distances(sets, [(0, 1), (0, 2)], **options))
    without = dict(lp.patch_distances(plain, [(0, 1), (0, 2)], **options))
    assert list(found) == [32, 16]
    assert found[32][1] > 2 * found[32][0] > 0
    np.testing.assert_allclose(found[16], without[16], rtol=1e-3)


def test_the_seed_decides(images):
    sets = [images, images[::-1]]
    draws = [list(lp.patch_distances(sets, [(0, 1)], each=4, repeats=1, seed=s)) for s in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_bad_pictures_are_refused(images):
    with pytest.raises(FacesemError, match="power of 2"):
        lp.laplacian_pyramid(np.zeros((1, 24, 24, 3)))
    with pytest.raises(FacesemError, match="squares"):
        lp.laplacian_pyramid(np.zeros((1, 16, 32, 3)))
    with pytest.raises(FacesemError, match="cannot be taken"):
        lp.random_patches(images[:, :6], 1, 0)
    with pytest.raises(FacesemError, match=r"sets\[1\]"):
        next(lp.patch_distances([images, images[1:]], [(0, 1)]))
    with pytest.raises(FacesemError, match=r"samples\[1\]"):
        lp.sliced_distances([np.zeros((3, 2)), np.zeros((4, 2))], [(0, 1)], np.ones((2, 1)))
