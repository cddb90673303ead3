r"""Trains the decomposer without labels, on the face stream and on a generator's own faces.

    python -m experiments.pretrain_decomposer --directory runs/decomposer
    python -m experiments.pretrain_decomposer --directory runs/decomposer_pairs --steps 3500 \
        --start runs/decomposer --pairs runs/decomposer

The second run shows it every face in two views, turned in the direction that the first one found.
In one run, with directions that are measured anew under way, for the turn and for the light:

    python -m experiments.pretrain_decomposer --directory runs/coupled --couple 250 \
        --loss.perceptual 1 --loss.rotation-steps 3000

Faces in near profile, whose yaw such runs fold back, are unfolded from the result of either:

    python -m experiments.pretrain_decomposer --directory runs/decomposer_wide --steps 3000 \
        --learning-rate 2e-4 --start runs/decomposer_pairs --couple 250 --couple-pitch \
        --couple-mixed --loss.unfold 10 --loss.exchange 6 --loss.turn-angles 12 20 8 \
        --loss.render-angles 12 30 8

And pitch, most of which albedo takes up until then, is held to the nod of the latents:

    python -m experiments.pretrain_decomposer --directory runs/decomposer_nods --steps 3700 \
        --learning-rate 2e-4 --start runs/decomposer_wide --couple 400 --couple-pitch \
        --couple-mixed --couple-nod-faces 128 --loss.unfold 10 --loss.unfold-pitch 10 \
        --loss.exchange 6 --loss.turn-angles 12 20 8 --loss.render-angles 12 30 8

Resumes from the last checkpoint in the directory.
"""

import dataclasses
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from experiments.coupling import Coupling, CouplingConfig
from experiments.decomposition import decompose_faces, faces_sheet
from experiments.face_sources import LatentSource, generator_source, stream_source
from experiments.output_files import make_directory
from experiments.training_loop import LoopConfig, cosine_tail, restore_latest, run_training
from facesem_jax import load_decomposer, load_encoder
from facesem_jax.command_line import run_command
from facesem_jax.decomposer import Decomposer, DecomposerConfig
from facesem_jax.errors import FacesemError
from facesem_jax.heads import load_heads
from facesem_jax.training.decomposer_loss import decomposer_loss
from facesem_jax.training.decomposer_loss_config import DecomposerLossConfig
from facesem_jax.training.mean_head import HeadFraming, mean_head_depth
from facesem_jax.training.state import init_state, make_step, modules_of
from facesem_jax.training.turned_pairs import reflected, turn_direction

#: Weight of what partners share, where there are pairs.
EXCHANGE = 2.0


@dataclasses.dataclass(frozen=True)
class Options:
    """Trains the decomposer without labels.

    Attributes:
      directory: Where checkpoints, sheets and the log go.
      steps: Steps in all.
      batch_size: Faces per step.
      learning_rate: Of Adam; falls to a tenth over the last 40 % of the steps (cosine).
      seed: Seeds the weights, the stream and the random renders.
      generator: A generator (bundled name or directory) that draws half of every batch, in the
        framing of the stream; empty for the stream alone.
      start: Directory of an earlier run whose averaged weights to start from, or a decomposer
        (bundled name or directory), its depth released from the first step; empty to start anew.
      pairs: A decomposer (bundled name or directory, or an earlier run) whose yaw is good enough to
        find the direction that turns the head; half of every batch is then the other half,
        turned, and --loss.exchange is 2 unless set.
      couple: Couples the run with its sources: half of every batch is the other half turned or
        relit, along directions that the run's own averaged decomposer measures every so many steps;
        --loss.exchange is 2 unless set. 0 for not at all.
      couple_pitch: Whether a third of the partners of --couple nods instead: another pitch.
      couple_mixed: Whether each pair of --couple has an angle of its own, up to the curriculum's.
      couple_nod_faces: Faces whose pictures, moved over their own depth, help --couple-pitch to
        find the nod: the reading alone takes an open mouth for some of it. A quarter of a second
        each.
      hold_view: Whether the network for the view stays as it is, so that depth, albedo and light
        learn under views that are known: searched ones (`experiments.search_views`).
      head_relief: Factor on how far the sides fall back of the mean synthetic head's surface, to
        which --loss.surface holds the mean depth (`facesem_jax.training.mean_head`).
      encoder: Whose features the perceptual term compares (bundled name or directory).
      loss: Weights and schedule of the loss.
    """

    directory: pathlib.Path = pathlib.Path("runs/decomposer")
    steps: int = 12000
    batch_size: int = 16
    learning_rate: float = 4e-4
    seed: int = 0
    generator: str = ""
    start: str = ""
    pairs: str = ""
    couple: int = 0
    couple_pitch: bool = False
    couple_mixed: bool = False
    couple_nod_faces: int = 0
    hold_view: bool = False
    head_relief: float = 1.0
    encoder: str = "digiface64"
    loss: DecomposerLossConfig = dataclasses.field(default_factory=DecomposerLossConfig)


