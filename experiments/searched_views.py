"""A decomposer's network for the view learns views that are searched picture by picture."""

import dataclasses
import pathlib
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Float

from experiments.decomposition import decompose_faces, faces_sheet
from experiments.option_checks import check_numbers
from experiments.pooled_surface import fitted_surface
from experiments.pretrain_decomposer import with_view_net
from experiments.training_loop import LoopConfig, run_training
from facesem_jax.decomposer import Decomposer
from facesem_jax.errors import FacesemError
from facesem_jax.heads import load_heads
from facesem_jax.training.canonical_texture import (
    CanonicalTexture,
    blurred,
    canonical_points,
    fit_texture,
    texture_in_view,
)
from facesem_jax.training.decomposer_loss import MIRROR_VIEW, mirror
from facesem_jax.training.mean_head import HeadFraming, mean_head_depth
from facesem_jax.training.pooled_surface import PooledSurfaceConfig
from facesem_jax.training.relief import with_deeper_sides
from facesem_jax.training.state import TrainState, init_state, make_step, modules_of
from facesem_jax.training.view_search import ViewSearchConfig, search_views

#: What views can be searched on.
SURFACES = ("mean", "head", "pooled", "shaded")
#: The second fit's: parallax alone would bend so many functions to the outlines' errors.
_SHADED = PooledSurfaceConfig(columns=10, rows=18, stiffness=3e-4, shading=0.3)
_PIECE = 50
#: The averaged network starts the next search, so its average may not reach far back.
_DECAY = 0.99


@dataclasses.dataclass(frozen=True)
class ViewLearning:
    """How views are searched and learned, in turns.

    Attributes:
      rounds: Searches, each followed by a training.
      steps: Steps of each training.
      batch_size: Faces per step.
      learning_rate: Of Adam; in every round it falls to 0 (cosine).
      seed: Seeds the batches, and the stream where faces come from it.
      surface: On which mean surface: ``"mean"``, of the decomposer's depth on these faces;
        ``"head"``, of the synthetic heads (`facesem_jax.training.mean_head.mean_head_depth`);
        ``"pooled"``, fitted in every round to what the faces' mean pictures show as they turn,
        from the decomposer's on (`facesem_jax.training.pooled_surface`); or ``"shaded"``, fitted
        from there once more to what they show as the decomposer's light turns
        (`facesem_jax.training.pooled_shading`).
      search: How views are searched.
      pooled: How that surface is fitted.
      shaded: The same for the second fit.
    """

    rounds: int = 2
    steps: int = 800
    batch_size: int = 64
    learning_rate: float = 2e-4
    seed: int = 0
    surface: str = "mean"
    search: ViewSearchConfig = dataclasses.field(default_factory=ViewSearchConfig)
    pooled: PooledSurfaceConfig = dataclasses.field(default_factory=PooledSurfaceConfig)
    shaded: PooledSurfaceConfig = _SHADED

    def __post_init__(self):
        """Refuses numbers that cannot be."""
        check_numbers(self, {"rounds": 1, "steps": 1, "batch_size": 1})
        if self.surface not in SURFACES:
            raise FacesemError(f"surface is {self.surface!r}; use one of {', '.join(SURFACES)}.")


def in_pieces(function: Callable, *arrays: np.ndarray):
    """A function of many faces, fifty at a time."""
    found = []
    for k in range(0, len(arrays[0]), _PIECE):
        piece = function(*(a[k : k + _PIECE] for a in arrays))
        found.append(jax.tree.map(np.asarray, piece))
    return jax.tree.map(lambda *x: np.concatenate(x), *found)


