import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding

from facesem_jax.errors import FacesemError
from facesem_jax.semantics import row_sharding

_PROGRAM = """
import re
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from facesem_jax.semantics import factorization, row_sharding
from facesem_jax.semantics.factorization import factorize

assert jax.device_count() == 8
rng = np.random.default_rng(0)
U = rng.normal(size=(600, 6)) * (rng.uniform(size=(600, 6)) < 0.2)
J = U @ rng.normal(size=(6, 16)) + 0.05 * rng.normal(size=(600, 16))
J *= np.sqrt(16 / np.sum(J**2))
J[100:115] = 0  # 585 rows are left, no multiple of 8.
sharding = NamedSharding(jax.make_mesh((8,), ("pixels",)), PartitionSpec("pixels"))
# In float64: rounding may decide whether a step with momentum is accepted, and float32 runs part.
options = dict(alpha=0.05, beta=0.01, max_iterations=60)

one, best = (factorize(J, 6, **options, restarts=r) for r in (1, 3))
assert len(one.U.sharding.device_set) == 1


def same(found):
    assert found.iterations == one.iterations and one.U.dtype == np.float64
    np.testing.assert_allclose(found.objective, one.objective, rtol=1e-9)
    size = np.abs(np.asarray(one.U)).max()
    np.testing.assert_allclose(found.U, one.U, atol=1e-8 * size)
    np.testing.assert_allclose(found.V, one.V, atol=1e-8)


def split(U, rows):
    return {s.data.shape for s in U.addressable_shards} == {(rows, 6)}


placed = jax.device_put(J, sharding)
for found in (
    factorize(J, 6, **options, restarts=1, sharding=sharding),
    factorize(placed, 6, **options, restarts=1),
):
    same(found)
    assert split(found.U, 75), found.U.sharding

columns = jax.device_put(J, NamedSharding(sharding.mesh, PartitionSpec(None, "pixels")))
found = factorize(columns, 6, **options, restarts=1)
same(found)
assert len(found.U.sharding.device_set) == 1

single = J.astype(np.float32)
found, alone = (factorize(single, 6, **options, restarts=1, sharding=s) for s in (sharding, None))
assert found.U.dtype == np.float32
np.testing.assert_allclose(found.objective[-1], alone.objective[-1], rtol=1e-5)

# Restarts that end equally well may be told apart by rounding: only their values are compared.
found = factorize(J, 6, **options, restarts=3, sharding=sharding, side_by_side=True)
np.testing.assert_allclose(found.restart_objectives, best.restart_objectives, rtol=1e-5)

# Where the rows do not divide, every device holds the whole result.
rows = row_sharding.rows_over(sharding)
kept = jax.device_put(np.ones((592, 6), np.float32), rows)
assert split(row_sharding.restore_rows(kept, np.arange(585), 600, rows), 75)
assert split(row_sharding.restore_rows(kept, np.arange(585), 599, rows), 599)

# In the program, nothing with one column per pixel is whole anywhere: 592 pixels, 74 in a part.
program = factorization._solve_all.lower(
    jax.device_put(np.zeros((592, 16), np.float32), rows), None, 0, 0.02, 0.01, 1e-4,
    num_components=6, restarts=1, max_iterations=60, side_by_side=False, sharding=rows,
).compile().as_text()
assert "f32[6,74]" in program and "all-reduce" in program
whole = [shape for shape in re.findall("f32.([0-9,]+).", program) if "592" in shape.split(",")]
assert set(whole) <= {"592"}, whole  # The draws' noise, one number per pixel.
print("good")
"""


@pytest.mark.whole_run
def test_eight_devices_give_what_one_gives_and_hold_a_part_each():
    # A process of its own: the number of devices is settled when the backend starts.
    flags = "--xla_force_host_platform_device_count=8"
    environment = os.environ | {
        "XLA_FLAGS": flags,
        "JAX_PLATFORMS": "cpu",
        "JAX_ENABLE_X64": "1",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "good"


@pytest.mark.parametrize("spec", [PartitionSpec(), PartitionSpec(None, "pixels")])
def test_a_sharding_that_does_not_split_rows_is_refused(spec):
    mesh = jax.make_mesh((1,), ("pixels",))
    with pytest.raises(FacesemError, match="splits the first axis"):
        row_sharding.rows_over(NamedSharding(mesh, spec))
    with pytest.raises(FacesemError, match="splits the first axis"):
        row_sharding.rows_over(SingleDeviceSharding(jax.devices()[0]))


def test_rows_come_back_to_their_places():
    U = np.arange(1, 9, dtype=np.float32).reshape(4, 2)
    found = np.asarray(row_sharding.restore_rows(jax.numpy.asarray(U), np.array([0, 2, 5]), 6))
    np.testing.assert_array_equal(found[[0, 2, 5]], U[:3])
    assert not found[[1, 3, 4]].any()