def init_training(
    seed: int, learning_rate: float, steps: int, config: DecomposerConfig | None = None
):
    """Graph definition, initial state and optimiser of a training, compact unless configured."""
    decomposer = Decomposer(config or DecomposerConfig.compact(), rngs=nnx.Rngs(seed))
    optimizer = optax.chain(
        optax.clip_by_global_norm(5.0), optax.adam(cosine_tail(learning_rate, steps))
    )
    return *init_state(decomposer, optimizer), optimizer


def trained_decomposer(
    directory: pathlib.Path, config: DecomposerConfig | None = None
) -> tuple[Decomposer, int]:
    """The averaged decomposer of a run's last checkpoint, and its number of steps.

    Args:
      directory: The run's directory.
      config: That it was trained with; the compact one if ``None``.

    Raises:
      FacesemError: If there is no checkpoint, or one of another configuration.
    """
    graph, template, _ = init_training(0, 1e-4, 1, config)
    state = restore_latest(directory, template, extra=True)
    if state is None:
        raise FacesemError(f"{directory} holds no checkpoint of a decomposer's training.")
    return modules_of(graph, state, averaged=True), int(state.step)


def load_any(name: str) -> Decomposer:
    """The averaged decomposer of a run, or a decomposer by bundled name or directory."""
    run = pathlib.Path(name)
    return trained_decomposer(run)[0] if (run / "checkpoints").is_dir() else load_decomposer(name)


def with_view_net(decomposer: Decomposer, network: nnx.Module) -> Decomposer:
    """The decomposer with another network for the view."""
    changed = nnx.clone(decomposer)
    changed.view_net = network
    return changed


def face_sources(options: Options) -> list[LatentSource]:
    """The stream, and the generator if there is one."""
    sources = [stream_source(options.seed)]
    if options.generator:
        sources.append(generator_source(options.generator, options.seed + 3))
    return sources


def measured_turn(decomposer: Decomposer, source: LatentSource, batches: int = 128) -> jax.Array:
    """The direction of a source's latents that turns the head, as the decomposer sees it."""
    measure = jax.jit(lambda decomposer, x: (decomposer.view(x)[:, 1], decomposer.light(x)[:, 2]))
    found = []
    for k in range(batches):
        # Steps that no training of a sensible length reaches.
        latents = source.latents(10_000_000 + k, 128)
        found.append((latents, *measure(decomposer, source.draw(latents))))
    return turn_direction(*(jnp.concatenate(x) for x in zip(*found, strict=True)))


