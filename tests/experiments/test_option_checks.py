import dataclasses

import numpy as np
import pytest

from experiments import run_record
from experiments.option_checks import at_most, check_numbers, check_truncation
from facesem_jax.errors import FacesemError


@dataclasses.dataclass(frozen=True)
class Options:
    faces: int = 8
    basis: int | None = None
    seed: int = 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(faces=1), "faces is 1; expected at least 2"),
        (Options(basis=0), "basis is 0; expected at least 1"),
        (Options(seed=-1), "seed is -1"),
        (Options(seed=2**32), "seed is 4294967296"),
    ],
)
def test_numbers_out_of_range_are_named(options, message):
    with pytest.raises(FacesemError, match=message):
        check_numbers(options, {"faces": 2, "basis": 1})
    check_numbers(Options(), {"faces": 2, "basis": 1})


def test_a_quick_run_takes_no_more_and_not_more_than_asked():
    assert at_most(Options(), faces=4) == Options(faces=4)
    assert at_most(Options(faces=3), faces=4) == Options(faces=3)


def test_json_has_no_nan(tmp_path):
    tree = {"a": [float("nan"), 1.5], "b": {"c": np.float64("inf")}, "d": "nan", "e": 2}
    assert run_record.finite_tree(tree) == {"a": [None, 1.5], "b": {"c": None}, "d": "nan", "e": 2}
    with pytest.raises(ValueError, match="JSON"):
        run_record.write_metrics(tmp_path, tree)
    assert not (tmp_path / "metrics.json").exists()


@pytest.mark.parametrize("psi", [float("nan"), float("inf"), 0.0, -1.0, 2.5])
def test_a_truncation_that_leaves_no_faces_is_refused(psi):
    with pytest.raises(FacesemError, match="truncation_psi is"):
        check_truncation(psi)
    check_truncation(0.7)
