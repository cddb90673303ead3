"""The rasteriser against z-buffers in NumPy and numba: images per second, at three sizes."""

import sys

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import machine
from benchmarks.tables import goal, number, paragraphs, table, with_spread
from benchmarks.timing import interleaved, spread
from benchmarks.zbuffers import numba_zbuffer, numpy_zbuffer
from facesem_jax.decomposer.rasterizer import grid_faces, rasterize

SIZES = (64, 128, 256)
BATCH = 8
ROUNDS = 9
YAW_DEGREES = 25.0


def meshes(size: int, batch: int) -> np.ndarray:
    """Grid meshes of a turned bump, as a face's depth map gives them: pixels and depth."""
    rng = np.random.default_rng(0)
    at = (np.arange(size) - (size - 1) / 2) / size
    x, y = np.meshgrid(at, at)
    height = rng.uniform(0.2, 0.4, (batch, 1, 1)) * np.exp(-(x**2 + y**2) / 0.08)
    turn = np.radians(rng.uniform(-YAW_DEGREES, YAW_DEGREES, (batch, 1, 1)))
    turned_x = np.cos(turn) * x - np.sin(turn) * height
    z = 6.0 - (np.sin(turn) * x + np.cos(turn) * height)
    centre = (size - 1) / 2
    u = 6.0 * turned_x / z * size + centre
    v = 6.0 * y / z * size + centre
    vertices = np.stack([u, np.broadcast_to(v, u.shape), z], axis=-1)
    return vertices.reshape(batch, -1, 3).astype(np.float32)


def _agreement(ours: np.ndarray, theirs: np.ndarray) -> dict:
    """Where both see the mesh: the largest difference of 1/z's scale; and what one misses."""
    both = (ours > 0) & (theirs > 0)
    return {
        "difference": float(np.abs(ours - theirs)[both].max()),
        "differ": float(np.mean(np.abs(ours - theirs)[both] > 1e-4)),
        "missed": float(np.mean((ours > 0) != (theirs > 0))),
        "covered": float(np.mean(ours > 0)),
    }


def run(quick: bool = False) -> dict:
    """Rates of every rasteriser at every size, and how far the depths agree."""
    rounds = 3 if quick else ROUNDS
    skipped = None
    try:
        compiled = numba_zbuffer()
    except ImportError:
        compiled, skipped = None, "numba is not installed: its z-buffer is left out."
    rows = {}
    for size in SIZES[:2] if quick else SIZES:
        print(f"  {size} pixels", file=sys.stderr, flush=True)
        vertices, faces = meshes(size, BATCH), grid_faces(size, size)
        on_device = jnp.asarray(vertices)

        def draw(v, faces=faces, size=size):
            return rasterize(v, faces, size).depth

        forward = jax.jit(jax.vmap(draw))
        gradient = jax.jit(jax.grad(lambda v: jnp.sum(jnp.square(jax.vmap(draw)(v)))))
        one = jax.jit(draw)
        calls = {
            "ours": lambda: forward(on_device),  # noqa: B023
            "ours, one image at a time": lambda: [one(v) for v in on_device],  # noqa: B023
            "ours, with gradient": lambda: gradient(on_device),  # noqa: B023
            "NumPy": lambda: [numpy_zbuffer(v, faces, size) for v in vertices],  # noqa: B023
        }
        if compiled is not None:
            calls["numba"] = lambda: compiled(vertices, faces, size)  # noqa: B023
        seconds = interleaved(calls, rounds, at_most={"NumPy": 5})
        depth = np.asarray(forward(on_device))
        agreement = {"NumPy": np.stack(calls["NumPy"]())}
        if compiled is not None:
            agreement["numba"] = calls["numba"]()
        rows[str(size)] = {
            "rates": {name: spread([BATCH / s for s in taken]) for name, taken in seconds.items()},
            "agreement": {name: _agreement(depth, theirs) for name, theirs in agreement.items()},
        }
    return {
        "skipped": skipped,
        "batch": BATCH,
        "threads": machine.cores(),
        "pytorch3d": machine.version("pytorch3d"),
        "sizes": rows,
    }


def markdown(data: dict) -> str:
    """The section."""
    sizes = data["sizes"]
    names = list(next(iter(sizes.values()))["rates"])
    rows = [[name, *(with_spread(s["rates"][name]) for s in sizes.values())] for name in names]
    agreement = [
        [
            f"{name}, {size}",
            number(a["difference"], 2),
            f"{a['differ']:.3%}",
            f"{a['missed']:.3%}",
            f"{a['covered']:.0%}",
        ]
        for size, s in sizes.items()
        for name, a in s["agreement"].items()
    ]
    pytorch3d = (
        f"PyTorch3D {data['pytorch3d']} is installed but not compared here."
        if data["pytorch3d"]
        else "PyTorch3D is not compared: PyPI has no distribution of it for this Python "
        "(`pip install pytorch3d`: no matching distribution), and its CPU rasteriser would have "
        "to be built from source."
    )
    return paragraphs(
        "## Rasteriser",
        "Grid meshes of a turned bump with one vertex per pixel, "
        f"{data['batch']} images, float32, {data['threads']} threads: images per second. The "
        "z-buffer in NumPy works through the triangles by the size of their boxes, that in numba "
        "is a compiled loop over triangles and pixels with one image per thread. Neither has a "
        f"gradient, so ours alone is timed with one (of the vertices). {pytorch3d}",
        table(["images per second", *(f"{s} pixels" for s in sizes)], rows),
        "Depths against ours, where both see the mesh (depth about 6):",
        table(
            ["", "largest difference", "above 1e-4", "pixels one misses", "covered"],
            agreement,
        ),
        "\n".join(_findings(data)),
        data["skipped"] or "",
    )


def _findings(data: dict) -> list[str]:
    found = [a for s in data["sizes"].values() for a in s["agreement"].values()]
    worst = max(max(a["differ"], a["missed"]) for a in found)
    lines = [
        goal(
            "the depths of the other z-buffers, but for 0.1 % of the pixels",
            worst <= 1e-3,
            f"at most {worst:.3%} differ or are missed",
            "On the silhouette and where two layers meet, rounding decides.",
        )
    ]
    for name in ("NumPy", "numba"):
        ratios = [
            s["rates"]["ours"]["median"] / s["rates"][name]["median"]
            for s in data["sizes"].values()
            if name in s["rates"]
        ]
        if ratios:
            low, high = number(min(ratios), 2), number(max(ratios), 2)
            lines.append(f"- Ours draws {low} to {high} times as many images as {name}, forward.")
            if min(ratios) < 1 and name == "numba":
                lines[-1] += (
                    " A compiled loop stops at the pixels of one triangle after the other; XLA "
                    "has no such loop, so ours lists all (triangle, pixel) pairs and scatters "
                    "them. What that buys is the gradient, vmap, and GPUs and TPUs."
                )
    return lines
