import jax.numpy as jnp
import numpy as np
import pytest

from facesem_jax.array_files import npz_bytes
from facesem_jax.errors import FacesemError
from facesem_jax.heads import head_vertices, load_heads, vertex_normals

pytestmark = pytest.mark.usefixtures("quick_compilation")


def test_the_bundled_model_is_small_and_whole(model):
    vertices, faces = len(model.mean), np.asarray(model.faces)
    assert 2000 < vertices < 6000
    assert set(faces.ravel()) == set(range(vertices))
    assert model.identity.shape[1:] == model.actions.shape[1:] == (vertices, 3)
    assert model.actions.shape[0] == len(model.action_names)
    assert "jawOpen" in model.action_names
    for region in model.regions:
        assert region.shape == (vertices,)
        assert float(region.min()) >= 0 and float(region.max()) == 1


def test_identities_are_orthogonal_and_ordered(model):
    flat = np.asarray(model.identity, np.float64).reshape(len(model.identity), -1)
    lengths = np.linalg.norm(flat, axis=1)
    assert np.all(np.diff(lengths) < 0)
    cosines = (flat / lengths[:, None]) @ (flat / lengths[:, None]).T
    np.testing.assert_allclose(cosines, np.eye(len(flat)), atol=2e-3)


def test_vertices_are_the_linear_combination(model):
    rng = np.random.default_rng(0)
    identity = rng.normal(size=(2, model.identity.shape[0])).astype(np.float32)
    actions = rng.uniform(size=(2, model.actions.shape[0])).astype(np.float32)
    found = head_vertices(model, identity, actions)
    wanted = (
        np.asarray(model.mean, np.float64)
        + np.tensordot(identity.astype(np.float64), np.asarray(model.identity, np.float64), 1)
        + np.tensordot(actions.astype(np.float64), np.asarray(model.actions, np.float64), 1)
    )
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    with pytest.raises(FacesemError, match="identity has shape"):
        head_vertices(model, identity[:, :-1], actions)
    with pytest.raises(FacesemError, match="actions has shape"):
        head_vertices(model, identity, actions[:1])


def test_an_action_moves_its_part_alone(model):
    jaw = np.linalg.norm(model.actions[model.action_names.index("jawOpen")], axis=1)
    y = np.asarray(model.template)[:, 1]
    assert jaw[y > 7.6].max() < 0.02 < 0.2 < jaw[y < 6.7].max()
    left = np.linalg.norm(model.actions[model.action_names.index("mouthSmileLeft")], axis=1)
    x = np.asarray(model.template)[:, 0]
    assert left[x > 0].max() > 5 * left[x < -0.1].max()


def test_normals_of_a_cube_point_to_its_corners():
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float32)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    # Four triangles to a side, so that every corner has the same area of each.
    triangles = [(q[i], q[(i + 1) % 4], q[(i + 2) % 4]) for q in quads for i in range(4)]
    found = vertex_normals(jnp.asarray(corners)[None], jnp.asarray(triangles))[0]
    np.testing.assert_allclose(found, (2 * corners - 1) / np.sqrt(3), atol=1e-6)


def test_normals_of_a_face_point_out(model):
    normals = np.asarray(vertex_normals(model.mean[None], model.faces)[0])
    nose = int(np.argmax(np.asarray(model.mean)[:, 2]))
    assert normals[nose, 2] > 0.9
    ear = int(np.argmax(np.asarray(model.mean)[:, 0]))
    assert normals[ear, 0] > 0.5


def test_files_that_hold_no_heads_are_refused(tmp_path):
    with pytest.raises(FacesemError, match="There is no file"):
        load_heads(tmp_path / "none.npz")
    path = tmp_path / "other.npz"
    path.write_bytes(npz_bytes({"mean": np.zeros((3, 3), np.float32)}))
    with pytest.raises(FacesemError, match="no model of heads: it lacks identity"):
        load_heads(path)
