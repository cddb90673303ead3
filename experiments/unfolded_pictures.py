"""The turn of pictures without latents, fitted anew while a run goes on."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from facesem_jax.conv import PRECISION
from facesem_jax.errors import FacesemError
from facesem_jax.training.decomposer_loss import mirror
from facesem_jax.training.decomposer_loss_config import DecomposerLossConfig
from facesem_jax.training.losses import halve
from facesem_jax.training.principal_components import unit_components
from facesem_jax.training.state import TrainState, modules_of
from facesem_jax.training.unfolding import LatentPose, LinearReading, linear_reading

_PIECE = 128


@dataclasses.dataclass(frozen=True)
class PictureTurnConfig:
    """How the turn of pictures is fitted.

    Attributes:
      every: Steps after which it is fitted again, with the averaged decomposer.
      components: Numbers that stand for a picture.
    """

    every: int = 250
    components: int = 100

    def __post_init__(self):
        """Refuses numbers that cannot be."""
        if self.every < 1 or self.components < 1:
            raise FacesemError(
                f"every {self.every} and components {self.components}: use at least 1."
            )


class PictureTurns:
    """Makes `experiments.training_loop.run_training` unfold yaw where no latents are known.

    The principal components of the pictures take the latents' place
    (`facesem_jax.training.unfolding`), those of the part of a picture that is odd under a mirror: a
    linear reading of yaw is a function of that part alone. A picture that is shifted shows the same
    turn, so the turn is apart from what a shift does to the components: early in a training a shift
    passes for a turn. The fit is a function of the state at the last multiple of ``every`` steps
    and stands in the state, as `experiments.coupling` has it.
    """

    def __init__(self, images, graph, loss: DecomposerLossConfig, config: PictureTurnConfig):
        """Finds the components.

        Args:
          images: (n, h, w, 3) in [-1, 1], that the turn is fitted on, the same ones every time.
          graph: Of the decomposer, from `facesem_jax.training.state.init_state`.
          loss: Whose ``unfold_spread`` the turn gets.
          config: How it is fitted.

        Raises:
          FacesemError: If the pictures are too few for the components.
        """
        self.graph, self.loss, self.config = graph, loss, config
        self._images = images
        # The mean of pictures and their mirror images together has no odd part.
        flat = _flat_odd(jnp.asarray(images))
        basis = unit_components(np.asarray(flat), config.components)
        self._basis = jnp.asarray(basis, flat.dtype)
        self._latents = self._components(self._basis, images)
        there, back = (self._components(self._basis, jnp.roll(images, k, axis=2)) for k in (1, -1))
        self._shift = LinearReading(jnp.mean(there - back, axis=0), jnp.zeros(()))
        self._turn = jax.jit(lambda basis, turn, x: turn(self._components(basis, x)))
        self._read = jax.jit(lambda decomposer, x: decomposer.view(x)[:, 1])

    def start(self, state: TrainState) -> TrainState:
        """The state with a place for the fit, a `LinearReading`."""
        none = LinearReading(jnp.zeros(self.config.components), jnp.zeros(()))
        return dataclasses.replace(state, extra=none)

    def prepare(self, step: int, state: TrainState, images) -> tuple[TrainState, tuple]:
        """Fits the turn where it is time to, and adds it to the batch.

        Args:
          step: Steps done.
          state: From `start` or a later one.
          images: The batch.

        Returns:
          The state; the images, and the pose that their components have: yaw alone.
        """
        if step % self.config.every == 0:
            decomposer = modules_of(self.graph, state, averaged=True)
            pieces = range(0, len(self._images), _PIECE)
            yaw = [self._read(decomposer, self._images[k : k + _PIECE]) for k in pieces]
            turn = linear_reading(self._latents, jnp.concatenate(yaw)).apart_from(self._shift)
            # A mirror image has the opposite yaw, so the reading has no offset.
            turn = LinearReading(turn.slope, jnp.zeros(()))
            turn = turn.with_spread(math.radians(self.loss.unfold_spread))
            state = dataclasses.replace(state, extra=turn)
        return state, (images, LatentPose(self._turn(self._basis, state.extra, images)))

    @staticmethod
    def _components(basis, images):
        return jnp.dot(_flat_odd(images), basis, precision=PRECISION)


def _flat_odd(images):
    """The part of pictures that changes its sign under a mirror, at half their size, flat."""
    return halve((images - mirror(images)) / 2).reshape(len(images), -1)
