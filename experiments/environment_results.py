"""What `experiments.environment` found."""

import dataclasses

from experiments.environment_stages import Edits, Exact
from experiments.localized_results import Strip
from facesem_jax.semantics.sample_efficiency import SampleCurve


@dataclasses.dataclass(frozen=True)
class EnvironmentResults:
    """All that the page shows.

    Attributes:
      metrics: The contents of ``metrics.json``.
      names: The semantics.
      curve: Regressions on growing numbers of samples.
      exact: Mean gradients on growing numbers of samples.
      edits: "plain" and "decorrelated" edits.
      strips: The same edits as pictures, one strip per semantic.
    """

    metrics: dict
    names: tuple[str, ...]
    curve: SampleCurve
    exact: Exact
    edits: dict[str, Edits]
    strips: dict[str, list[Strip]]
