import importlib.util

import jax
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from convert.dlib_network import load_face_network, network_path
from facesem_jax.errors import FacesemError
from facesem_jax.metrics.face_network import SIZE, embed_faces, face_network, layer_shapes


def _packed(*numbers: int) -> bytes:
    parts = []
    for number in numbers:
        digits = number.to_bytes(max(1, (number.bit_length() + 7) // 8), "little")
        parts.append(bytes([len(digits)]) + digits)
    return b"".join(parts)


def _layer(name: bytes, array: np.ndarray, *before: int) -> bytes:
    head = _packed(len(name)) + name + _packed(*before, 2, array.size, 1, 1, 1)
    return head + array.astype("<f4").tobytes() + _packed(7, 7)


@pytest.fixture(scope="module")
def weights():
    rng = np.random.default_rng(0)
    found = []
    for side, inputs, outputs in layer_shapes():
        filters = rng.normal(size=(outputs, inputs, side, side)) / np.sqrt(side * side * inputs)
        affine = rng.uniform(0.5, 1.0, outputs), 0.3 * rng.normal(size=outputs)
        found.append((filters, 0.3 * rng.normal(size=outputs), *affine))
    return found, rng.normal(size=(256, 128)) / 16


@pytest.fixture(scope="module")
def file(weights, tmp_path_factory):
    layers, head = weights
    parts = [b"\x01\x01\x0dloss_metric_2"]
    for filters, bias, factor, offset in layers:
        parts.append(_layer(b"con_4", np.concatenate([filters.ravel(), bias])))
        parts.append(_layer(b"affine_", np.concatenate([factor, offset])))
    parts.append(_layer(b"fc_2", head.ravel(), 128, 256))
    path = tmp_path_factory.mktemp("dlib") / "network.dat"
    path.write_bytes(b"".join(parts))
    return path


def _in_torch(weights, images) -> np.ndarray:
    """The network as dlib's `dnn_face_recognition_ex` declares it, maps first."""
    layers = iter([[torch.tensor(a, dtype=torch.float64) for a in one] for one in weights[0]])

    def convolved(x, stride):
        filters, bias, factor, offset = next(layers)
        padding = 0 if stride > 1 else filters.shape[-1] // 2
        x = F.conv2d(x, filters, bias, stride, padding)
        return x * factor[:, None, None] + offset[:, None, None]

    def summed(a, b):
        shape = [max(pair) for pair in zip(a.shape, b.shape, strict=True)]
        total = torch.zeros(shape, dtype=a.dtype)
        for part in (a, b):
            total[:, : part.shape[1], : part.shape[2], : part.shape[3]] += part
        return total

    x = 127.5 * (torch.tensor(images, dtype=torch.float64).permute(0, 3, 1, 2) + 1)
    x = (x - torch.tensor([122.782, 117.001, 104.298])[:, None, None]) / 256
    x = F.max_pool2d(F.relu(convolved(x, 2)), 3, 2)
    for blocks, halves in ((3, False), (4, True), (3, True), (3, True), (1, True)):
        for block in range(blocks):
            down = halves and block == 0
            y = convolved(F.relu(convolved(x, 2 if down else 1)), 1)
            x = F.relu(summed(y, F.avg_pool2d(x, 2) if down else x))
    return (x.mean(dim=(2, 3)) @ torch.tensor(weights[1], dtype=torch.float64)).numpy()


def test_it_is_the_network_that_dlib_declares(weights, file):
    images = np.random.default_rng(1).uniform(-1, 1, (2, SIZE, SIZE, 3)).astype(np.float32)
    found = np.asarray(jax.jit(embed_faces)(load_face_network(file), images))
    expected = _in_torch(weights, images)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.skipif(
    network_path() is None or importlib.util.find_spec("dlib") is None,
    reason="dlib or its network is not installed",
)
def test_it_equals_dlib():
    from experiments.identity import face_embeddings

    # Of the size that dlib reads, and of 8 bits: nothing is rounded on the way.
    noise = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3))
    smooth = np.sort(noise, axis=1)
    images = (smooth / 127.5 - 1).astype(np.float32)
    found = np.asarray(jax.jit(embed_faces)(load_face_network(), images))
    np.testing.assert_allclose(found, face_embeddings(images), atol=1e-4)


def test_what_is_no_network_is_refused(file, tmp_path):
    data = file.read_bytes()
    for name, content in (("short", data[: len(data) // 2]), ("other", b"not a network")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FacesemError, match="dlib"):
            load_face_network(tmp_path / name)
    (tmp_path / "version").write_bytes(data.replace(b"con_4\x01\x02", b"con_4\x01\x03"))
    with pytest.raises(FacesemError, match="version 3"):
        load_face_network(tmp_path / "version")
    with pytest.raises(FacesemError, match="cannot be read"):
        load_face_network(tmp_path / "none")
    with pytest.raises(FacesemError, match="not the weights"):
        face_network([], np.zeros((256, 128)))
    with pytest.raises(FacesemError, match="images has shape"):
        embed_faces(load_face_network(file), np.zeros((2, 64, 64)))
