import numpy as np
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.metrics.calibration import calibrate


@pytest.mark.parametrize(
    ("change", "target", "root"),
    [
        (lambda t: 3 * t**0.5, 6.0, 4.0),
        (lambda t: t**8, 100.0, 100 ** (1 / 8)),
        (lambda t: np.maximum(t - 1, 0), 0.05, 1.05),
        (lambda t: 5 * np.tanh(t / 10), 4.0, 10 * np.arctanh(0.8)),
    ],
)
def test_the_step_is_found(change, target, root):
    found = calibrate(change, target, np.array([2.0, 0.7 * root]), iterations=16)
    assert found.reached.all()
    np.testing.assert_allclose(found.change, target, rtol=0.02)
    np.testing.assert_allclose(found.steps, root, rtol=0.05)


def test_no_step_is_larger_than_the_largest():
    tried = []

    def change(t):
        tried.append(t.max())
        return 1e-4 * t

    found = calibrate(change, 0.5, np.array([5000.0]), most=1000.0)
    assert max(tried) == 1000 and not found.reached.any()


def test_calibration_meets_power_laws_and_saturation():
    scale, power = np.array([0.1, 5.0, 1.0]), np.array([1.0, 0.5, 2.0])
    found = calibrate(lambda t: scale * t**power, 2.0, np.ones(3))
    np.testing.assert_allclose(found.steps, (2.0 / scale) ** (1 / power), rtol=0.05)
    assert found.reached.all()
    bent = calibrate(lambda t: 3 * np.tanh(t / 2), 2.0, np.full(1, 0.01))
    assert bent.steps[0] == pytest.approx(2 * np.arctanh(2 / 3), rel=0.05)


def test_calibration_says_what_it_could_not_reach():
    found = calibrate(lambda t: np.tanh(t), 2.0, np.ones(1), most=10.0)
    assert not found.reached[0] and found.change[0] == pytest.approx(1, abs=0.3)
    with pytest.raises(FacesemError, match="positive"):
        calibrate(lambda t: t, 0.0, np.ones(1))
    with pytest.raises(FacesemError, match="finite"):
        calibrate(lambda t: t * np.nan, 1.0, np.ones(1))
