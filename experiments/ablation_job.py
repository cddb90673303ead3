"""One training of `experiments.decomposer_ablation`."""

import dataclasses
import pathlib
import time

import jax
import optax
from flax import nnx

from experiments.ablation_variants import VARIANTS, decomposer_config, loss_config
from experiments.coupling import Coupling, CouplingConfig
from experiments.face_sources import stream_source
from experiments.pretrain_decomposer import face_batches
from experiments.training_loop import LoopConfig, cosine_tail, run_training
from facesem_jax.decomposer import Decomposer
from facesem_jax.generators.encoder import Encoder
from facesem_jax.training.decomposer_loss import decomposer_loss
from facesem_jax.training.state import init_state, make_step, modules_of

#: Faces that directions are measured on: fewer than a long training's, since drawing them counts.
_MEASURED = 1024


@dataclasses.dataclass(frozen=True)
class Budget:
    """What every training gets.

    Attributes:
      steps: Steps.
      batch_size: Faces per step.
      size: Height and width of the images in pixels.
      learning_rate: Of Adam; falls to a tenth over the last 40 % of the steps (cosine).
      every: Steps after which the coupled ones measure their directions again.
    """

    steps: int
    batch_size: int
    size: int
    learning_rate: float
    every: int


def train_variant(
    name: str, seed: int, budget: Budget, encoder: Encoder, directory: pathlib.Path
) -> tuple[Decomposer, float]:
    """Trains one variant with one seed.

    Args:
      name: Of `VARIANTS`.
      seed: Seeds the weights, the faces and every random choice.
      budget: What it gets.
      encoder: For the perceptual term.
      directory: For the run's checkpoints; a run found there goes on.

    Returns:
      The averaged decomposer, and the seconds since this call.

    Raises:
      FacesemError: If the training diverges.
    """
    jax.clear_caches()  # Compiled programs of earlier jobs are of no use here.
    variant = VARIANTS[name]
    config = loss_config(variant, budget.steps)
    begun = time.perf_counter()
    decomposer = Decomposer(decomposer_config(variant, budget.size), rngs=nnx.Rngs(seed))
    optimizer = optax.chain(
        optax.clip_by_global_norm(5.0), optax.adam(cosine_tail(budget.learning_rate, budget.steps))
    )
    graph, state = init_state(decomposer, optimizer)
    key = jax.random.key(seed)

    def loss(decomposer, batch, step):
        images, key = batch  # The key is an argument, so that all seeds share one program.
        random = jax.random.fold_in(key, step)
        return decomposer_loss(decomposer, images, step, random, config, encoder)

    sources = [stream_source(seed, budget.size)]
    coupling = None
    if config.exchange:
        pairs = CouplingConfig(budget.every, faces=_MEASURED, seed=seed)
        coupling = Coupling(sources, budget.batch_size, graph, config, pairs)
        state = coupling.start(state)

    def prepare(step, state, given):
        if coupling is not None:
            state, given = coupling.prepare(step, state, given)
        return state, (given, key)

    state = run_training(
        LoopConfig(budget.steps, directory),
        state,
        make_step(graph, loss, optimizer),
        face_batches(sources, budget.batch_size) if coupling is None else coupling.batch,
        prepare=prepare,
    )
    return modules_of(graph, state, averaged=True), time.perf_counter() - begun