class SearchedViews:
    """Makes `experiments.training_loop.run_training` train on views that are searched.

    The views are a function of the network at the last round's beginning and stand in the
    state, so that a resumed run goes on as if it had not stopped.
    """

    def __init__(
        self,
        decomposer: Decomposer,
        faces: Float[np.ndarray, "n h w 3"],
        config: ViewLearning,
    ):
        """Makes the surface that views are searched on, or that its fit begins with.

        Args:
          decomposer: Gives the depth, and the network for the view to start from.
          faces: In [-1, 1].
          config: How.
        """
        self.decomposer, self.faces, self.config = decomposer, faces, config
        relief = config.search.relief
        if config.surface == "head":
            surface = mean_head_depth(load_heads(), decomposer.config, HeadFraming(relief=relief))
        else:
            mean = jnp.asarray(in_pieces(decomposer.depth, faces).mean(axis=0))
            surface = with_deeper_sides(mean, relief)
        self._surface = np.asarray(surface)
        self._blurred = in_pieces(jax.jit(blurred), faces)
        lit = config.surface == "shaded"
        self._light = in_pieces(decomposer.light, faces) if lit else None

    def surface(self, view: Float[np.ndarray, "n 6"]) -> Float[np.ndarray, "h w"]:
        """What views are searched on, scene units.

        Args:
          view: The faces' own so far, for the surface that is fitted to their pictures.

        Raises:
          FacesemError: If no point of that is seen from two sides.
        """
        config, surface = self.config, self._surface
        fits = {"pooled": (config.pooled,), "shaded": (config.pooled, config.shaded)}
        for fit in fits.get(config.surface, ()):
            surface, _ = fitted_surface(
                self._blurred,
                view,
                self._light,
                surface,
                self.decomposer.config,
                self.decomposer.camera,
                fit,
            )
        return surface

    def start(self, state: TrainState) -> TrainState:
        """The state with a place for the views."""
        return dataclasses.replace(state, extra=jnp.zeros((len(self.faces), 6)))

    def batch(self, step: int) -> np.ndarray:
        """The numbers of the faces of a step."""
        rng = np.random.default_rng((self.config.seed, step))
        return rng.integers(len(self.faces), size=self.config.batch_size)

    def texture(self, view: Float[np.ndarray, "n 6"]) -> CanonicalTexture:
        """The model of textures, from the faces that hardly turn.

        Raises:
          FacesemError: If too few do.
        """
        near = np.abs(np.degrees(view[:, 1])) < self.config.search.near
        config, camera = self.decomposer.config, self.decomposer.camera
        surface = jnp.asarray(self.surface(view))
        points = canonical_points(surface, camera, self.config.search.window)
        carry = jax.jit(lambda x, view: texture_in_view(x, view, points, config, camera))
        chosen = carry(self._blurred[near], view[near])
        return fit_texture(np.asarray(chosen), points, self.config.search.components)

    def searched(self, network: nnx.Module) -> Float[np.ndarray, "n 6"]:
        """The views of all faces, searched from a network's reading."""
        decomposer = with_view_net(self.decomposer, network)
        view = in_pieces(decomposer.view, self.faces)
        model, config, camera = self.texture(view), decomposer.config, decomposer.camera
        return in_pieces(
            lambda x, v: search_views(model, x, v, config, camera, self.config.search)[0],
            self._blurred,
            view,
        )

    def prepare(self, graph, step: int, state: TrainState, chosen: np.ndarray):
        """Searches where it is time to, and gives a step its faces and their views."""
        if step % self.config.steps == 0:
            found = self.searched(modules_of(graph, state, averaged=True))
            state = dataclasses.replace(state, extra=jnp.asarray(found))
        images, views = jnp.asarray(self.faces[chosen]), state.extra[jnp.asarray(chosen)]
        flipped = np.random.default_rng((self.config.seed, step, 1)).random(len(chosen)) < 0.5
        images = jnp.where(flipped[:, None, None, None], mirror(images), images)
        return state, (images, jnp.where(flipped[:, None], views * jnp.array(MIRROR_VIEW), views))


def learn_views(
    decomposer: Decomposer,
    faces: Float[np.ndarray, "n h w 3"],
    config: ViewLearning,
    directory: pathlib.Path,
) -> Decomposer:
    """Searches and learns in turns, or resumes.

    Args:
      decomposer: Where the search begins; all but its network for the view stays.
      faces: In [-1, 1].
      config: How.
      directory: Where checkpoints, sheets and the log go.

    Returns:
      The decomposer with the averaged network for the view.

    Raises:
      FacesemError: As `experiments.training_loop.run_training`, and where too few faces face the
        camera.
    """
    views = SearchedViews(decomposer, faces, config)
    fall = optax.cosine_decay_schedule(config.learning_rate, config.steps)
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adam(lambda step: fall(step % config.steps))
    )
    # A copy: the state's arrays are donated, the decomposer's are read again.
    graph, state = init_state(jax.tree.map(jnp.array, decomposer.view_net), optimizer)
    # The network's own output is the view in units of its range; t_z has none here.
    sizes = decomposer.config
    angle, across = jnp.radians(sizes.xyz_rotation_range), sizes.xy_translation_range
    ranges = jnp.array([angle] * 3 + [across] * 2)

    def loss(network, batch, step):
        del step
        images, view = batch
        return jnp.mean(jnp.abs(network(images)[:, :5] - view[:, :5] / ranges)), {}

    shown = faces[:16]

    def sheet(state):
        module = with_view_net(decomposer, modules_of(graph, state, averaged=True))
        return faces_sheet(decompose_faces(module, shown))

    state = run_training(
        LoopConfig(config.rounds * config.steps, directory, sheet_steps=config.steps),
        views.start(state),
        make_step(graph, loss, optimizer, _DECAY),
        views.batch,
        sheet,
        partial(views.prepare, graph),
    )
    return with_view_net(decomposer, modules_of(graph, state, averaged=True))
