"""Methods that find directions of W: this library's and those it is compared with."""

from facesem_jax.semantics.discovery.ganspace import ganspace_directions
from facesem_jax.semantics.discovery.jacobian_ica import fast_ica, jacobian_ica_directions
from facesem_jax.semantics.discovery.jacobian_pca import jacobian_pca_directions
from facesem_jax.semantics.discovery.low_rank import (
    PictureSemantics,
    low_rank_directions,
    region_grams,
)
from facesem_jax.semantics.discovery.ours import environment_edit_directions, local_directions
from facesem_jax.semantics.discovery.random_directions import random_directions
from facesem_jax.semantics.discovery.regression import regressed_directions
from facesem_jax.semantics.discovery.result import Discovered, discovered
from facesem_jax.semantics.discovery.robust_pca import robust_pca
from facesem_jax.semantics.discovery.sefa import sefa_directions, style_weights

__all__ = [
    "Discovered",
    "PictureSemantics",
    "discovered",
    "environment_edit_directions",
    "fast_ica",
    "ganspace_directions",
    "jacobian_ica_directions",
    "jacobian_pca_directions",
    "local_directions",
    "low_rank_directions",
    "random_directions",
    "region_grams",
    "regressed_directions",
    "robust_pca",
    "sefa_directions",
    "style_weights",
]
