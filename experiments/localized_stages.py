"""The stages of `experiments.localized`: each takes models and latents, and gives arrays."""

from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from experiments.localized_results import ComponentTable, Strip
from facesem_jax.semantics import components as component_numbers
from facesem_jax.semantics.edits import sweep, unit_step
from facesem_jax.semantics.environment import (
    direction_cosine,
    regression_directions,
    stream_exact_directions,
)
from facesem_jax.semantics.regions import Atlas, unique_labels
from facesem_jax.semantics.scaling import maps_from_matrix
from facesem_jax.semantics.semantic_function import (
    ENVIRONMENT_UNITS,
    EnvironmentSemantics,
    LocalSemantics,
    framed_images,
)

#: Reports progress: what is iterated, what it is called, how many there are.
Track = Callable[[Iterable, str, int], Iterable]
ANGLES = ("pitch", "yaw", "roll")


@jax.jit
def call(f, x):
    """A pytree function of one argument, jitted."""
    return f(x)


@jax.jit
def synthesize(generator, w):
    """Images of latents, at the generator's own size."""
    return generator.synthesis(w)


@jax.jit
def frame(f, w):
    """Images of latents as the decomposer sees them."""
    return framed_images(f, w)


def latents(
    generator, sizes: dict[str, int], seed: int, truncation_psi: float = 1.0
) -> dict[str, Float[np.ndarray, "n d"]]:
    """Latents in disjoint sets, so that no number is scored on what it was fitted to.

    Args:
      generator: Maps z to w.
      sizes: Set to number of latents.
      seed: Seeds z.
      truncation_psi: Truncation of w, 1 for none (a pure number).
    """
    z = jax.random.normal(jax.random.key(seed), (sum(sizes.values()), generator.config.z_dim))
    mapped = np.asarray(jax.jit(lambda m, z: m(z, truncation_psi))(generator.mapping, z))
    bounds = np.cumsum(list(sizes.values()))[:-1]
    return dict(zip(sizes, np.split(mapped, bounds), strict=True))


