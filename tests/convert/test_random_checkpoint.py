import builtins

import numpy as np
import pytest

from convert.conversion import convert_file
from convert.random_checkpoint import random_state, write_random_checkpoint
from facesem_jax.errors import FacesemError


@pytest.fixture
def without_torch(monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "torch":
            raise ImportError("No module named 'torch'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)


def test_the_file_converts_whole_and_draws_faces_of_order_one(tmp_path):
    conversion = convert_file(write_random_checkpoint(tmp_path, (8, 8, 4), 16, seed=3))
    assert conversion.detected.format == "stylegan2-rosinality"
    config = conversion.converted.config
    assert (config.resolution, config.w_dim, config.mapping_layers) == (16, 16, 2)
    assert set(conversion.ignored) <= {n for n in conversion.ignored if n.endswith("kernel")}
    generator = conversion.module()
    z = np.random.default_rng(0).standard_normal((4, 16), np.float32)
    images = np.asarray(generator.synthesis(generator.mapping(z)))
    assert images.shape == (4, 16, 16, 3)
    assert 0.1 < images.std() < 10 and np.abs(images[0] - images[1]).max() > 0.01


def test_without_pytorch_the_same_weights_are_a_safetensors_file(tmp_path, without_torch):
    pytest.importorskip("safetensors")
    path = write_random_checkpoint(tmp_path, (8, 8), 16)
    assert path.name == "random.safetensors"
    arrays = convert_file(path).converted.arrays
    state = random_state((8, 8), 16, 2)
    np.testing.assert_array_equal(
        arrays["synthesis/const"], state["input.input"][0].transpose(1, 2, 0)
    )


def test_the_seed_decides():
    first, again, other = (random_state((4, 4), 8, 1, seed=s) for s in (0, 0, 1))
    assert all(np.array_equal(first[k], again[k]) for k in first)
    assert not np.array_equal(first["style.1.weight"], other["style.1.weight"])


def test_one_resolution_is_refused():
    with pytest.raises(FacesemError, match="two resolutions"):
        random_state((8,), 16, 2)
