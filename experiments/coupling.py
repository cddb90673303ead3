"""Batches of coupled pairs, drawn along directions that are measured anew while a run goes on."""

import dataclasses
import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from experiments.face_sources import LatentSource
from facesem_jax.decomposer import Decomposer
from facesem_jax.errors import FacesemError
from facesem_jax.training.coupled_pairs import coupled_latents, pair_directions, pair_readings
from facesem_jax.training.decomposer_loss_config import DecomposerLossConfig
from facesem_jax.training.nod_direction import between, nod_direction
from facesem_jax.training.state import TrainState, modules_of
from facesem_jax.training.unfolding import LatentPose, LinearReading, linear_reading

#: Index of the latents that directions are measured on: steps that no sensible training reaches.
_MEASURED = 20_000_000
_PIECE = 128


@dataclasses.dataclass(frozen=True)
class CouplingConfig:
    """How pairs are made.

    Attributes:
      every: Steps after which the directions are measured again, with the averaged decomposer.
      faces: Faces that they are measured on, the same ones every time, a multiple of 128.
      seed: Seeds the partners' views and lights.
      pitch: Whether a third of the partners nods: another pitch, beside another yaw or light.
      mixed: Whether each pair has an angle of its own, see
        `facesem_jax.training.coupled_pairs.coupled_latents`.
      nod_faces: Of the faces, how many also show by their pictures what a nod is
        (`facesem_jax.training.nod_direction`); the nod's direction is then the mean of that and
        of what the reading follows. 0 for the reading alone.
    """

    every: int = 250
    faces: int = 2048
    seed: int = 0
    pitch: bool = False
    mixed: bool = False
    nod_faces: int = 0

    def __post_init__(self):
        """Refuses numbers that cannot be."""
        if self.every < 1 or self.faces < _PIECE or self.faces % _PIECE:
            raise FacesemError(
                f"every {self.every} and faces {self.faces}: use at least 1, and a multiple of "
                f"{_PIECE}."
            )
        if self.nod_faces and not self.pitch:
            raise FacesemError("nod_faces goes with pitch; ask for it too.")
        if not 0 <= self.nod_faces <= self.faces:
            raise FacesemError(f"nod_faces is {self.nod_faces}; use 0 to {self.faces}, the faces.")


class Measured(NamedTuple):
    """What is measured of a source.

    Attributes:
      directions: See `facesem_jax.training.coupled_pairs.pair_directions`.
      turn: Yaw in radians as a function of the latent; ``None`` unless the loss unfolds it.
      nod: Pitch in the same way.
    """

    directions: jax.Array
    turn: LinearReading | None
    nod: LinearReading | None = None


