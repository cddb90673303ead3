import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.heads import HeadSampling, sample_heads

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def many(model):
    return sample_heads(model, jax.random.key(2), 3000)


def test_heads_follow_from_the_key_alone(model, many):
    heads = sample_heads(model, jax.random.key(2), 4)
    for few, first in zip(jax.tree.leaves(heads), jax.tree.leaves(many), strict=True):
        # A longer batch is vectorised otherwise, which may round the last bit otherwise.
        np.testing.assert_allclose(few, first[:4], rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_equal(sample_heads(model, jax.random.key(2), 4), heads)
    other = sample_heads(model, jax.random.key(1), 4)
    assert float(jnp.abs(other.identity - heads.identity).min()) > 0
    assert float(jnp.abs(heads.identity[0] - heads.identity[1]).min()) > 0


def test_draws_have_the_stated_spread(many):
    config = HeadSampling()
    angles = np.degrees(np.asarray(many.view[:, :3]))
    assert np.all(np.abs(angles) <= np.array(config.angle_limits) + 1e-4)
    # Truncation at about two standard deviations takes a tenth off the spread.
    spread = angles.std(0) / np.array(config.angles)
    assert np.all((0.8 < spread) & (spread < 1))
    np.testing.assert_allclose(angles.mean(0), 0, atol=1.5)
    for column, name in enumerate(("ambient", "diffuse", "light_x", "light_y")):
        low, high = getattr(config, name)
        drawn = np.asarray(many.light[:, column])
        assert low <= drawn.min() < low + 0.02 and high - 0.02 < drawn.max() <= high
    assert abs(np.corrcoef(angles[:, 1], many.light[:, 2])[0, 1]) < 0.06
    for colour in (many.paint.skin, many.paint.lips, many.paint.hair, many.paint.iris):
        assert 0 < float(colour.min()) and float(colour.max()) < 1


def test_actions_are_few_strong_and_paired(model, many):
    actions = np.asarray(many.actions)
    assert actions.min() >= 0 and actions.max() <= 0.9
    assert 2 < (actions > 0).sum(1).mean() < 8
    names = model.action_names
    left, right = (actions[:, names.index(f"mouthSmile{s}")] for s in ("Left", "Right"))
    np.testing.assert_array_equal(left > 0, right > 0)
    assert np.all(left >= 0.79 * right)
    # A jaw does not move to both sides at once by rule.
    jaw = [actions[:, names.index(f"jaw{s}")] > 0 for s in ("Left", "Right")]
    assert np.any(jaw[0] != jaw[1])
    calm = sample_heads(model, jax.random.key(3), 2, HeadSampling(expression=0.0))
    assert not np.any(calm.actions)


def test_bad_input_is_refused(model):
    with pytest.raises(FacesemError, match="count is 0"):
        sample_heads(model, jax.random.key(0), 0)
    with pytest.raises(FacesemError, match="angle_limits"):
        HeadSampling(angle_limits=(20.0, 90.0, 10.0))
    with pytest.raises(FacesemError, match="light_x"):
        HeadSampling(light_x=(0.5, -0.5))
