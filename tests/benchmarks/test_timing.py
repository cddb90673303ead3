import itertools
import math

import pytest

from benchmarks.timing import best_of, exponent, interleaved, paired_ratio, spread


def test_rounds_are_interleaved_after_one_call_of_each():
    called = []
    functions = {name: lambda name=name: called.append(name) for name in "abc"}
    found = interleaved(functions, 3, at_most={"b": 1}, settle=0)
    assert "".join(called) == "abc" + "abc" + "ac" + "ac"
    assert {name: len(s) for name, s in found.items()} == {"a": 3, "b": 1, "c": 3}


def test_each_call_is_timed_alone():
    ticks = itertools.accumulate(itertools.cycle([1.0, 5.0]))
    found = interleaved({"a": int, "b": int}, 2, settle=0, clock=lambda: next(ticks))
    # The clock moves by 5 within a call and by 1 between calls.
    assert found == {"a": [5.0, 5.0], "b": [5.0, 5.0]}


def test_spread():
    found = spread([3.0, 1.0, 8.0], 2.0)
    assert found == {"median": 6.0, "min": 2.0, "max": 16.0, "rounds": 3}


def test_ratios_are_paired_by_round():
    # Load that slows both methods in one round leaves their ratio alone.
    found = paired_ratio([2.0, 20.0, 2.2], [1.0, 10.0])
    assert found == {"median": 2.0, "min": 2.0, "max": 2.0, "rounds": 2}


def test_best_setting_is_by_median():
    assert best_of({8: [1.0, 1.1, 9.0], 16: [1.2, 1.2, 0.1]}) == 8


def test_exponent_of_a_power():
    sizes = [2, 4, 8, 16]
    found = exponent(sizes, [3 * n**1.5 for n in sizes])
    assert math.isclose(found["exponent"], 1.5, abs_tol=1e-12)
    assert math.isclose(found["constant"], 3, rel_tol=1e-12)
    assert math.isclose(found["worst"], 1, rel_tol=1e-12)


def test_exponent_says_how_far_the_worst_is_off():
    found = exponent([1, 2, 4], [1, 4, 4])
    assert math.isclose(found["exponent"], 1, rel_tol=1e-12)
    # Residuals of log2: -1/3, 2/3, -1/3.
    assert math.isclose(found["worst"], 2 ** (2 / 3), rel_tol=1e-9)


def test_no_rounds_have_no_spread():
    with pytest.raises(ValueError):
        spread([])
