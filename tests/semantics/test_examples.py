"""The examples in the docstrings of the public functions: every one has one, and it holds."""

import doctest
import importlib
import inspect
import pkgutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import facesem_jax
from facesem_jax import metrics, semantics
from facesem_jax.semantics import discovery

PACKAGES = (semantics, discovery, metrics)
#: Joins other processes; and wants a generator's layers and weights.
WITHOUT = {"initialise_distributed"}
#: Modules whose examples take seconds to compile.
SLOW = {
    "semantics.alpha_search",
    "semantics.discovery.ours",
    "semantics.environment",
    "semantics.factorization",
    "semantics.semantic_function",
}

pytestmark = pytest.mark.usefixtures("quick_compilation")


def _public():
    """Public functions, by name below the package."""
    found = {}
    for package in PACKAGES:
        for name in package.__all__:
            value = getattr(package, name)
            if inspect.isfunction(value):
                found[f"{package.__name__.rpartition('.')[2]}.{name}"] = value
    return found


def _modules():
    for package in PACKAGES:
        for found in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
            if not found.ispkg:
                name = found.name.split(".", 1)[-1]
                marks = [pytest.mark.whole_run] if name in SLOW else []
                yield pytest.param(importlib.import_module(found.name), id=name, marks=marks)


@pytest.mark.parametrize("name", list(_public()))
def test_every_public_function_has_an_example(name):
    function = _public()[name]
    assert ">>> " in function.__doc__ or function.__name__ in WITHOUT


@pytest.mark.parametrize("module", list(_modules()))
def test_examples_hold(module):
    known = {"np": np, "jnp": jnp, "jax": jax, "facesem_jax": facesem_jax}
    known |= {name: getattr(semantics, name) for name in semantics.__all__}
    known.pop(module.__name__.rpartition(".")[2], None)
    assert doctest.testmod(module, extraglobs=known).failed == 0
