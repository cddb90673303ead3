import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facesem_jax.decomposer import camera, shading

pytestmark = pytest.mark.usefixtures("quick_compilation")

CAMERA = camera.intrinsics(64, 10.0)
ATOL = 1e-4


def golden_light(golden):
    parts = [golden["light_ambient"], golden["light_diffuse"], golden["light_raw"][:, 2:]]
    return jnp.asarray(np.concatenate(parts, -1))


def test_normals_match_the_reference(golden):
    normals = shading.normals_from_depth(jnp.asarray(golden["canonical_depth"]), CAMERA)
    np.testing.assert_allclose(normals, golden["normal"], atol=ATOL)


def test_light_and_shading_match_the_reference(golden):
    light = golden_light(golden)
    np.testing.assert_allclose(shading.light_direction(light), golden["light_direction"], atol=1e-6)
    _, total = shading.lambertian_shading(jnp.asarray(golden["normal"]), light)
    np.testing.assert_allclose(total, golden["shading"][..., 0], atol=ATOL)


def test_canonical_image_matches_the_reference(golden):
    image = shading.shade(
        jnp.asarray(golden["albedo"]),
        jnp.asarray(golden["canonical_depth"]),
        golden_light(golden),
        CAMERA,
    )
    np.testing.assert_allclose(image, golden["canonical_image"], atol=ATOL)


def test_normals_of_a_tilted_plane():
    # The plane z = 1 + a x + b y has normals along (-a, -b, 1).
    a, b = 0.2, -0.1
    u, v = camera.pixel_coordinates(64, 64, jnp.float32)
    rx, ry = (u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy
    depth = (1 / (1 - a * rx - b * ry))[None]
    normals = shading.normals_from_depth(depth, CAMERA)[0, 1:-1, 1:-1]
    expected = np.array([-a, -b, 1]) / np.sqrt(a**2 + b**2 + 1)
    # 0.003 is the guard's share of the unnormalised length.
    np.testing.assert_allclose(normals, np.broadcast_to(expected, normals.shape), atol=4e-3)
    np.testing.assert_allclose(
        normals / jnp.linalg.norm(normals, axis=-1, keepdims=True),
        np.broadcast_to(expected, normals.shape),
        atol=1e-3,
    )


def test_shading_is_lambert_s_law():
    normals = jnp.array([[0.0, 0.0, 1.0], [0.6, 0.0, 0.8], [-1.0, 0.0, 0.0]]).reshape(1, 1, 3, 3)
    light = jnp.array([[0.25, 0.5, 0.75, 0.0]])
    diffuse, total = shading.lambertian_shading(normals, light)
    # The direction is (0.6, 0, 0.8); the third normal faces away.
    np.testing.assert_allclose(diffuse[0, 0], [0.8, 1.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(total[0, 0], [0.65, 0.75, 0.25], atol=1e-6)


def test_gradient_of_the_shaded_image():
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        size = 12
        lens = camera.intrinsics(size, 10.0)
        u, v = camera.pixel_coordinates(size, size, jnp.float64)
        depth = (1 + 0.03 * jnp.sin(u / 3) * jnp.cos(v / 2))[None]
        inputs = (
            jnp.asarray(rng.uniform(-1, 1, (1, size, size, 3))),
            depth,
            jnp.array([[0.3, 0.5, 0.2, -0.4]]),
        )
        weights = jnp.asarray(rng.normal(size=(1, size, size, 3)))

        @jax.jit
        def loss(inputs):
            return jnp.sum(weights * shading.shade(*inputs, lens))

        grads = jax.jit(jax.grad(loss))(inputs)
        for i, grad in enumerate(grads):
            move = jnp.asarray(rng.normal(size=grad.shape)) * (1e-3 if i == 1 else 1)
            step = 1e-5

            def at(t, i=i, move=move):
                return loss(tuple(x + t * move if j == i else x for j, x in enumerate(inputs)))

            slope = (at(step) - at(-step)) / (2 * step)
            np.testing.assert_allclose(jnp.sum(grad * move), slope, rtol=1e-6, atol=1e-8)
