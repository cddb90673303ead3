"""A small network that reads one number off a picture, to judge sets of training faces by."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, UInt8

from facesem_jax.checks import check_shape
from facesem_jax.errors import FacesemError
from facesem_jax.generators.encoder import Encoder, EncoderConfig
from facesem_jax.training.state import init_state, make_step, modules_of


@dataclasses.dataclass(frozen=True)
class RegressorConfig:
    """Sizes and training.

    Attributes:
      resolution: Height and width in pixels of what it reads.
      channels: Channels per resolution, from the picture down to 4x4.
      groups: Of the normalisation.
      steps: Steps of the training, whatever the number of faces.
      batch_size: Faces per step, drawn with replacement.
      learning_rate: Of AdamW; falls to 0 (cosine).
      weight_decay: Of AdamW.
    """

    resolution: int = 32
    channels: tuple[int, ...] = (8, 16, 32, 32)
    groups: int = 8
    steps: int = 400
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4


@functools.cache
def _trainer(config: RegressorConfig):
    """The graph, a function that draws weights, and the compiled step."""
    schedule = optax.cosine_decay_schedule(config.learning_rate, config.steps)
    optimizer = optax.adamw(schedule, weight_decay=config.weight_decay)
    sizes = EncoderConfig(config.resolution, config.channels, 1, config.groups)
    graph, _ = init_state(Encoder(sizes, rngs=nnx.Rngs(0)), optimizer)

    def loss(model, batch, step):
        del step
        pixels, labels = batch
        error = model(pixels)[:, 0] - labels
        return jnp.mean(jnp.square(error)), {}

    step = make_step(graph, loss, optimizer, decay=0.99)

    def begin(key):
        return init_state(Encoder(sizes, rngs=nnx.Rngs(key)), optimizer)[1]

    # One step, not a scan over all: XLA's CPU backend is slow at convolutions inside loops.
    @functools.partial(jax.jit, donate_argnums=0)
    def advance(state, pixels, labels, count, key):
        key = jax.random.fold_in(key, state.step)
        rows = jax.random.randint(key, (config.batch_size,), 0, count)
        return step(state, (as_images(pixels[rows]), labels[rows]))[0]

    return graph, begin, advance


def as_images(pixels: UInt8[Array, "n h w 3"]) -> Float[Array, "n h w 3"]:
    """Pixels of 0 to 255 in [-1, 1]."""
    return jnp.asarray(pixels, jnp.float32) / 127.5 - 1


def fit_regressor(
    pixels: UInt8[np.ndarray, "n h w 3"],
    labels: Float[np.ndarray, " n"],
    *,
    count: int | None = None,
    seed: int = 0,
    config: RegressorConfig = RegressorConfig(),
) -> Encoder:
    """Trains by least squares.

    Args:
      pixels: Pictures at the config's resolution.
      labels: Numbers to read off them, best of unit size.
      count: Only the first so many count; sets padded to one size then share one compilation.
      seed: Seeds weights and batches.
      config: Sizes and training.

    Returns:
      The network (exponentially averaged weights); its output has one column.

    Raises:
      FacesemError: On wrong shapes, labels that are not finite, or an empty set.
    """
    size = config.resolution
    check_shape("pixels", pixels, (None, size, size, 3))
    check_shape("labels", labels, (len(pixels),))
    count = len(pixels) if count is None else count
    if not 1 <= count <= len(pixels):
        raise FacesemError(f"count is {count}; expected 1 to {len(pixels)}.")
    if pixels.dtype != np.uint8 or not np.isfinite(labels[:count]).all():
        raise FacesemError("pixels must be uint8, and labels finite.")
    graph, begin, advance = _trainer(config)
    weights, draws = jax.random.split(jax.random.key(seed))
    state, pixels = begin(weights), jnp.asarray(pixels)
    labels = jnp.asarray(labels, jnp.float32)
    for _ in range(config.steps):
        state = advance(state, pixels, labels, count, draws)
    return modules_of(graph, state, averaged=True)


@jax.jit
def _read(model, pixels):
    return model(as_images(pixels))[:, 0]


def read_off(
    model: Encoder, pixels: UInt8[np.ndarray, "n h w 3"], batch: int = 256
) -> Float[np.ndarray, " n"]:
    """The network's numbers for pictures, in batches of one size."""
    padded = -len(pixels) % batch
    filled = np.concatenate([pixels, np.zeros((padded, *pixels.shape[1:]), np.uint8)])
    parts = [np.asarray(_read(model, filled[i : i + batch])) for i in range(0, len(filled), batch)]
    return np.concatenate(parts)[: len(pixels)]
