import numpy as np
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.training.regressor import RegressorConfig, fit_regressor, read_off

pytestmark = pytest.mark.usefixtures("quick_compilation")

CONFIG = RegressorConfig(resolution=8, channels=(8, 8), steps=150, batch_size=32)


def _bars(count, seed):
    """A bright column on a grey ground; the label is where it stands."""
    rng = np.random.default_rng(seed)
    place = rng.integers(0, 8, count)
    pixels = rng.integers(60, 90, (count, 8, 8, 3)).astype(np.uint8)
    pixels[np.arange(count), :, place] = 255
    return pixels, place / 3.5 - 1


@pytest.fixture(scope="module")
def model():
    return fit_regressor(*_bars(256, 0), config=CONFIG)


def test_it_learns_to_read(model):
    pixels, labels = _bars(100, 1)
    error = read_off(model, pixels, batch=64) - labels
    assert np.sqrt(np.mean(error**2)) < 0.2 < labels.std()


def test_batches_do_not_matter(model):
    pixels, _ = _bars(10, 2)
    whole = read_off(model, pixels, batch=16)
    np.testing.assert_allclose(read_off(model, pixels, batch=4), whole, atol=1e-5)


def test_what_lies_behind_count_is_not_seen():
    pixels, labels = _bars(64, 0)
    spoilt, wrong = pixels.copy(), labels.copy()
    spoilt[32:], wrong[32:] = 0, 100.0
    found = [
        read_off(fit_regressor(p, y, count=32, config=CONFIG), pixels)
        for p, y in ((pixels, labels), (spoilt, wrong))
    ]
    np.testing.assert_array_equal(*found)


def test_seeds_differ_and_repeat():
    data = _bars(64, 0)
    one, again, other = (
        read_off(fit_regressor(*data, seed=s, config=CONFIG), data[0]) for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1e-3


def test_bad_sets_are_refused():
    pixels, labels = _bars(8, 0)
    for bad in (
        (pixels[:, :4], labels, {}),
        (pixels, labels[:4], {}),
        (pixels, labels, {"count": 0}),
        (pixels, labels * np.nan, {}),
        (pixels.astype(np.float32), labels, {}),
    ):
        with pytest.raises(FacesemError):
            fit_regressor(bad[0], bad[1], config=CONFIG, **bad[2])
