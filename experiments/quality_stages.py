"""The stages of `experiments.generator_quality`: faces in, numbers out."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from experiments import landmarks
from experiments.face_measures import luminance_measurements
from experiments.localized_stages import Track, in_batches, silent
from facesem_jax.decomposer.crop import crop_and_resize
from facesem_jax.metrics import (
    embed_faces,
    kernel_distance,
    lerp,
    linear_predictability,
    patch_distances,
    path_length,
    precision_recall,
    slerp,
)
from facesem_jax.semantics.inversion import psnr
from facesem_jax.training.face_stream import stream_latents

BATCH = 50
EPSILONS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""Steps that the path length is tried with."""
#: Generated faces against the stream's, and two halves of the stream against each other.
_PAIRS = [(0, 1), (1, 2)]
_DECOMPOSED = ("pitch", "yaw", "roll", "ambient", "diffuse", "light_x", "light_y")
_LANDMARKS = ("pitch", "yaw", "roll", "mouth_opening")
#: Names random streams that are no faces: ends of the paths, and places on them.
_PATHS = 7


@dataclasses.dataclass(frozen=True)
class Faces:
    """Faces as the decomposer sees them.

    Attributes:
      images: In [-1, 1].
      z: What they were drawn from.
      w: What was found to draw them from it; the encoder's for faces of the stream, or ``None``.
    """

    images: Float[np.ndarray, "n h w 3"]
    z: Float[np.ndarray, "n z"]
    w: Float[np.ndarray, "n d"] | None


@dataclasses.dataclass(frozen=True)
class Drawing:
    """Draws a generator's faces.

    Attributes:
      generator: The networks.
      crop: To the decomposer's framing, or ``None``.
      size: Pixels per side of the faces.
      psi: Truncation of w.
    """

    generator: Callable
    crop: object
    size: int
    psi: float

    def map(self, z):
        """Latents z to w, in batches."""
        psi = self.psi
        mapped = jax.jit(lambda generator, z: generator.mapping(z, psi))
        return in_batches(self.generator, z, silent, "", call=mapped, batch=1000)

    def framed(self, generator, w):
        """Latents w to faces in [-1, 1]; pure."""
        images = crop_and_resize(generator.synthesis(w), self.crop or "identity", self.size)
        return jnp.clip(images, -1, 1)

    def faces(self, count: int, seed: int, track: Track) -> Faces:
        """Draws so many faces; nothing is picked."""
        z_dim = self.generator.config.z_dim
        z = np.asarray(stream_latents(seed, 0, count, z_dim))
        w = self.map(z)
        call = jax.jit(self.framed)
        images = in_batches(self.generator, w, track, "generated faces", call=call, batch=BATCH)
        return Faces(images, z, w)


def patches_stage(sets: list[np.ndarray], seed: int, track: Track) -> dict[str, dict[str, float]]:
    """Sliced Wasserstein distances of patches, by the level's pixels, and their mean.

    Args:
      sets: Generated faces, and two sets of the stream's.
      seed: Seeds patches and directions.
      track: Progress.
    """
    levels = round(np.log2(sets[0].shape[1] / 16)) + 1
    rows = {}
    for size, found in track(patch_distances(sets, _PAIRS, seed=seed), "patches", levels):
        rows[str(size)] = dict(zip(("generator", "floor"), found, strict=True))
    keys = ("generator", "floor")
    rows["mean"] = {k: float(np.mean([row[k] for row in rows.values()])) for k in keys}
    return rows


def embeddings(network, images, track: Track, name: str) -> Float[np.ndarray, "n 128"]:
    """Features of faces."""
    return in_batches(network, images, track, name, call=jax.jit(embed_faces), batch=BATCH)


def coverage_stage(features: list[np.ndarray]) -> dict[str, dict]:
    """Precision, recall and kernel distance of generated faces, and of the stream against itself.

    Args:
      features: Of generated faces, and of two sets of the stream's.
    """
    generated, stream, other = features
    found = {}
    for name, against in (("generator", generated), ("floor", other)):
        kernel = kernel_distance(stream, against)
        found[name] = {
            **precision_recall(stream, against)._asdict(),
            "kernel": kernel.value,
            "kernel_error": kernel.error,
        }
    return found