def face_batches(
    sources: list[LatentSource], batch_size: int, decomposer: Decomposer | None = None
) -> Callable[[int], jax.Array]:
    """Step number to images in [-1, 1], equally many of every source.

    Args:
      sources: Where they come from.
      batch_size: Faces per step.
      decomposer: If given, the second half of a batch is the first, turned; it measures the turns.

    Raises:
      FacesemError: If the batch cannot be divided so.
    """
    parts = len(sources) * (1 if decomposer is None else 2)
    if batch_size < parts or batch_size % parts:
        raise FacesemError(f"batch_size is {batch_size}; expected a multiple of {parts}.")
    count = batch_size // len(sources)
    if decomposer is None:
        return lambda step: jnp.concatenate([s.draw(s.latents(step, count)) for s in sources])
    turns = [measured_turn(decomposer, source) for source in sources]

    def batch(step):
        latents = [source.latents(step, count // 2) for source in sources]
        turned = [reflected(x, turn) for x, turn in zip(latents, turns, strict=True)]
        drawn = [s.draw(x) for xs in (latents, turned) for s, x in zip(sources, xs, strict=True)]
        return jnp.concatenate(drawn)

    return batch


def checked_loss(options: Options) -> DecomposerLossConfig:
    """The loss that the options ask for.

    Raises:
      FacesemError: If an option needs another that was not given.
    """
    loss = options.loss
    if options.start:
        loss = dataclasses.replace(loss, hold_steps=0, ramp_steps=1)
    if options.hold_view and not options.start:
        raise FacesemError("--hold-view holds a view that was learned; give --start.")
    if options.pairs and options.couple:
        raise FacesemError("--pairs and --couple are two ways to make pairs; give one.")
    paired = bool(options.pairs or options.couple)
    if loss.exchange and not paired:
        raise FacesemError(
            "--loss.exchange is about pairs of faces; give --pairs a decomposer, or --couple steps."
        )
    if not options.couple:
        if options.couple_pitch or options.couple_mixed or options.couple_nod_faces:
            raise FacesemError(
                "--couple-pitch, --couple-mixed, --couple-nod-faces say how; give --couple steps."
            )
        if loss.unfold:
            raise FacesemError("--loss.unfold needs the latents' turn, which --couple measures.")
    if options.couple_nod_faces and not options.couple_pitch:
        raise FacesemError("--couple-nod-faces goes with --couple-pitch; give both.")
    if loss.unfold_pitch and not (options.couple_pitch and loss.unfold):
        raise FacesemError(
            "--loss.unfold-pitch goes with --couple-pitch and --loss.unfold; give all."
        )
    if options.head_relief != 1 and not loss.surface:
        raise FacesemError("--head-relief says to which surface; give --loss.surface a weight.")
    if paired and not loss.exchange:
        loss = dataclasses.replace(loss, exchange=EXCHANGE)
    return loss


def main(options: Options) -> None:
    """Runs or resumes the training."""
    loss_config = checked_loss(options)
    graph, state, optimizer = init_training(options.seed, options.learning_rate, options.steps)
    if options.start:
        graph, state = init_state(load_any(options.start), optimizer)
    measuring = load_any(options.pairs) if options.pairs else None
    make_directory(options.directory)
    encoder = load_encoder(options.encoder) if loss_config.perceptual else None
    surface = None
    if loss_config.surface:
        framing = HeadFraming(relief=options.head_relief)
        surface = mean_head_depth(load_heads(), modules_of(graph, state).config, framing)
    key = jax.random.key(options.seed + 1)

    def loss(decomposer, batch, step):
        images, pose = batch if loss_config.unfold else (batch, None)
        if options.hold_view:
            decomposer = with_view_net(decomposer, jax.lax.stop_gradient(decomposer.view_net))
        random = jax.random.fold_in(key, step)
        return decomposer_loss(
            decomposer, images, step, random, loss_config, encoder, pose, surface
        )

    prepare = None
    if options.couple:
        config = CouplingConfig(
            options.couple,
            seed=options.seed + 4,
            pitch=options.couple_pitch,
            mixed=options.couple_mixed,
            nod_faces=options.couple_nod_faces,
        )
        sources = face_sources(options)
        coupling = Coupling(sources, options.batch_size, graph, loss_config, config)
        state, batch, prepare = coupling.start(state), coupling.batch, coupling.prepare
    else:
        batch = face_batches(face_sources(options), options.batch_size, measuring)
    others = dataclasses.replace(options, seed=options.seed + 2)
    shown = face_batches(face_sources(others), 16, measuring)(0)

    def sheet(state):
        module = modules_of(graph, state, averaged=True)
        return faces_sheet(decompose_faces(module, shown, loss_config.release(state.step)))

    run_training(
        LoopConfig(options.steps, options.directory),
        state,
        make_step(graph, loss, optimizer),
        batch,
        sheet,
        prepare,
    )


if __name__ == "__main__":
    run_command(main, Options)