def images_at_once(f) -> int:
    """How many of a generator's images are held at once: 64, fewer from 256x256 up.

    Args:
      f: A generator, or semantics that hold one.
    """
    resolution = getattr(f, "generator", f).config.resolution
    # About 2^20 pixels: the upper layers of a 1024x1024 image alone take a gigabyte.
    return max(1, min(64, 2**20 // resolution**2))


def in_batches(
    f, xs, track: Track, name: str, *, call=call, batch: int | None = None
) -> np.ndarray:
    """``call(f, xs)`` in batches of one size, so that it is compiled once.

    Args:
      f: A generator, or semantics that hold one; the first argument of ``call``.
      xs: Inputs along the first axis.
      track: Progress.
      name: What the progress is called.
      call: Jitted function of (f, batch).
      batch: Size of the batches; as many as are held at once where not given. A smaller one saves
        work where a few inputs come once.

    Returns:
      The outputs, joined.
    """
    xs, batch = jnp.asarray(xs), batch or images_at_once(f)
    count = -(-xs.shape[0] // batch)
    padded = jnp.concatenate([xs, jnp.repeat(xs[-1:], count * batch - xs.shape[0], axis=0)])
    parts = [
        np.asarray(call(f, padded[i * batch : (i + 1) * batch]))
        for i in track(range(count), name, count)
    ]
    return np.concatenate(parts)[: xs.shape[0]]


def environment_stage(
    f: EnvironmentSemantics,
    ws: Float[np.ndarray, "n d"],
    exact_samples: int,
    track: Track,
) -> tuple[Float[np.ndarray, "k d"], dict[str, dict]]:
    """Directions of the global semantics.

    Args:
      f: The global semantics.
      ws: Latents; the last quarter is held out.
      exact_samples: How many of them the exact gradients are averaged over.
      track: Progress.

    Returns:
      The regression's directions in the rows (unit of the semantic per unit of w), and per name
      its unit, held-out R^2, spread (standard deviation) and the cosine between the regression's
      and the exact direction.
    """
    ys = in_batches(f, ws, track, "pose and light of samples")
    fit = regression_directions(jnp.asarray(ws), jnp.asarray(ys), f.names)
    batch = 8
    steps = stream_exact_directions(f, jnp.asarray(ws[:exact_samples]), batch_size=batch)
    for step in track(steps, "exact pose and light gradients", -(-exact_samples // batch)):
        last = step
    exact = last.moments.mean
    cosine = direction_cosine(fit.v, exact)
    numbers = {
        name: {
            "unit": ENVIRONMENT_UNITS[name],
            "r2": float(fit.r2_heldout[k]),
            "r2_train": float(fit.r2_train[k]),
            "cosine": float(cosine[k]),
            "spread": float(np.std(ys[:, k])),
        }
        for k, name in enumerate(f.names)
    }
    return np.asarray(fit.v), numbers


def environment_strips(
    f: EnvironmentSemantics,
    v: Float[np.ndarray, "k d"],
    numbers: dict[str, dict],
    faces: Float[np.ndarray, "m d"],
    heldout: Float[np.ndarray, "n d"],
    track: Track,
) -> list[Strip]:
    """Moves faces along every global semantic and measures what the decomposer sees.

    Angles move by up to 20 degrees, the others by up to two of their standard deviations. Adds
    ``edit_asked`` and ``edit_measured`` (half the mean difference between the two ends) to
    ``numbers``.

    Args:
      f: The global semantics.
      v: Directions in the rows.
      numbers: As `environment_stage` returns; extended.
      faces: Latents of the faces that are shown.
      heldout: Latents that took no part in the fit, for the measured change.
      track: Progress.

    Returns:
      One strip per semantic.
    """
    steps = np.asarray(unit_step(jnp.asarray(v)))
    limits = np.array([20.0 if n in ANGLES else 2 * numbers[n]["spread"] for n in f.names])
    amounts = np.linspace(-1, 1, 7) * limits[:, None]
    images = strip_images(f, faces, steps, amounts, track, "pose and light strips")
    base = in_batches(f, heldout, silent, "")
    measured = np.zeros_like(amounts)
    for k in track(range(len(f.names)), "asked and measured", len(f.names)):
        moved = np.asarray(sweep(jnp.asarray(heldout), steps[k], amounts[k]))
        values = in_batches(f, moved.reshape(-1, moved.shape[-1]), silent, "")[:, k]
        measured[k] = (values.reshape(amounts.shape[1], -1) - base[:, k]).mean(axis=1)
        numbers[f.names[k]] |= {
            "edit_asked": float(limits[k]),
            "edit_measured": float((measured[k, -1] - measured[k, 0]) / 2),
        }
    return [
        Strip(name, ENVIRONMENT_UNITS[name], amounts[k], images[k], measured[k])
        for k, name in enumerate(f.names)
    ]


def component_stage(
    local: LocalSemantics,
    environment: EnvironmentSemantics,
    arranged: component_numbers.Components,
    scale: Float[np.ndarray, "h w 4"],
    ws: Float[np.ndarray, "n d"],
    probes: Float[np.ndarray, "m d"],
    track: Track,
) -> tuple[ComponentTable, Float[np.ndarray, " P"]]:
    """Names the components and measures their edits on probe faces.

    Args:
      local: The pixel-level semantics.
      environment: The global semantics, of which pitch, yaw, roll and light are read.
      arranged: Components in their final order.
      scale: The scale of the factorisation.
      ws: Latents, for the spread of W along each direction.
      probes: Latents that are edited.
      track: Progress.

    Returns:
      The table, and every component's spread: the standard deviation of ``w . v_p``, by two of
      which the measured edits move.
    """
    maps = np.asarray(maps_from_matrix(arranged.U, jnp.asarray(scale)))
    directions = np.asarray(arranged.V).T
    spreads = np.std(ws @ directions.T, axis=0)
    atlas = Atlas(*maps.shape[1:3])
    names = [atlas.name(m) for m in maps]
    live = np.asarray(arranged.live)

    count, chosen = len(maps), np.flatnonzero(live)
    locality, view_leak, light_leak = (np.full(count, np.nan) for _ in range(3))
    angles = [environment.names.index(n) for n in ANGLES]
    lights = [k for k, n in enumerate(environment.names) if n not in ANGLES]
    # All edits in one array, the unmoved faces first: full batches, one compilation each.
    steps = np.concatenate(
        [np.zeros_like(directions[:1]), 2 * spreads[chosen, None] * directions[chosen]]
    )
    both = np.stack([probes + s * steps[:, None] for s in (1, -1)], axis=1)
    flat = both.reshape(-1, both.shape[-1])
    for f, name in ((local, "edits of components"), (environment, "their leakage")):
        values = in_batches(f, flat, track, name)
        values = values.reshape(*both.shape[:-1], *values.shape[1:])
        change = values[1:] - values[:1]
        for p, own in zip(chosen, change, strict=True):
            own = own.reshape(-1, *own.shape[2:])
            if f is local:
                locality[p] = component_numbers.edit_locality(own * scale, maps[p])
            else:
                view_leak[p] = np.abs(own[:, angles]).mean()
                light_leak[p] = np.abs(own[:, lights]).mean()
    support = np.asarray(component_numbers.support(maps))
    unmasked = np.asarray(scale).any(axis=-1)
    table = ComponentTable(
        U=maps,
        V=directions,
        labels=unique_labels([n.name for n in names]),
        regions=[n.name for n in names],
        confidence=np.array([n.confidence for n in names]),
        shares=np.asarray(arranged.shares),
        effective_area=np.asarray(component_numbers.effective_area(maps)),
        edit_locality=locality,
        support_area=support.sum(axis=(1, 2)) / unmasked.sum(),
        view_leakage_degrees=view_leak,
        light_leakage=light_leak,
        live=live,
    )
    return table, spreads


def component_strips(
    local: LocalSemantics,
    table: ComponentTable,
    spreads: Float[np.ndarray, " P"],
    faces: Float[np.ndarray, "m d"],
    track: Track,
) -> list[Strip]:
    """Strips of the live components, each from -4 to 4 of its spreads."""
    live = np.flatnonzero(table.live)
    amounts = np.linspace(-4, 4, 7) * spreads[live, None]
    images = strip_images(local, faces, table.V[live], amounts, track, "manipulation strips")
    return [
        Strip(table.labels[p], "w", own, drawn)
        for p, own, drawn in zip(live, amounts, images, strict=True)
    ]


def strip_images(f, faces, steps, amounts, track, name) -> Float[np.ndarray, "k m t h w 3"]:
    """Every face moved along every one of k steps by its t amounts."""
    moved = faces[None, :, None] + amounts[:, None, :, None] * steps[:, None, None]
    images = in_batches(f, moved.reshape(-1, moved.shape[-1]), track, name, call=frame)
    return images.reshape(*moved.shape[:-1], *images.shape[1:])


def silent(iterable: Iterable, name: str, total: int) -> Iterable:
    """A `Track` that shows nothing."""
    del name, total
    return iterable