def path_stage(
    network, drawing: Drawing, count: int, few: int, epsilon: float, seed: int, track: Track
) -> tuple[dict, dict[str, np.ndarray]]:
    """Perceptual path length in z and in w.

    Args:
      network: Whose features are the space.
      drawing: Draws the faces.
      count: Paths.
      few: Paths that other steps are tried on, and the exact derivative.
      epsilon: The step.
      seed: Seeds ends and places.
      track: Progress.

    Returns:
      The numbers, and the lengths of all paths by space.
    """
    z_dim, psi = drawing.generator.config.z_dim, drawing.psi
    ends = [stream_latents(seed + _PATHS, side, count, z_dim) for side in (0, 1)]
    t = jax.random.uniform(jax.random.fold_in(jax.random.key(seed + _PATHS), 2), (count,))
    paths = {
        "z": (slerp, ends, lambda g, z: drawing.framed(g, g.mapping(z, psi))),
        "w": (lerp, [jnp.asarray(drawing.map(np.asarray(e))) for e in ends], drawing.framed),
    }
    numbers, arrays = {"epsilon": epsilon, "epsilons": list(EPSILONS), "paths": count}, {}
    for space, (between, (start, end), draw) in paths.items():

        @jax.jit
        def call(models, latents, draw=draw):
            generator, network = models
            return embed_faces(network, draw(generator, latents))

        @jax.jit
        def speed(models, places, between=between, draw=draw):
            generator, network = models

            def features(t):
                return embed_faces(network, draw(generator, between(*places[:2], t)))

            return jax.jvp(features, (places[2],), (jnp.ones_like(places[2]),))[1]

        def at(step, part, name, between=between, start=start, end=end, call=call):
            points = between(start[part], end[part], t[part] + step)
            models = (drawing.generator, network)
            return in_batches(models, points, track, name, call=call, batch=BATCH)

        every, first = slice(None), slice(0, few)
        near = at(0.0, every, f"paths in {space}")
        far = at(epsilon, every, f"paths in {space}, one step on")
        found = path_length(near, far, epsilon)
        tried = [
            path_length(near[:few], at(e, first, f"steps of {e:g}"), e, trim=0).length.mean
            for e in EPSILONS
        ]
        exact = [
            np.asarray(speed((drawing.generator, network), (start[i], end[i], t[i])))
            for i in np.array_split(np.arange(few), -(-few // BATCH))
        ]
        numbers[space] = found.length._asdict() | {
            "by_epsilon": tried,
            "exact": float(np.mean(np.sum(np.concatenate(exact) ** 2, axis=1))),
        }
        arrays[f"path_{space}"] = found.lengths
    return numbers, arrays


def reconstruction_stage(generator, encoder, drawing: Drawing, images, track: Track):
    """The encoder's w of faces, and how well the synthesis rebuilds them.

    Returns:
      w, and the PSNR of every face in dB.
    """

    @jax.jit
    def encode(encoder, x):
        return encoder(x)

    @jax.jit
    def rebuild(generator, w):
        return drawing.framed(generator, w)

    w = in_batches(encoder, images, track, "encoder", call=encode, batch=BATCH)
    drawn = in_batches(generator, w, track, "rebuilt faces", call=rebuild, batch=BATCH)
    return w, np.asarray(psnr(jnp.asarray(drawn), jnp.asarray(images)))


def measurements(decomposer, images, track: Track, name: str) -> dict[str, np.ndarray]:
    """What the decomposer, the picture itself and, where installed, the landmark model say.

    Returns:
      Arrays by name, (n,) or (n, k), NaN where there is no face; angles in degrees.
    """

    @jax.jit
    def read(decomposer, x):
        parts = decomposer(x)
        return jnp.concatenate([jnp.degrees(parts.view[:, :3]), parts.light], axis=1)

    found = in_batches(decomposer, images, track, f"decomposer, {name}", call=read, batch=BATCH)
    values = {f"decomposer {k}": found[:, i] for i, k in enumerate(_DECOMPOSED)}
    values["picture mean colour"] = images.mean(axis=(1, 2))
    values["picture left minus right"] = luminance_measurements(images)["left_right"]
    if landmarks.installed():
        count = -(-len(images) // 250)
        pieces = [
            landmarks.landmark_measurements(images[250 * i : 250 * (i + 1)])
            for i in track(range(count), f"landmarks, {name}", count)
        ]
        for key in _LANDMARKS:
            values[f"landmarks {key}"] = np.concatenate([p[key] for p in pieces])
    return values


def predictability_stage(
    generated: tuple[Faces, dict], stream: tuple[Faces, dict]
) -> dict[str, dict[str, dict]]:
    """Held-out R^2 from every latent of every measurement.

    Args:
      generated: Faces and their `measurements`.
      stream: The same.
    """
    rows = {
        "w of the mapping, generated faces": (generated[0].w, generated[1]),
        "z of the generator, generated faces": (generated[0].z, generated[1]),
        "w of the encoder, stream faces": (stream[0].w, stream[1]),
        "z of the DCGAN, stream faces": (stream[0].z, stream[1]),
    }
    return {
        name: {k: v._asdict() for k, v in linear_predictability(latents, values).items()}
        for name, (latents, values) in rows.items()
        if latents is not None
    }
