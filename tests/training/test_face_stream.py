import chex
import jax
import jax.numpy as jnp
import numpy as np

from facesem_jax.training.face_stream import (
    FACE_BOX,
    from_uint8,
    stream_faces,
    stream_latents,
    to_uint8,
)


def test_latents_are_a_function_of_seed_and_index():
    z = stream_latents(3, 7, 5, 100)
    chex.assert_shape(z, (5, 100))
    np.testing.assert_array_equal(z, stream_latents(3, 7, 5, 100))
    traced = jax.jit(lambda index: stream_latents(3, index, 5, 100))
    np.testing.assert_array_equal(z, traced(7))
    # The next pieces of this stream are not those of its neighbours either.
    for other in ((3, 8), (4, 7), (4, 6), (2, 8), (7, 3)):
        unrelated = stream_latents(*other, 5, 100)
        assert abs(np.corrcoef(z.ravel(), unrelated.ravel())[0, 1]) < 0.2
    np.testing.assert_allclose([np.mean(z), np.std(z)], [0, 1], atol=0.15)


def test_faces_are_the_part_of_the_image_that_the_face_fills():
    def dcgan(z):
        rows, columns = jnp.mgrid[:64, :64]
        face = (rows >= 6) & (rows < 58) & (columns >= 8) & (columns < 56)
        inside = jnp.where(face, 0.5, -1.0)
        return jnp.broadcast_to(inside[None, :, :, None], (z.shape[0], 64, 64, 3))

    z = jnp.zeros((2, 4))
    faces = stream_faces(dcgan, z, size=16)
    chex.assert_shape(faces, (2, 16, 16, 3))
    np.testing.assert_allclose(faces[:, 1:-1, 1:-1], 0.5, atol=1e-5)
    assert faces.max() <= 0.5 + 1e-5 and faces.min() >= -1 - 1e-5
    np.testing.assert_allclose([FACE_BOX.top * 64, FACE_BOX.left * 64], [6, 8])


def test_all_byte_values_round_trip():
    values = jnp.arange(256, dtype=jnp.uint8)
    images = from_uint8(values)
    assert images.dtype == jnp.float32
    np.testing.assert_allclose([images[0], images[-1]], [-1, 1])
    np.testing.assert_array_equal(to_uint8(images), values)


def test_rounding_is_to_the_nearest_and_the_range_is_clipped():
    images = jnp.linspace(-1, 1, 1001)
    np.testing.assert_allclose(from_uint8(to_uint8(images)), images, atol=0.5 / 127.5 + 1e-6)
    np.testing.assert_array_equal(to_uint8(jnp.array([-7.0, 1.2])), [0, 255])
