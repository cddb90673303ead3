import types

import jax
import jax.numpy as jnp
import pytest

from facesem_jax.errors import FacesemError
from facesem_jax.semantics.chunking import chunk_size_for, device_memory, peak_bytes

D, WIDE = 200, 10_000


def wide(w):
    """Its tangents live in 10,000 values; w in 200."""
    return jnp.tanh(jnp.sin(w @ jnp.ones((D, WIDE))) * 2).sum(-1, keepdims=True)


CPU = types.SimpleNamespace(platform="cpu")
GPU = types.SimpleNamespace(platform="gpu", memory_stats=lambda: {"bytes_limit": 10**12})


def test_peak_grows_by_what_a_tangent_takes():
    per_tangent = (peak_bytes(wide, D, 64) - peak_bytes(wide, D, 32)) / 32
    assert WIDE * 4 <= per_tangent <= 3 * WIDE * 4


def test_peak_counts_loops_and_nested_programs():
    def nested(w):
        return jax.lax.fori_loop(0, 3, lambda _, x: x + jax.jit(wide)(w), jnp.zeros((1, 1)))

    assert peak_bytes(nested, D, 64) > 64 * WIDE * 4


def test_ample_memory_gives_what_the_device_likes():
    assert chunk_size_for(wide, D, memory_bytes=10**10, device=CPU) == 8
    assert chunk_size_for(wide, D, device=GPU) == 128
    assert chunk_size_for(lambda w: w, 5, memory_bytes=10**10, device=CPU) == 5


@pytest.mark.parametrize(("width", "expected"), [(10**4, 8), (10**6, 2), (10**7, 2)])
def test_a_cpu_wants_chunks_near_its_caches(width, expected):
    def f(w):
        return jnp.tanh(jnp.sin(w.sum(-1, keepdims=True) * jnp.ones(width))).sum(-1, keepdims=True)

    assert chunk_size_for(f, D, memory_bytes=10**13, device=CPU) == expected


@pytest.mark.parametrize("tangents", [1, 3, 7, 50, 120])
def test_scarce_memory_is_kept_to(tangents):
    memory = 2 * peak_bytes(wide, D, tangents)
    chunk = chunk_size_for(wide, D, memory_bytes=memory, device=GPU)
    assert 0.6 * tangents <= chunk <= tangents
    assert peak_bytes(wide, D, chunk) <= memory / 2


def test_no_room_for_one_tangent_is_an_error():
    with pytest.raises(FacesemError, match=r"One tangent takes .* GiB"):
        chunk_size_for(wide, D, memory_bytes=1000, device=GPU)


def test_memory_of_this_machine():
    assert device_memory(jax.devices()[0]) > 2**28
    unknown = types.SimpleNamespace(platform="tpu", memory_stats=lambda: None)
    assert device_memory(unknown) is None
    assert chunk_size_for(wide, D, device=unknown) == 128
