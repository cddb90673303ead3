"""A differentiable z-buffer mesh rasteriser in pure JAX (CPU, GPU and TPU).

It takes the place of the CUDA-only renderer of Unsup3D (Wu et al., "Unsupervised Learning of
Probably Symmetric Deformable 3D Objects from Images in the Wild", CVPR 2020, section 3.1:
the depth map of the rotated canonical surface). Two stages:

1. *Visibility* is integer-valued, so it is computed outside differentiation. Every triangle
   claims the pixels of its bounding box; a prefix sum over the box areas numbers all
   (triangle, pixel) pairs, and a ``while_loop`` works through them in chunks of a fixed size
   (the load balancing of Laine and Karras, "High-performance software rasterization on
   GPUs", HPG 2011). The cost follows the sum of the box areas: exact for any mesh, cheap for
   a grid mesh whose triangles are about a pixel wide.
2. *Depth and barycentric coordinates* are recomputed from the visible triangle's three
   corners, with exact derivatives.

A batch is rendered with ``jax.vmap``.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from facesem_jax.checks import check_floating, check_shape
from facesem_jax.errors import FacesemError


class Fragments(NamedTuple):
    """What each pixel sees.

    Attributes:
      face_index: (H, W) int32, the visible triangle's row in ``faces``; -1 for background.
      barycentric: (H, W, 3), perspective-correct weights lambda_i of the triangle's corners,
        in the order of its row in ``faces``: any attribute a of the vertices takes the value
        sum_i lambda_i a_i. They sum to 1; 0 for background.
      depth: (H, W), camera-space z in the unit of the vertices; 0 for background.
      mask: (H, W) bool, false for background.
    """

    face_index: Int[Array, "h w"]
    barycentric: Float[Array, "h w 3"]
    depth: Float[Array, "h w"]
    mask: Bool[Array, "h w"]


def rasterize(
    vertices: Float[Array, "v 3"],
    faces: Int[Array, "f 3"],
    image_size: int | tuple[int, int],
    *,
    pixel_center: float = 0.0,
    near: float = 1e-3,
    pairs_per_step: int | None = None,
) -> Fragments:
    """Finds the nearest triangle at every pixel centre, and its depth there.

    With the edge functions w_i(q) = (p_{i+1} - q) x (p_{i+2} - q) of the corners' pixel
    positions p_i, a triangle covers q if the three have one sign. 1/z is affine in the image,
    so the depth is z = sum_i w_i / sum_i (w_i / z_i), and the perspective-correct weights are
    lambda_i = z (w_i / z_i) / sum_j w_j.

    Rules:
      * A pixel centre on an edge or corner belongs to every triangle that touches it, and two
        triangles that share an edge never leave a gap between them.
      * Both windings are drawn.
      * Equal depths go to the smaller face index. The order of faces has no other effect.
      * A triangle is dropped whole if it is degenerate in the image (to rounding), if a
        corner is not finite, or if a corner has z <= ``near``: there is no clipping.

    Derivatives with respect to ``vertices`` are exact where the visible triangle stays the
    same. Visibility itself has none: a silhouette's motion contributes nothing, and on an
    edge between two triangles the derivative is that of the one chosen.

    Args:
      vertices: Per vertex the pixel-space x (along columns) and y (along rows), in pixels,
        and the camera-space z (forward) in any unit.
      faces: Rows of three indices into ``vertices``.
      image_size: H = W, or (H, W), in pixels.
      pixel_center: Offset in pixels of the centres: that of row i, column j lies at
        (x, y) = (j + pixel_center, i + pixel_center). 0 is Unsup3D's convention, 0.5 OpenGL's.
      near: Depth, in the unit of z, at or in front of which nothing is drawn.
      pairs_per_step: How many (triangle, pixel) pairs are tested at once. It bounds the
        memory, and changes the speed but not the result. Default: the larger of half
        the number of faces and the number of pixels. All pairs together must stay below 2^31.

    Returns:
      The fragments, in the dtype of ``vertices``.

    Raises:
      FacesemError: On wrong shapes or dtypes, no faces, an empty image, or (where ``faces``
        is a NumPy array) an index outside ``vertices``.
    """
    height, width = _image_size(image_size)
    check_shape("vertices", vertices, (None, 3))
    check_floating("vertices", vertices)
    _check_faces(faces, jnp.shape(vertices)[0])
    if pairs_per_step is None:
        pairs_per_step = max(jnp.shape(faces)[0] // 2, height * width)
    if pairs_per_step < 1:
        raise FacesemError(f"pairs_per_step is {pairs_per_step}; expected at least 1.")
    vertices, faces = jnp.asarray(vertices), jnp.asarray(faces)
    size = (height, width)
    return _rasterize(vertices, faces, pixel_center, near, size, int(pairs_per_step))


def render_depth(
    vertices: Float[Array, "h w 3"],
    intrinsics: Float[Array, "3 3"],
    image_size: int | tuple[int, int],
    *,
    pixel_center: float = 0.0,
    background: float | Float[Array, ""] = 0.0,
    near: float = 1e-3,
) -> tuple[Float[Array, "H W"], Bool[Array, "H W"]]:
    """Renders the depth map of a regular grid of points joined by two triangles per cell.

    The points project to u = f_x x / z + c_x, v = f_y y / z + c_y, in pixels; the depth is
    differentiable with respect to the points and the intrinsics, as in `rasterize`.

    Args:
      vertices: Camera-space points (x right, y down, z forward), in one unit.
      intrinsics: [[f_x, 0, c_x], [0, f_y, c_y], [0, 0, 1]] in pixels; the rest is not read.
      image_size: H = W, or (H, W), in pixels.
      pixel_center: Offset of the pixel centres in pixels, see `rasterize`.
      background: Depth given to the pixels that see no triangle.
      near: Depth at or in front of which nothing is drawn.

    Returns:
      The depth (H, W) in the unit of ``vertices``, and the mask (H, W), false for background.

    Raises:
      FacesemError: On wrong shapes or dtypes, a grid smaller than 2 x 2, or an empty image.
    """
    check_shape("vertices", vertices, (None, None, 3))
    check_floating("vertices", vertices)
    check_shape("intrinsics", intrinsics, (3, 3))
    check_floating("intrinsics", intrinsics)
    vertices, intrinsics = jnp.asarray(vertices), jnp.asarray(intrinsics)
    faces = grid_faces(*vertices.shape[:2])
    focal = jnp.stack([intrinsics[0, 0], intrinsics[1, 1]])
    centre = jnp.stack([intrinsics[0, 2], intrinsics[1, 2]])
    z = vertices[..., 2:]
    # Points that rasterize will drop must not divide by zero: 0 * inf in the backward pass.
    z_safe = jnp.where(z > near, z, jnp.ones_like(z))
    projected = jnp.concatenate([focal * vertices[..., :2] / z_safe + centre, z], axis=-1)
    fragments = rasterize(
        projected.reshape(-1, 3), faces, image_size, pixel_center=pixel_center, near=near
    )
    background = jnp.asarray(background, fragments.depth.dtype)
    return jnp.where(fragments.mask, fragments.depth, background), fragments.mask


def grid_faces(height: int, width: int) -> Int[np.ndarray, "f 3"]:
    """Triangles of a regular grid: each cell is split along its (0, 1) - (1, 0) diagonal.

    Args:
      height: Rows of vertices, at least 2.
      width: Columns of vertices, at least 2.

    Returns:
      Indices into the vertices in row-major order, (2 (height - 1) (width - 1), 3) int32.

    Raises:
      FacesemError: On a grid without cells.
    """
    if height < 2 or width < 2:
        raise FacesemError(f"A {height} x {width} grid has no cells; give at least 2 x 2 vertices.")
    index = np.arange(height * width, dtype=np.int32).reshape(height, width)
    top, right, left, bottom = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    pairs = np.stack(
        [np.stack([top, left, right], axis=-1), np.stack([right, left, bottom], axis=-1)], axis=2
    )
    return pairs.reshape(-1, 3)


def _image_size(image_size) -> tuple[int, int]:
    size = (image_size, image_size) if np.ndim(image_size) == 0 else tuple(image_size)
    whole = len(size) == 2 and all(isinstance(s, int | np.integer) and s >= 1 for s in size)
    if not whole:
        raise FacesemError(
            f"image_size is {image_size!r}; expected a positive integer or (height, width)."
        )
    return int(size[0]), int(size[1])


def _check_faces(faces, num_vertices: int) -> None:
    check_shape("faces", faces, (None, 3))
    if not jnp.issubdtype(jnp.result_type(faces), jnp.integer):
        raise FacesemError(f"faces has dtype {jnp.result_type(faces)}; expected integers.")
    if jnp.shape(faces)[0] == 0:
        raise FacesemError("faces is empty; give at least one triangle.")
    if isinstance(faces, np.ndarray) and (faces.min() < 0 or faces.max() >= num_vertices):
        raise FacesemError(
            f"faces holds indices from {faces.min()} to {faces.max()}; "
            f"expected 0 to {num_vertices - 1}, the rows of vertices."
        )


def _edge_functions(x, y) -> list[Array]:
    """Edge functions w_i = p_{i+1} x p_{i+2} of three corners given relative to the pixel."""
    # Lists of three arrays, not arrays with an axis of three: XLA then fuses the whole test
    # into one loop without gathers or branches, and compiles it several times faster.
    w = []
    for i in range(3):
        xa, ya, xb, yb = x[(i + 1) % 3], y[(i + 1) % 3], x[(i + 2) % 3], y[(i + 2) % 3]
        # Two triangles walk their common edge in opposite directions. A compiler that
        # contracts a*b - c*d to a fused multiply-add breaks the antisymmetry of the product,
        # and a pixel on the edge could miss both; one order of the ends gives one value.
        swap = (xa > xb) | ((xa == xb) & (ya > yb))
        x0, x1 = jnp.where(swap, xb, xa), jnp.where(swap, xa, xb)
        y0, y1 = jnp.where(swap, yb, ya), jnp.where(swap, ya, yb)
        cross = x0 * y1 - y0 * x1
        w.append(jnp.where(swap, -cross, cross))
    return w


def _pixel_span(low: Array, high: Array, size: int) -> tuple[Int[Array, "f"], Int[Array, "f"]]:
    """First pixel in [low, high] and how many follow, within 0 <= pixel < size."""
    # Clipped before the conversion, so that far-away corners cannot overflow an integer.
    first = jnp.clip(jnp.ceil(low), 0, size).astype(jnp.int32)
    last = jnp.clip(jnp.floor(high), -1, size - 1).astype(jnp.int32)
    return first, jnp.maximum(last - first + 1, 0)


@partial(jax.jit, static_argnames=("size", "pairs_per_step"))
def _rasterize(vertices, faces, pixel_center, near, size, pairs_per_step) -> Fragments:
    constant = jax.lax.stop_gradient(vertices)
    face_index = _visible_faces(constant, faces, pixel_center, near, size, pairs_per_step)
    return _shade(vertices, faces, face_index, pixel_center)


def _visible_faces(
    vertices: Float[Array, "v 3"],
    faces: Int[Array, "f 3"],
    pixel_center: float,
    near: float,
    size: tuple[int, int],
    pairs_per_step: int,
) -> Int[Array, "h w"]:
    """Index of the nearest triangle at every pixel, -1 for none."""
    height, width = size
    num_faces, num_pixels = faces.shape[0], height * width
    corners = jnp.transpose(vertices[faces], (2, 1, 0))  # coordinate, corner, face
    x, y, z = corners[0] - pixel_center, corners[1] - pixel_center, corners[2]
    ux, uy, vx, vy = x[1] - x[0], y[1] - y[0], x[2] - x[0], y[2] - y[0]
    rounding = 4 * jnp.finfo(vertices.dtype).eps * (jnp.abs(ux * vy) + jnp.abs(uy * vx))
    usable = jnp.abs(ux * vy - uy * vx) > rounding
    usable &= jnp.all(jnp.isfinite(corners), axis=(0, 1)) & jnp.all(z > near, axis=0)
    left, columns = _pixel_span(x.min(axis=0), x.max(axis=0), width)
    top, rows = _pixel_span(y.min(axis=0), y.max(axis=0), height)
    pairs = jnp.where(usable, rows * columns, 0)
    ends = jnp.cumsum(pairs)
    starts = ends - pairs
    inverse_z = 1 / jnp.where(usable, z, jnp.ones_like(z))

    def more(state):
        return state[0] < ends[-1]

    def step(state):
        begin, nearest, index = state
        pair = begin + jnp.arange(pairs_per_step, dtype=jnp.int32)
        face = jnp.searchsorted(ends, pair, side="right").astype(jnp.int32)
        live = face < num_faces
        face = jnp.minimum(face, num_faces - 1)
        box_columns = jnp.maximum(columns[face], 1)
        row = (pair - starts[face]) // box_columns
        column = left[face] + pair - starts[face] - row * box_columns
        row = row + top[face]
        w = _edge_functions([c[face] - column for c in x], [c[face] - row for c in y])
        total = w[0] + w[1] + w[2]
        positive = (w[0] >= 0) & (w[1] >= 0) & (w[2] >= 0)
        negative = (w[0] <= 0) & (w[1] <= 0) & (w[2] <= 0)
        depth = total / sum(wi * c[face] for wi, c in zip(w, inverse_z, strict=True))
        # The last condition also drops the NaN of overflow or of three vanishing weights.
        inside = live & (positive | negative) & (depth > 0)
        pixel = jnp.where(inside, row * width + column, num_pixels)
        # The winner is found by equality, so both uses must see one rounding of the depth:
        # the barrier keeps a compiler from computing it twice in different ways.
        depth, pixel = jax.lax.optimization_barrier((depth, pixel))
        closer = nearest.at[pixel].min(depth, mode="drop")
        wins = depth == closer.at[pixel].get(mode="fill", fill_value=jnp.nan)
        index = jnp.where(closer < nearest, num_faces, index)
        index = index.at[jnp.where(wins, pixel, num_pixels)].min(face, mode="drop")
        return begin + pairs_per_step, closer, index

    start = (
        jnp.zeros((), jnp.int32),
        jnp.full((num_pixels,), jnp.inf, vertices.dtype),
        jnp.full((num_pixels,), num_faces, jnp.int32),
    )
    index = jax.lax.while_loop(more, step, start)[2]
    return jnp.where(index == num_faces, -1, index).reshape(height, width)


def _shade(
    vertices: Float[Array, "v 3"],
    faces: Int[Array, "f 3"],
    face_index: Int[Array, "h w"],
    pixel_center: float,
) -> Fragments:
    """Depth and barycentric coordinates in the visible triangles, differentiable."""
    height, width = face_index.shape
    dtype = vertices.dtype
    mask = face_index >= 0
    corners = vertices[faces[jnp.maximum(face_index, 0)]]  # row, column, corner, coordinate
    corners = jax.lax.split(corners.reshape(height, width, 9), (1,) * 9, axis=2)
    x, y, z = ([c[..., 0] for c in corners[axis::3]] for axis in range(3))
    column = jnp.arange(width, dtype=dtype) + pixel_center
    row = jnp.arange(height, dtype=dtype)[:, None] + pixel_center
    # Background pixels take a harmless triangle, so that no derivative there is 0 * inf.
    x = [jnp.where(mask, c - column, i == 1) for i, c in enumerate(x)]
    y = [jnp.where(mask, c - row, i == 2) for i, c in enumerate(y)]
    w = _edge_functions(x, y)
    weighted = [wi / jnp.where(mask, c, 1) for wi, c in zip(w, z, strict=True)]
    normaliser = weighted[0] + weighted[1] + weighted[2]
    depth = jnp.where(mask, (w[0] + w[1] + w[2]) / normaliser, 0)
    barycentric = jnp.stack([jnp.where(mask, wi / normaliser, 0) for wi in weighted], axis=-1)
    return Fragments(face_index, barycentric, depth, mask)
