"""The z-buffer against a brute-force rasteriser, and its gradients against differences."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facesem_jax.decomposer.rasterizer import grid_faces, rasterize, render_depth
from facesem_jax.errors import FacesemError

pytestmark = pytest.mark.usefixtures("quick_compilation")


def brute_force(vertices, faces, height, width, pixel_center=0.0):
    """Every triangle against every pixel, in float64.

    Returns the face index and depth, each pixel's distance in pixels to the nearest edge
    line of a triangle that covers it or nearly does, and the gap in z to the runner-up.
    """
    vertices = np.asarray(vertices, np.float64)
    x, y = np.meshgrid(np.arange(width) + pixel_center, np.arange(height) + pixel_center)
    depth, second = np.full((2, height, width), np.inf)
    index = np.full((height, width), -1)
    edge_distance = np.full((height, width), np.inf)
    for number, face in enumerate(faces):
        p, z = vertices[face, :2], vertices[face, 2]
        area = np.linalg.det(np.stack([p[1] - p[0], p[2] - p[0]]))
        b, distance = [], []
        for i in range(3):
            (xa, ya), (xb, yb) = p[(i + 1) % 3], p[(i + 2) % 3]
            w = ((xa - x) * (yb - y) - (ya - y) * (xb - x)) / area
            b.append(w)
            distance.append(w * abs(area) / np.hypot(xb - xa, yb - ya))
        # Signed distance to the triangle's border: the lines beyond a corner do not matter
        # for a pixel that another edge excludes by more.
        edge_distance = np.minimum(edge_distance, np.abs(np.min(distance, axis=0)))
        inside = np.min(b, axis=0) >= 0
        here = np.where(inside, 1 / np.tensordot(1 / z, np.array(b), 1), np.inf)
        closer = here < depth
        second = np.where(closer, depth, np.minimum(second, here))
        depth, index = np.where(closer, here, depth), np.where(closer, number, index)
    with np.errstate(invalid="ignore"):
        gap = np.where(np.isfinite(second), second - depth, np.inf)
    return index, np.where(index >= 0, depth, 0.0), edge_distance, gap


def soup(seed, big=12, small=60, size=24):
    """Random triangles: big ones that reach off screen, small ones, some wholly outside."""
    rng = np.random.default_rng(seed)
    corners = np.concatenate(
        [
            rng.uniform(-0.5 * size, 1.5 * size, (big, 3, 2)),
            rng.uniform(-3, size + 3, (small, 1, 2)) + rng.uniform(-3, 3, (small, 3, 2)),
            rng.uniform(2 * size, 3 * size, (4, 3, 2)),
        ]
    )
    z = rng.uniform(0.5, 3.0, (*corners.shape[:2], 1))
    vertices = np.concatenate([corners, z], axis=-1).reshape(-1, 3)
    faces = rng.permutation(len(vertices)).reshape(-1, 3)
    order = np.empty(len(vertices), int)
    order[faces.ravel()] = np.arange(len(vertices))
    return vertices[order], faces  # vertices in an order unlike that of the corners


def draw(vertices, faces, dtype=np.float32, **options):
    """Rasterises at 24 x 24, padded to the size of a soup so that all share one compilation."""
    vertices, faces = np.asarray(vertices, dtype), np.asarray(faces)
    vertices = np.pad(vertices, ((0, 228 - len(vertices)), (0, 0)))
    faces = np.pad(faces, ((0, 76 - len(faces)), (0, 0)))  # (0, 0, 0) is dropped
    with jax.enable_x64(dtype == np.float64):
        return jax.device_get(rasterize(jnp.asarray(vertices), faces, 24, **options))


def compare(fragments, reference, *, edge, tie, depth_tolerance):
    index, depth, edge_distance, gap = reference
    clear = (edge_distance > edge) & (gap > tie)
    np.testing.assert_array_equal(np.asarray(fragments.face_index)[clear], index[clear])
    np.testing.assert_array_equal(np.asarray(fragments.mask)[clear], index[clear] >= 0)
    # Depth is continuous across ties and inner edges, so it is compared at those too.
    steady = (edge_distance > edge) | (np.asarray(fragments.face_index) == index)
    np.testing.assert_allclose(
        np.asarray(fragments.depth)[steady], depth[steady], rtol=0, atol=depth_tolerance
    )
    return clear


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("pixel_center", [0.0, 0.5])
def test_random_triangles_agree_with_brute_force(seed, pixel_center):
    vertices, faces = soup(seed)
    got = draw(vertices, faces, np.float64, pixel_center=pixel_center)
    assert got.depth.dtype == np.float64
    reference = brute_force(vertices, faces, 24, 24, pixel_center)
    clear = compare(got, reference, edge=1e-6, tie=1e-6, depth_tolerance=1e-5)
    assert clear.mean() > 0.99
    assert len(np.unique(reference[0])) > 15
    assert np.isfinite(reference[3]).mean() > 0.5  # occlusion nearly everywhere


@pytest.mark.parametrize("seed", range(4, 8))
def test_random_triangles_in_float32(seed):
    vertices, faces = soup(seed)
    vertices = vertices.astype(np.float32)
    got = draw(vertices, faces)
    assert got.depth.dtype == np.float32 and got.face_index.dtype == np.int32
    chex.assert_shape(got.barycentric, (24, 24, 3))
    reference = brute_force(vertices, faces, 24, 24)
    clear = compare(got, reference, edge=1e-6, tie=1e-6, depth_tolerance=1e-5)
    assert clear.mean() > 0.99


def test_barycentric_coordinates_interpolate_in_perspective():
    vertices, faces = soup(1)
    got = draw(vertices, faces, np.float64)
    corners = vertices[faces[got.face_index]][got.mask]
    weights = got.barycentric[got.mask]
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-12)
    np.testing.assert_allclose((weights * corners[..., 2]).sum(-1), got.depth[got.mask], atol=1e-12)
    # The weighted camera-space points project to the pixel itself.
    points = np.einsum("pk,pkc->pc", weights, corners[..., :2] * corners[..., 2:])
    row, column = np.nonzero(got.mask)
    pixel = points / got.depth[got.mask][:, None]
    np.testing.assert_allclose(pixel, np.stack([column, row], -1), atol=1e-9)
    assert not got.barycentric[~got.mask].any() and not got.depth[~got.mask].any()


def test_order_of_faces_and_winding_do_not_matter():
    vertices, faces = soup(2)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(faces))
    flipped = np.where(rng.random(len(faces))[:, None] < 0.5, faces, faces[:, ::-1])
    first, second = draw(vertices, faces), draw(vertices, flipped[order])
    index = second.face_index
    np.testing.assert_array_equal(np.where(index >= 0, order[index], -1), first.face_index)
    np.testing.assert_allclose(second.depth, first.depth, atol=1e-6)


def test_chunk_size_does_not_change_the_result():
    vertices, faces = soup(3)
    got = draw(vertices, faces, pairs_per_step=37)
    np.testing.assert_array_equal(got.face_index, draw(vertices, faces).face_index)


def test_ties_go_to_the_smaller_face_index():
    vertices = [[-1, -1, 2], [50, -1, 2], [-1, 50, 2], [0, 0, 3], [5, 0, 3], [0, 5, 3]]
    got = draw(vertices, [[3, 4, 5], [0, 1, 2], [2, 0, 1], [0, 1, 2]])
    np.testing.assert_array_equal(got.face_index, 1)
    np.testing.assert_array_equal(draw(vertices, [[2, 0, 1], [0, 1, 2]]).face_index, 0)


def test_pixel_centres_on_edges_and_corners_are_covered():
    vertices = [[2, 1, 1], [6, 1, 1], [2, 5, 1]]
    row, column = np.mgrid[:24, :24]
    inside = (column >= 2) & (row >= 1) & (column + row <= 7)
    np.testing.assert_array_equal(draw(vertices, [[0, 1, 2]]).mask, inside)
    shifted = np.add(vertices, [0.5, 0.5, 0])
    np.testing.assert_array_equal(draw(shifted, [[0, 1, 2]], pixel_center=0.5).mask, inside)


@pytest.mark.parametrize("seed", range(8))
def test_shared_edges_leave_no_gap(seed):
    # A fan whose spokes pass through pixel centres as nearly as float32 allows.
    rng = np.random.default_rng(seed)
    centre = rng.uniform(10, 14, 2)
    angle = np.sort(rng.uniform(0, 2 * np.pi, 60))
    through = np.round(centre + 9 * np.stack([np.cos(angle), np.sin(angle)], -1))
    far = [[-90, -90], [90, -90], [90, 90], [-90, 90]]
    rim = np.concatenate([centre + 17.3 * (through - centre), far])
    rim = rim[np.argsort(np.arctan2(*(rim - centre).T))]
    vertices = np.concatenate([centre[None], rim])
    vertices = np.column_stack([vertices, np.ones(len(vertices))])
    spoke = np.arange(1, len(vertices))
    faces = np.stack([np.zeros_like(spoke), spoke, np.roll(spoke, -1)], -1)
    assert draw(vertices, faces).mask.all()


def test_unusable_triangles_are_dropped():
    big = [[-50.0, -50], [80, -50], [-50, 80]]
    z = [[1, 1, 0], [1, -1, 1], [1, 1, 5e-4], [1, np.nan, 1], [np.inf, 1, 1]]
    vertices = [[*xy, depth] for row in z for xy, depth in zip(big, row, strict=True)]
    # Collinear corners, three equal corners, two equal corners, a corner at infinity, and two
    # wholly off screen.
    vertices += [[0, 0, 1], [4, 4, 1], [8, 8, 1]] + [[3, 3, 1]] * 3
    vertices += [[0, 0, 1], [0, 0, 1], [7, 7, 1], [0, 0, 1], [np.inf, 0, 1], [0, 9, 1]]
    vertices += [[100, 2, 1], [120, 2, 1], [100, 9, 1], [-1e30, -2, 1], [-9, -3, 1], [-9, -9, 1]]
    faces = np.arange(len(vertices)).reshape(-1, 3)
    np.testing.assert_array_equal(draw(vertices, faces).face_index, -1)
    nearer = draw(vertices, faces, near=1e-4).face_index
    assert set(np.unique(nearer)) == {-1, 2} and (nearer == 2).mean() > 0.7
    vertices = jnp.asarray(np.array(vertices, np.float32))
    gradient = jax.jit(jax.grad(lambda v: rasterize(v, faces, 8).depth.sum()))(vertices)
    np.testing.assert_array_equal(gradient, 0)


# Grid meshes.


def pinhole(size, fov=10.0):
    focal, centre = (size - 1) / 2 / np.tan(np.deg2rad(fov / 2)), (size - 1) / 2
    return np.array([[focal, 0, centre], [0, focal, centre], [0, 0, 1.0]])


@partial(jax.jit, static_argnames="size")
def turn(depth, angles, intrinsics, size):
    """Points of a depth map turned by (yaw, pitch, roll) radians about (0, 0, 1)."""
    v, u = jnp.mgrid[:size, :size]
    x = (u - intrinsics[0, 2]) / intrinsics[0, 0] * depth
    y = (v - intrinsics[1, 2]) / intrinsics[1, 1] * depth
    points = jnp.stack([x, y, depth], axis=-1) - jnp.array([0.0, 0, 1])
    (ca, cb, cc), (sa, sb, sc) = jnp.cos(angles), jnp.sin(angles)
    yaw = jnp.array([[ca, 0, sa], [0, 1, 0], [-sa, 0, ca]])
    pitch = jnp.array([[1, 0, 0], [0, cb, -sb], [0, sb, cb]])
    roll = jnp.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])
    return points @ (roll @ pitch @ yaw).T + jnp.array([0.0, 0, 1])


def bump(size, height=0.1, width=0.12):
    v, u = np.mgrid[:size, :size] / (size - 1) - 0.5
    rough = 2e-4 * np.random.default_rng(0).normal(size=(size, size))
    return 1 - height * np.exp(-(u**2 + v**2) / width**2) + rough


def project(points, intrinsics):
    z = points[..., 2]
    u = intrinsics[0, 0] * points[..., 0] / z + intrinsics[0, 2]
    v = intrinsics[1, 1] * points[..., 1] / z + intrinsics[1, 2]
    return np.stack([u, v, z], -1).reshape(-1, 3)


@pytest.mark.parametrize("degrees", [(0, 0, 0), (15, -10, 5), (40, 0, 0), (-30, 25, 60)])
def test_grid_mesh_under_views_agrees_with_brute_force(degrees):
    size, target = 24, (20, 28)
    with jax.enable_x64(True):
        intrinsics = pinhole(size)
        points = turn(jnp.asarray(bump(size)), np.deg2rad(degrees) + 1e-3, intrinsics, size)
        depth, mask = jax.device_get(render_depth(points, intrinsics, target, background=9.0))
        projected = project(np.asarray(points), intrinsics)
        got = jax.device_get(rasterize(jnp.asarray(projected), grid_faces(size, size), target))
    reference = brute_force(projected, grid_faces(size, size), *target)
    compare(got, reference, edge=1e-6, tie=1e-7, depth_tolerance=1e-5)
    np.testing.assert_array_equal(mask, got.mask)
    np.testing.assert_allclose(depth, np.where(got.mask, got.depth, 9.0), atol=1e-12)
    assert mask.mean() > 0.4
    if degrees[0] == 40:  # the bump hides what is behind it
        assert np.isfinite(reference[3]).sum() > 15


def test_slanted_plane_has_its_analytic_depth():
    # n . p = 1 with p = z ((u - cx) / fx, (v - cy) / fy, 1) gives 1 / z, affine in (u, v).
    size, target, normal = 24, (20, 28), np.array([0.9, -0.5, 0.7])
    intrinsics = pinhole(size, fov=50.0)
    x, y = np.meshgrid(np.linspace(-1.5, 1.5, size), np.linspace(-1.5, 1.5, size))
    z = (1 - normal[0] * x - normal[1] * y) / normal[2]
    with jax.enable_x64(True):
        points = jnp.asarray(np.stack([x, y, z], -1))
        depth, mask = jax.device_get(render_depth(points, intrinsics, target))
    v, u = np.mgrid[: target[0], : target[1]]
    focal, centre = intrinsics[0, 0], intrinsics[0, 2]
    ray = np.stack([(u - centre) / focal, (v - centre) / focal, np.ones_like(u)])
    assert mask.sum() > 100 and np.ptp(depth[mask]) > 0.3
    np.testing.assert_allclose(depth[mask], 1 / np.tensordot(normal, ray, 1)[mask], atol=1e-6)


def interior(mask, depth, jump=0.02):
    """Pixels at least two away from a silhouette or a depth jump."""
    calm = mask.copy()
    for axis in (0, 1):
        step = np.abs(np.diff(depth, axis=axis)) > jump
        pad = [(0, 0), (0, 0)]
        pad[axis] = (0, 1)
        calm &= ~np.pad(step, pad)
        pad[axis] = (1, 0)
        calm &= ~np.pad(step, pad)
    padded = np.pad(calm, 1)
    for axis in (0, 1):
        padded &= np.roll(padded, 1, axis) & np.roll(padded, -1, axis)
    return padded[1:-1, 1:-1]


def test_gradient_with_respect_to_depth_and_view():
    size, target, step = 24, (20, 28), 1e-6
    rng = np.random.default_rng(3)
    with jax.enable_x64(True):
        intrinsics = jnp.asarray(pinhole(size))
        canonical, angles = jnp.asarray(bump(size)), jnp.deg2rad(jnp.array([35.0, 8.0, 4.0]))

        def loss(canonical, angles, weights):
            points = turn(canonical, angles, intrinsics, size)
            depth, mask = render_depth(points, intrinsics, target)
            return jnp.sum(weights * depth), (depth, mask, points)

        @jax.jit
        def evaluate(canonical, angles, weights):
            value_and_grad = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
            return value_and_grad(canonical, angles, weights)

        def seen(points):
            projected = jnp.asarray(project(np.asarray(points), np.asarray(intrinsics)))
            return rasterize(projected, grid_faces(size, size), target).face_index

        (_, (depth, mask, points)), _ = evaluate(canonical, angles, jnp.zeros(target))
        index = seen(points)
        safe = interior(np.asarray(mask), np.asarray(depth))
        assert 60 < safe.sum() < mask.sum() - 60
        weights = jnp.asarray(np.where(safe, rng.normal(size=safe.shape), 0))
        _, (to_depth, to_view) = evaluate(canonical, angles, weights)

        zeros = np.zeros((size, size))
        directions = [(zeros, axis) for axis in np.eye(3)]
        directions += [(0.1 * rng.normal(size=(size, size)), np.zeros(3)) for _ in range(4)]
        for along_depth, along_view in directions:
            values = []
            for signed in (step, -step):
                moved = canonical + signed * along_depth, angles + signed * along_view
                (value, (_, _, points)), _ = evaluate(*moved, weights)
                values.append(value)
                assert bool(jnp.all((seen(points) == index) | ~safe))
            analytic = jnp.sum(along_depth * to_depth) + along_view @ to_view
            numeric = (values[0] - values[1]) / (2 * step)
            np.testing.assert_allclose(analytic, numeric, rtol=1e-6, atol=1e-7)
        assert float(jnp.abs(to_view).min()) > 1e-3


def test_gradient_with_respect_to_each_vertex_of_a_soup():
    vertices, faces = soup(5, big=4, small=6, size=12)
    index, _, edge_distance, gap = brute_force(vertices, faces, 12, 12)
    safe = (index >= 0) & (edge_distance > 0.01) & (gap > 0.01)
    rng = np.random.default_rng(0)
    weights = np.where(safe[..., None], rng.normal(size=(*safe.shape, 4)), 0)
    with jax.enable_x64(True):
        at = jnp.asarray(vertices)

        def loss(vertices):
            got = rasterize(vertices, faces, 12)
            values = jnp.concatenate([got.depth[..., None], got.barycentric], -1)
            return jnp.sum(weights * values), got.face_index

        @jax.jit
        @jax.vmap
        def evaluate(vertices):
            value, tangent, index = jax.jvp(loss, (vertices,), (direction,), has_aux=True)
            return value, tangent, jax.grad(loss, has_aux=True)(vertices)[0], index

        direction = jnp.asarray(rng.normal(size=at.shape))
        steps = 1e-6 * jnp.eye(at.size).reshape(-1, *at.shape)
        value, tangent, gradient, seen = evaluate(
            jnp.concatenate([at + steps, at - steps, at[None]])
        )
        assert bool(jnp.all((seen == index) | ~safe))
        numeric = (value[: at.size] - value[at.size : -1]).reshape(at.shape) / 2e-6
        np.testing.assert_allclose(gradient[-1], numeric, rtol=1e-6, atol=1e-7)
        assert int(jnp.sum(jnp.any(gradient[-1] != 0, -1))) >= 12
        # Forward mode gives the same derivative.
        np.testing.assert_allclose(tangent, jnp.sum(gradient * direction, (1, 2)), rtol=1e-9)


def test_vmap_equals_a_loop():
    size, intrinsics = 16, pinhole(16).astype(np.float32)
    degrees = [[0.3, 0.2, 0.1], [25, 10, 3], [-60, 5, 80], [179.0, 2, 1]]
    depth = bump(size).astype(np.float32)
    points = jnp.stack([turn(depth, np.deg2rad(a), intrinsics, size) for a in degrees])

    def render(points):
        return render_depth(points, intrinsics, size)

    single = jax.jit(render)
    depths, masks = jax.jit(jax.vmap(render))(points)
    for i in range(len(degrees)):
        depth, mask = single(points[i])
        np.testing.assert_array_equal(masks[i], mask)
        np.testing.assert_allclose(depths[i], depth, atol=1e-6)
    assert len({int(m.sum()) for m in masks}) > 2  # the views need unlike numbers of steps


def test_background_image_has_no_nan_gradient():
    size, intrinsics = 8, jnp.asarray(pinhole(8), jnp.float32)

    def loss(points, intrinsics):
        depth, mask = render_depth(points, intrinsics, size, background=2.0)
        return jnp.sum(depth**2), mask

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))
    points = turn(jnp.ones((size, size)), jnp.zeros(3), intrinsics, size)
    for moved in (points + jnp.array([5.0, 0, 0]), points * 0, points - jnp.array([0, 0, 3.0])):
        gradients, mask = gradient(moved, intrinsics)
        assert not mask.any()
        chex.assert_trees_all_equal(gradients, jax.tree.map(jnp.zeros_like, gradients))


def test_bad_input_raises_one_clear_error():
    vertices, faces = jnp.zeros((4, 3)), np.array([[0, 1, 2]])
    with pytest.raises(FacesemError, match="vertices has shape"):
        rasterize(jnp.zeros((4, 2)), faces, 8)
    with pytest.raises(FacesemError, match="faces has shape"):
        rasterize(vertices, np.zeros((2, 4), int), 8)
    with pytest.raises(FacesemError, match="vertices has dtype"):
        rasterize(jnp.zeros((4, 3), int), faces, 8)
    with pytest.raises(FacesemError, match="faces has dtype"):
        rasterize(vertices, faces.astype(float), 8)
    with pytest.raises(FacesemError, match="indices from 0 to 4"):
        rasterize(vertices, np.array([[0, 1, 4]]), 8)
    with pytest.raises(FacesemError, match="empty"):
        rasterize(vertices, faces[:0], 8)
    with pytest.raises(FacesemError, match="pairs_per_step"):
        rasterize(vertices, faces, 8, pairs_per_step=0)
    for image_size in (0, (8, 8, 3), (8, -1), 8.0):
        with pytest.raises(FacesemError, match="image_size"):
            rasterize(vertices, faces, image_size)
    with pytest.raises(FacesemError, match="intrinsics has shape"):
        render_depth(jnp.ones((4, 4, 3)), jnp.eye(4), 8)
    with pytest.raises(FacesemError, match="vertices has shape"):
        render_depth(jnp.ones((16, 3)), jnp.eye(3), 8)
    with pytest.raises(FacesemError, match="no cells"):
        render_depth(jnp.ones((1, 4, 3)), jnp.eye(3), 8)
