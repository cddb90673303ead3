"""Jacobians, regression, factorisation and edits of a generator's semantics."""

from typing import TYPE_CHECKING

from facesem_jax.lazy import lazy_names
from facesem_jax.semantics.jacobian import jacobian
from facesem_jax.semantics.response import response

if TYPE_CHECKING:  # The same names, for editors and the documentation.
    from facesem_jax.semantics.acting import ActingComponent, components_at, energy_shares_at
    from facesem_jax.semantics.alpha_search import alpha_for
    from facesem_jax.semantics.components import Components, arrange
    from facesem_jax.semantics.edits import apply_edit, decorrelated_steps, sweep, unit_step
    from facesem_jax.semantics.environment import (
        EnvironmentDirections,
        regression_directions,
        stream_exact_directions,
    )
    from facesem_jax.semantics.extrapolation import extrapolate, semantic_per_label
    from facesem_jax.semantics.factorization import Factorization, factorize
    from facesem_jax.semantics.moments import finalise, stream_jacobian_moments
    from facesem_jax.semantics.regions import Atlas
    from facesem_jax.semantics.relation_nulls import (
        mirrored_distances,
        pixel_relations,
        placed_distances,
        rotated_factorization,
        rotation_test,
        tree_distances,
    )
    from facesem_jax.semantics.relations import direction_distances, mantel, spatial_distances
    from facesem_jax.semantics.response import Leakage, Response, leakage
    from facesem_jax.semantics.sample_efficiency import (
        SampleCurve,
        direction_score,
        regression_curve,
        samples_to_reach,
    )
    from facesem_jax.semantics.sample_jacobian import SampleJacobian
    from facesem_jax.semantics.scaling import block_scale, scale_jacobian
    from facesem_jax.semantics.semantic_function import environment_semantics, local_semantics
    from facesem_jax.semantics.sharding import device_mesh, initialise_distributed
    from facesem_jax.semantics.subspace import principal_subspace

__all__ = [
    "ActingComponent",
    "Atlas",
    "Components",
    "EnvironmentDirections",
    "Factorization",
    "Leakage",
    "Response",
    "SampleCurve",
    "SampleJacobian",
    "alpha_for",
    "apply_edit",
    "arrange",
    "block_scale",
    "components_at",
    "decorrelated_steps",
    "device_mesh",
    "direction_distances",
    "direction_score",
    "energy_shares_at",
    "environment_semantics",
    "extrapolate",
    "factorize",
    "finalise",
    "initialise_distributed",
    "jacobian",
    "leakage",
    "local_semantics",
    "mantel",
    "mirrored_distances",
    "pixel_relations",
    "placed_distances",
    "principal_subspace",
    "regression_curve",
    "regression_directions",
    "response",
    "rotated_factorization",
    "rotation_test",
    "samples_to_reach",
    "scale_jacobian",
    "semantic_per_label",
    "spatial_distances",
    "stream_exact_directions",
    "stream_jacobian_moments",
    "sweep",
    "tree_distances",
    "unit_step",
]

# SciPy, Optax and Orbax take their time. `jacobian` and `response` are modules' names too, which a
# lazy name would not survive.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "alpha_search": ["alpha_for"],
        "components": ["Components", "arrange"],
        "acting": ["ActingComponent", "components_at", "energy_shares_at"],
        "edits": ["apply_edit", "decorrelated_steps", "sweep", "unit_step"],
        "environment": [
            "EnvironmentDirections",
            "regression_directions",
            "stream_exact_directions",
        ],
        "extrapolation": ["extrapolate", "semantic_per_label"],
        "factorization": ["Factorization", "factorize"],
        "moments": ["finalise", "stream_jacobian_moments"],
        "regions": ["Atlas"],
        "relation_nulls": [
            "mirrored_distances",
            "pixel_relations",
            "placed_distances",
            "rotated_factorization",
            "rotation_test",
            "tree_distances",
        ],
        "relations": ["direction_distances", "mantel", "spatial_distances"],
        "response": ["Leakage", "Response", "leakage"],
        "sample_efficiency": [
            "SampleCurve",
            "direction_score",
            "regression_curve",
            "samples_to_reach",
        ],
        "sample_jacobian": ["SampleJacobian"],
        "scaling": ["block_scale", "scale_jacobian"],
        "semantic_function": ["environment_semantics", "local_semantics"],
        "sharding": ["device_mesh", "initialise_distributed"],
        "subspace": ["principal_subspace"],
    },
)
