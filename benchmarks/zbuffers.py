"""Plain z-buffers to compare with: one in NumPy, one in numba. Depth (h, w), 0 where empty.

A triangle covers a pixel if the three edge functions have one sign, as in
`facesem_jax.decomposer.rasterizer`; both windings are drawn.
"""

import math

import numpy as np


def numpy_zbuffer(vertices: np.ndarray, faces: np.ndarray, size: int) -> np.ndarray:
    """Every triangle over its bounding box; triangles with equally large boxes in one go."""
    x, y, z = (vertices[faces, axis] for axis in range(3))
    left, right = np.ceil(x.min(axis=1)), np.floor(x.max(axis=1))
    top, bottom = np.ceil(y.min(axis=1)), np.floor(y.max(axis=1))
    left, top = np.maximum(left, 0).astype(int), np.maximum(top, 0).astype(int)
    columns = np.minimum(right, size - 1).astype(int) - left + 1
    rows = np.minimum(bottom, size - 1).astype(int) - top + 1
    depth = np.full(size * size, np.inf, vertices.dtype)
    kept = (columns > 0) & (rows > 0)
    for width, height in np.unique(np.stack([columns[kept], rows[kept]]), axis=1).T:
        group = np.flatnonzero(kept & (columns == width) & (rows == height))
        qx = left[group, None] + np.arange(width * height) % width
        qy = top[group, None] + np.arange(width * height) // width
        ax, ay = x[group, :, None] - qx[:, None], y[group, :, None] - qy[:, None]
        weights = [
            ax[:, i - 2] * ay[:, i - 1] - ay[:, i - 2] * ax[:, i - 1] for i in range(3)
        ]  # w_i = p_{i+1} x p_{i+2}
        w = np.stack(weights, axis=1)
        inside = (w >= 0).all(axis=1) | (w <= 0).all(axis=1)
        total = w.sum(axis=1)
        inside &= total != 0
        share = (w / z[group, :, None]).sum(axis=1)
        found = np.divide(total, share, out=np.full_like(total, np.inf), where=inside)
        np.minimum.at(depth, (qy * size + qx)[inside], found[inside])
    return np.where(np.isinf(depth), 0, depth).reshape(size, size)


def _scanline(vertices, faces, size):
    depth = np.full((size, size), np.inf, vertices.dtype)
    for f in range(faces.shape[0]):
        a, b, c = vertices[faces[f, 0]], vertices[faces[f, 1]], vertices[faces[f, 2]]
        left = max(math.ceil(min(a[0], b[0], c[0])), 0)
        right = min(math.floor(max(a[0], b[0], c[0])), size - 1)
        top = max(math.ceil(min(a[1], b[1], c[1])), 0)
        bottom = min(math.floor(max(a[1], b[1], c[1])), size - 1)
        for row in range(top, bottom + 1):
            for column in range(left, right + 1):
                ax, ay = a[0] - column, a[1] - row
                bx, by = b[0] - column, b[1] - row
                cx, cy = c[0] - column, c[1] - row
                u, v, w = bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx
                if not ((u >= 0 and v >= 0 and w >= 0) or (u <= 0 and v <= 0 and w <= 0)):
                    continue
                total = u + v + w
                if total == 0:
                    continue
                z = total / (u / a[2] + v / b[2] + w / c[2])
                if z < depth[row, column]:
                    depth[row, column] = z
    for row in range(size):
        for column in range(size):
            if depth[row, column] == np.inf:
                depth[row, column] = 0
    return depth


def numba_zbuffer(*, parallel: bool = True):
    """A compiled function of (n, v, 3) vertices, faces and a size: one image per thread.

    Raises:
      ImportError: Without numba.
    """
    import numba

    one = numba.njit(_scanline, fastmath=False, nogil=True)

    @numba.njit(parallel=parallel, nogil=True)
    def batch(vertices, faces, size):
        depth = np.empty((vertices.shape[0], size, size), vertices.dtype)
        for i in numba.prange(vertices.shape[0]):
            depth[i] = one(vertices[i], faces, size)
        return depth

    return batch
