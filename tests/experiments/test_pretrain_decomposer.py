import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from changed_parts import changed_parts

from experiments import pretrain_decomposer
from experiments.face_sources import LatentSource, face_set
from experiments.pretrain_decomposer import (
    Options,
    face_batches,
    main,
    measured_turn,
    trained_decomposer,
)
from facesem_jax.errors import FacesemError
from facesem_jax.training.decomposer_loss import DecomposerLossConfig
from facesem_jax.training.face_stream import stream_latents

pytestmark = pytest.mark.usefixtures("quick_compilation")

DIM = 6


def source(seed):
    """Latents whose pictures are themselves."""
    return LatentSource(
        lambda index, count: stream_latents(seed, index, count, DIM), lambda z: z, "z", DIM
    )


@jax.tree_util.register_static
class Reader:
    """Reads yaw off the first number of a picture, the light from the side off the second."""

    def view(self, x):
        return jnp.stack([x[:, 0], jnp.tanh(x[:, 0] + 0.5 * x[:, 1]), x[:, 0]], axis=1)

    def light(self, x):
        return jnp.stack([x[:, 0], x[:, 0], x[:, 1]], axis=1)


def test_batches_are_a_function_of_the_step_and_divided_equally():
    one, two = source(0), source(1)
    batch = face_batches([one, two], 8)
    np.testing.assert_array_equal(batch(3), batch(3))
    np.testing.assert_array_equal(batch(3)[:4], stream_latents(0, 3, 4, DIM))
    np.testing.assert_array_equal(batch(3)[4:], stream_latents(1, 3, 4, DIM))
    assert not np.array_equal(batch(3), batch(4))
    with pytest.raises(FacesemError, match="multiple of 2"):
        face_batches([one, two], 7)


def test_pairs_are_faces_and_the_same_faces_turned():
    batch = face_batches([source(0), source(1)], 8, Reader())(5)
    plain, turned = np.asarray(batch[:4]), np.asarray(batch[4:])
    np.testing.assert_array_equal(plain[:2], stream_latents(0, 5, 2, DIM))
    np.testing.assert_array_equal(plain[2:], stream_latents(1, 5, 2, DIM))
    turn = measured_turn(Reader(), source(0))
    assert turn[0] > 0.99 and abs(turn[1]) < 0.05
    np.testing.assert_allclose(turned[:, 0], -plain[:, 0], atol=0.2)
    np.testing.assert_allclose(turned[:, 1:], plain[:, 1:], atol=0.2)
    with pytest.raises(FacesemError, match="multiple of 4"):
        face_batches([source(0), source(1)], 6, Reader())


def test_a_set_is_the_first_faces():
    faces = face_set(source(2), 70)
    assert faces.images.shape == (70, DIM) and faces.latent_name == "z"
    np.testing.assert_array_equal(faces.latents[:50], stream_latents(2, 0, 50, DIM))
    np.testing.assert_array_equal(faces.latents[50:], stream_latents(2, 1, 50, DIM)[:20])
    np.testing.assert_array_equal(faces.images, np.clip(faces.latents, -1, 1))


def test_exchange_without_pairs_is_refused(tmp_path):
    options = Options(directory=tmp_path, loss=DecomposerLossConfig(exchange=1.0))
    with pytest.raises(FacesemError, match="give --pairs"):
        main(options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"couple_mixed": True}, "give --couple steps"),
        ({"couple_pitch": True}, "give --couple steps"),
        ({"hold_view": True}, "--start"),
        ({"couple_nod_faces": 8}, "give --couple steps"),
        ({"couple": 2, "couple_nod_faces": 8}, "give both"),
        ({"head_relief": 1.4}, "give --loss.surface"),
        ({"loss": DecomposerLossConfig(unfold=1.0)}, "which --couple measures"),
        ({"loss": DecomposerLossConfig(unfold_pitch=1.0)}, "goes with --couple-pitch"),
    ],
)
def test_options_that_need_others_are_refused_without_them(tmp_path, wrong, message):
    with pytest.raises(FacesemError, match=message):
        main(Options(directory=tmp_path, **wrong))
    assert not list(tmp_path.iterdir())


@pytest.mark.whole_run
def test_a_held_view_stays_while_the_other_networks_learn(tiny_decomposer, tmp_path, monkeypatch):
    size = tiny_decomposer.config.image_size

    def pictures(seed):
        draw = jax.jit(lambda z: jax.vmap(lambda x: jnp.sin(x[:3] * jnp.ones((size, size, 3))))(z))
        return dataclasses.replace(source(seed), draw=draw)

    monkeypatch.setattr(pretrain_decomposer, "stream_source", pictures)
    monkeypatch.setattr(
        pretrain_decomposer, "load_any", lambda name: jax.tree.map(jnp.array, tiny_decomposer)
    )
    main(Options(tmp_path / "run", steps=2, batch_size=4, start="tiny", hold_view=True))
    found, _ = trained_decomposer(tmp_path / "run", tiny_decomposer.config)
    learned = {"depth_net", "albedo_net", "light_net", "confidence_net"}
    assert changed_parts(tiny_decomposer, found) == learned
