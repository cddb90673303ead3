"""SeFa: directions in closed form from the weights that turn w into styles."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from facesem_jax.checks import check_shape
from facesem_jax.errors import FacesemError
from facesem_jax.semantics.discovery.result import Discovered, check_count, discovered


def style_weights(
    generator, layers: Sequence[int] | None = None
) -> list[Float[np.ndarray, "styles d"]]:
    """The matrices A of every layer's ``style = A w + b``.

    As in the authors' code, a StyleGAN2 gives those of its convolutions and of the last toRGB, a
    StyleGAN 1 those of its layers: one matrix per row of w_plus.

    Args:
      generator: A StyleGAN2 or StyleGAN 1 of this library.
      layers: Rows of w_plus; ``None`` for all.

    Returns:
      Weights, without the constant factor of the equalised learning rate.

    Raises:
      FacesemError: On another kind of generator, or a layer that it lacks.

    Example:
      >>> weights = style_weights(facesem_jax.load_generator("digiface64"), [0, 1])
      >>> [w.shape for w in weights]  # As many styles as channels, from w of 128.
      [(256, 128), (256, 128)]
    """
    synthesis = generator.synthesis
    if hasattr(synthesis, "to_rgbs"):
        modules = [*synthesis.convs, synthesis.to_rgbs[-1]]
    elif hasattr(synthesis, "layers") and hasattr(synthesis, "to_rgb"):
        modules = list(synthesis.layers)
    else:
        raise FacesemError(
            f"{type(generator).__name__} has no layers with styles; SeFa is for StyleGAN 1 and 2."
        )
    layers = range(len(modules)) if layers is None else layers
    wrong = [i for i in layers if not 0 <= i < len(modules)]
    if wrong or not len(layers):
        raise FacesemError(f"layers is {list(layers)}; expected some of 0 to {len(modules) - 1}.")
    return [np.asarray(modules[i].affine.kernel[...], np.float64).T for i in layers]


def sefa_directions(weights: Sequence[Float[np.ndarray, "styles d"]], count: int) -> Discovered:
    r"""The directions that change the styles most.

    .. math::
      \max_{\|n_i\| = 1} \sum_i \|A n_i\|_2^2 \quad\Rightarrow\quad A^\top A n_i = \lambda_i n_i

    with A the rows of all weights, each brought to unit length as in the authors' code (the
    paper's equation has them as they are), so that no layer rules by its size.

    Args:
      weights: Of every layer, from `style_weights`.
      count: Number of directions, at most d.

    Returns:
      The leading eigenvectors; the scores are the eigenvalues, decreasing.

    Raises:
      FacesemError: On wrong shapes or count, or weights that are all zero.

    Source:
      Shen and Zhou, "Closed-Form Factorization of Latent Semantics in GANs" (CVPR 2021, arXiv
      2007.06600), equations 7 and 8.

    Example:
      >>> import numpy as np
      >>> A = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])  # Two of three styles follow axis 0.
      >>> found = sefa_directions([A], 2)
      >>> found.vectors.tolist(), found.scores.tolist()
      ([[1.0, 0.0], [0.0, 1.0]], [2.0, 1.0])
    """
    for i, weight in enumerate(weights):
        check_shape(f"weights[{i}]", weight, (None, weights[0].shape[1]))
    A = np.concatenate([np.asarray(weight, np.float64) for weight in weights])
    check_count(count, A.shape[1])
    norms = np.linalg.norm(A, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or not norms.any():
        raise FacesemError("the style weights are all zero or not finite; check the generator.")
    # A style that no w reaches has no direction: its row of zeros stays.
    A = A / np.where(norms > 0, norms, 1)
    values, vectors = np.linalg.eigh(A.T @ A)
    order = np.argsort(-values, kind="stable")[:count]
    return discovered(vectors[:, order].T, "sefa", values[order])
