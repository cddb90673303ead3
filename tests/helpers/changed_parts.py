import numpy as np
from flax import nnx


def changed_parts(before, after, atol=1e-5):
    """Names of the attributes of one module whose numbers another one of its kind does not have."""
    flat = (nnx.to_flat_state(nnx.state(m)) for m in (before, after))
    return {
        path[0]
        for (path, old), (_, new) in zip(*flat, strict=True)
        if not np.allclose(old[...], new[...], atol=atol)
    }
