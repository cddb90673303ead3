import numpy as np
import pytest

from convert.tensors import Tensors
from facesem_jax.errors import FacesemError


def test_taking_checks_converts_and_remembers():
    tensors = Tensors(
        {
            "a": np.ones((2, 3), np.float16),
            "b": np.array([np.inf]),
            "c": np.array(["text"]),
            "d": np.ones((0, 3)),
            "large": np.array([1e300]),
        }
    )
    found = tensors.take("a", (None, 3))
    assert found.dtype == np.float32 and tensors.used == {"a"}
    np.testing.assert_array_equal(found, 1)
    for name, shape, message in (
        ("missing", (), "tensor missing is missing"),
        ("a", (2, 4), r"tensor a has shape \(2, 3\); expected \(2, 4\)"),
        ("a", (2, 3, None), r"expected \(2, 3, 'any'\)"),
        ("b", (1,), "tensor b holds NaN or infinite"),
        ("c", (1,), "tensor c has the type <U4"),
        ("d", (None, 3), r"tensor d has shape \(0, 3\)"),
        ("large", (1,), "tensor large holds NaN or infinite"),
    ):
        with pytest.raises(FacesemError, match=message):
            tensors.take(name, shape)
    assert tensors.used == {"a"}


def test_nonfinite_values_pass_where_they_are_allowed():
    tensors = Tensors({"a": np.array([np.nan, 1])}, allow_nonfinite=True)
    np.testing.assert_array_equal(tensors.take("a", (2,)), [np.nan, 1])


def test_what_is_left_is_named():
    tensors = Tensors({"a": np.ones(1), "b.0": np.ones(1), "b.1": np.ones(1), "c": np.ones(1)})
    tensors.take("a", (1,))
    tensors.ignore(r"b\.\d", "a spare part")
    assert tensors.ignored == {"b.0": "a spare part", "b.1": "a spare part"}
    with pytest.raises(FacesemError, match="tensor c has no place"):
        tensors.check_all_used()
    tensors.ignore("c|a", "nothing")
    tensors.check_all_used()
    assert "a" not in tensors.ignored


def test_constants_are_compared_and_may_be_missing():
    tensors = Tensors({"f": np.array([1.0, 2.0])})
    tensors.constant("other", np.array([1.0]))
    tensors.constant("f", np.array([1.0, 2.0]))
    assert tensors.used == {"f"}
    with pytest.raises(FacesemError, match="tensor f is no filter of this format"):
        tensors.constant("f", np.array([1.0, 3.0]))
    with pytest.raises(FacesemError, match="has shape"):
        tensors.constant("f", np.array([1.0]))


def test_the_highest_number_in_a_name():
    tensors = Tensors({f"layer{i}.w": np.ones(1) for i in (0, 7, 11, 10**9)})
    assert tensors.highest(r"layer(\d+)\.") == 11
    assert tensors.highest(r"block(\d+)\.") == -1
