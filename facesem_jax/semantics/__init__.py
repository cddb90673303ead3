"""Jacobians, regression, factorisation and edits of a generator's semantics."""

from typing import TYPE_CHECKING

from facesem_jax.lazy import lazy_names
from facesem_jax.semantics.jacobian import jacobian

if TYPE_CHECKING:  # The same names, for editors and the documentation.
    from facesem_jax.semantics.alpha_search import alpha_for
    from facesem_jax.semantics.components import Components, arrange
    from facesem_jax.semantics.edits import apply_edit, decorrelated_steps, sweep, unit_step
    from facesem_jax.semantics.environment import (
        EnvironmentDirections,
        regression_directions,
        stream_exact_directions,
    )
    from facesem_jax.semantics.factorization import Factorization, factorize
    from facesem_jax.semantics.moments import finalise, stream_jacobian_moments
    from facesem_jax.semantics.regions import Atlas
    from facesem_jax.semantics.relations import direction_distances, mantel, spatial_distances
    from facesem_jax.semantics.sample_jacobian import SampleJacobian
    from facesem_jax.semantics.scaling import block_scale, scale_jacobian
    from facesem_jax.semantics.semantic_function import environment_semantics, local_semantics
    from facesem_jax.semantics.sharding import device_mesh, initialise_distributed
    from facesem_jax.semantics.subspace import principal_subspace

__all__ = [
    "Atlas",
    "Components",
    "EnvironmentDirections",
    "Factorization",
    "SampleJacobian",
    "alpha_for",
    "apply_edit",
    "arrange",
    "block_scale",
    "decorrelated_steps",
    "device_mesh",
    "direction_distances",
    "environment_semantics",
    "factorize",
    "finalise",
    "initialise_distributed",
    "jacobian",
    "local_semantics",
    "mantel",
    "principal_subspace",
    "regression_directions",
    "scale_jacobian",
    "spatial_distances",
    "stream_exact_directions",
    "stream_jacobian_moments",
    "sweep",
    "unit_step",
]

# SciPy, Optax and Orbax take their time; `jacobian` is a module's name too.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "alpha_search": ["alpha_for"],
        "components": ["Components", "arrange"],
        "edits": ["apply_edit", "decorrelated_steps", "sweep", "unit_step"],
        "environment": [
            "EnvironmentDirections",
            "regression_directions",
            "stream_exact_directions",
        ],
        "factorization": ["Factorization", "factorize"],
        "moments": ["finalise", "stream_jacobian_moments"],
        "regions": ["Atlas"],
        "relations": ["direction_distances", "mantel", "spatial_distances"],
        "sample_jacobian": ["SampleJacobian"],
        "scaling": ["block_scale", "scale_jacobian"],
        "semantic_function": ["environment_semantics", "local_semantics"],
        "sharding": ["device_mesh", "initialise_distributed"],
        "subspace": ["principal_subspace"],
    },
)
