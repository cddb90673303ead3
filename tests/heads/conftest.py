import jax
import pytest

from facesem_jax.heads import load_heads, sample_heads


@pytest.fixture(scope="session")
def model():
    return load_heads()


@pytest.fixture(scope="session")
def heads(model):
    return sample_heads(model, jax.random.key(0), 4)