class Coupling:
    """Makes `experiments.training_loop.run_training` train on coupled pairs.

    The directions are a function of the state at the last multiple of ``every`` steps and stand in
    the state, so that a resumed run goes on as if it had not stopped.
    """

    def __init__(
        self,
        sources: Sequence[LatentSource],
        batch_size: int,
        graph,
        loss: DecomposerLossConfig,
        config: CouplingConfig,
    ):
        """Draws the faces that directions are measured on.

        Args:
          sources: Where faces come from, equally many of each; their latents are of unit variance.
          batch_size: Faces per step, partners counted.
          graph: Of the decomposer, from `facesem_jax.training.state.init_state`.
          loss: Whose rotation is how far partners are moved, as a share of half a turn, and whose
            ``unfold`` and ``unfold_pitch`` say which angles of the latents it needs.
          config: How pairs are made.

        Raises:
          FacesemError: If the batch cannot be divided so, or if the loss needs a pitch that is not
            measured.
        """
        if loss.unfold_pitch and not (config.pitch and loss.unfold):
            raise FacesemError("unfold_pitch goes with nodding pairs and unfold: ask for these.")
        parts = 2 * len(sources)
        if batch_size < parts or batch_size % parts:
            raise FacesemError(f"batch_size is {batch_size}; expected a multiple of {parts}.")
        self.sources, self.count = sources, batch_size // parts
        self.graph, self.loss, self.config = graph, loss, config
        self._read = jax.jit(partial(pair_readings, pitch=config.pitch))
        self._find_nod = jax.jit(nod_direction, static_argnums=1)
        self._faces = []
        for source in sources:
            pieces = [source.latents(_MEASURED + k, _PIECE) for k in range(config.faces // _PIECE)]
            self._faces.append([(z, source.draw(z)) for z in pieces])

    def start(self, state: TrainState) -> TrainState:
        """The state with a place for the directions: no partner moves until they are measured."""
        sizes = [faces[0][0].shape[1] for faces in self._faces]
        count = 3 if self.config.pitch else 2
        asked = (self.loss.unfold, self.loss.unfold_pitch)
        extra = tuple(
            Measured(
                jnp.zeros((count, d)),
                *(LinearReading(jnp.zeros(d), jnp.zeros(())) if x else None for x in asked),
            )
            for d in sizes
        )
        return dataclasses.replace(state, extra=extra)

    def batch(self, step: int) -> list[jax.Array]:
        """The latents of a step, half as many of every source as it gives faces."""
        return [source.latents(step, self.count) for source in self.sources]

    def measured(self, decomposer: Decomposer) -> tuple[Measured, ...]:
        """What a decomposer finds of every source."""
        found = []
        for source, faces in zip(self.sources, self._faces, strict=True):
            latents = jnp.concatenate([z for z, _ in faces])
            readings = jnp.concatenate([self._read(decomposer, images) for _, images in faces])
            directions = pair_directions(latents, readings)
            seen = None
            if self.config.nod_faces:
                seen = self._find_nod(decomposer, source.draw, latents[: self.config.nod_faces])
                directions = directions.at[2].set(between(directions[2], seen))
            turn = nod = None
            if self.loss.unfold:
                turn = linear_reading(latents, readings[:, 0])
                turn = turn.with_spread(math.radians(self.loss.unfold_spread))
            if self.loss.unfold_pitch:
                pitch = readings[:, 2] - jnp.mean(readings[:, 2])
                slope = linear_reading(latents, pitch).slope
                # Without offset: the mean face is upright.
                nod = LinearReading(slope if seen is None else between(slope, seen), jnp.zeros(()))
                nod = nod.with_spread(math.radians(self.loss.unfold_pitch_spread))
            found.append(Measured(directions, turn, nod))
        return tuple(found)

    def prepare(
        self, step: int, state: TrainState, latents: Sequence[jax.Array]
    ) -> tuple[TrainState, jax.Array]:
        """Measures the directions where it is time to, and draws the batch.

        Args:
          step: Steps done.
          state: From `start` or a later one.
          latents: From `batch`.

        Returns:
          The state, and images of which the second half are the partners of the first; where the
          loss unfolds angles, the images and the `LatentPose` that their latents have.
        """
        if step % self.config.every == 0:
            decomposer = modules_of(self.graph, state, averaged=True)
            state = dataclasses.replace(state, extra=self.measured(decomposer))
        angle = jnp.pi * self.loss.rotation(step)
        key = jax.random.fold_in(jax.random.key(self.config.seed), step)
        partners = [
            coupled_latents(
                z, found.directions, angle, jax.random.fold_in(key, k), self.config.mixed
            )
            for k, (z, found) in enumerate(zip(latents, state.extra, strict=True))
        ]
        pairs = [latents, partners]
        drawn = [s.draw(z) for zs in pairs for s, z in zip(self.sources, zs, strict=True)]
        images = jnp.concatenate(drawn)
        if not self.loss.unfold:
            return state, images

        def of_all(readings):
            angles = [read(z) for zs in pairs for read, z in zip(readings, zs, strict=True)]
            return jnp.concatenate(angles)

        pose = LatentPose(
            of_all([found.turn for found in state.extra]),
            of_all([found.nod for found in state.extra]) if self.loss.unfold_pitch else None,
        )
        return state, (images, pose)
