import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from smooth_fields import smooth_fields

from facesem_jax.training.known_views import turn_photographs
from facesem_jax.training.nod_direction import between, nod_direction, soften, view_changes

pytestmark = pytest.mark.usefixtures("quick_compilation")
SIZE, DIM = 32, 5


def _photographs(count):
    fields = smooth_fields(np.random.default_rng(0), SIZE, count, 3)
    return jnp.asarray(np.tanh(2 * fields), jnp.float32)


@pytest.fixture(scope="module")
def drawn(tiny_decomposer):
    """A generator: one photograph that nods, moves up, turns and becomes something else."""
    image = _photographs(1)
    parts = jax.jit(lambda decomposer, x: decomposer(x))(tiny_decomposer, image)
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    pattern = jnp.asarray(np.cos(5 * x + 3 * y)[..., None], jnp.float32)

    def draw(latents):
        def one(z):
            # The last number nods, and the picture is aligned anew.
            nod, up, yaw = 0.02 * (z[1] + z[4]), 0.003 * z[2] + 0.002 * z[4], 0.02 * z[3]
            # A third of a pixel off, where bilinear sampling has one slope.
            change = jnp.stack([nod, yaw, 0 * nod, 0.0018 + 0 * nod, up + 0.0018, 0 * nod])
            moved = turn_photographs(tiny_decomposer, parts, image, parts.view + change, None)
            return moved[0] + 0.03 * z[0] * pattern

        return jax.vmap(one)(latents)

    return draw


@pytest.mark.whole_run
def test_a_nod_is_found_among_other_changes(tiny_decomposer, drawn):
    # Small enough that all show the one photograph nearly as it is.
    latents = 0.01 * jax.random.normal(jax.random.key(0), (3, DIM))
    find = jax.jit(lambda decomposer, z: nod_direction(decomposer, drawn, z, ridge=1e-3))
    found = np.asarray(find(tiny_decomposer, latents))
    chex.assert_shape(found, (DIM,))
    np.testing.assert_allclose(np.linalg.norm(found), 1, rtol=1e-5)
    # The nod, with and without alignment, less the shift of the former; no turn, no pattern.
    assert min(found[1], found[4]) > 0.5 and abs(found[2]) < 0.35
    np.testing.assert_allclose(found[[0, 3]], 0, atol=0.05)


@pytest.mark.whole_run
def test_a_change_of_place_is_a_shift_of_the_picture(tiny_decomposer):
    images = _photographs(2)
    found = np.asarray(jax.jit(view_changes)(tiny_decomposer, images))
    chex.assert_shape(found, (2, 3 * (SIZE // 4) ** 2, 6))
    pixel = 2 * np.tan(np.radians(tiny_decomposer.config.fov_degrees / 2)) / SIZE
    for axis, column in ((2, 3), (1, 4)):
        # The step is of about two pixels.
        there, back = (soften(jnp.roll(images, k, axis)) for k in (2, -2))
        shape = (2, SIZE // 4, SIZE // 4, 3)
        expected = np.asarray((there - back) / (4 * pixel)).reshape(shape)
        moved = found[..., column].reshape(shape)
        # What comes in over the border differs.
        inner = np.s_[:, 2:-2, 2:-2]
        np.testing.assert_allclose(
            moved[inner], expected[inner], atol=0.1 * np.abs(expected[inner]).max()
        )


def test_softening_weighs_the_middle_and_quarters_the_size():
    flat = np.asarray(soften(jnp.ones((1, SIZE, SIZE, 3)))).reshape(SIZE // 4, SIZE // 4, 3)
    assert flat[4, 4].min() > 0.95 and flat[0, 0].max() < 0.6
    np.testing.assert_allclose(flat, flat[::-1, ::-1], atol=1e-6)


def test_half_way_lengths_do_not_count():
    found = between(jnp.array([10.0, 0.0]), jnp.array([0.0, 0.1]))
    np.testing.assert_allclose(found, np.sqrt([0.5, 0.5]), rtol=1e-6)
    # A direction that is not there yet leaves the other.
    np.testing.assert_allclose(between(jnp.zeros(2), jnp.array([0.0, 3.0])), [0, 1])
