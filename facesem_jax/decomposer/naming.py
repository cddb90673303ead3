"""Names of the reference's parameters and where they live here: pure data, no torch."""

from facesem_jax.decomposer.config import DecomposerConfig

# Reference module name -> path of the module here; a path ending in "norm" is a normalisation.
_CONTRACT = {
    "network.0": ("down", 0, "conv"),
    "network.1": ("down", 0, "norm"),
    "network.3": ("down", 1, "conv"),
    "network.4": ("down", 1, "norm"),
    "network.6": ("down", 2, "conv"),
    "network.7": ("down", 2, "norm"),
    "network.9": ("down", 3, "conv"),
    "network.11": ("bottleneck", "conv"),
    "network.13": ("unfold", "conv"),
}
_ENCODER_DECODER = {
    **_CONTRACT,
    "network.15": ("refine", "conv"),
    "network.17": ("up", 0, "conv"),
    "network.18": ("up", 0, "norm"),
    "network.20": ("up", 1, "conv"),
    "network.21": ("up", 1, "norm"),
    "network.23": ("up", 2, "conv"),
    "network.24": ("up", 2, "norm"),
    "network.26": ("up", 3, "conv"),
    "network.27": ("up", 3, "norm"),
    "network.29": ("up", 4, "conv"),
    "network.30": ("up", 4, "norm"),
    "network.32": ("up", 5, "conv"),
    "network.33": ("up", 5, "norm"),
    "network.36": ("head", 0, "conv"),
    "network.37": ("head", 0, "norm"),
    "network.39": ("head", 1, "conv"),
    "network.40": ("head", 1, "norm"),
    "network.42": ("out",),
}
_ENCODER = {
    "network.0": ("down", 0, "conv"),
    "network.2": ("down", 1, "conv"),
    "network.4": ("down", 2, "conv"),
    "network.6": ("down", 3, "conv"),
    "network.8": ("bottleneck", "conv"),
    "network.10": ("out",),
}
_CONFIDENCE = {
    **_CONTRACT,
    "network.15": ("up", 0, "conv"),
    "network.16": ("up", 0, "norm"),
    "network.18": ("up", 1, "conv"),
    "network.19": ("up", 1, "norm"),
    "out_net1.0": ("fine", 0, "conv"),
    "out_net1.1": ("fine", 0, "norm"),
    "out_net1.3": ("fine", 1, "conv"),
    "out_net1.4": ("fine", 1, "norm"),
    "out_net1.6": ("fine_out",),
    "out_net2.0": ("coarse_out",),
}
# The transposed convolutions, whose torch kernels are (in, out, h, w).
_DECONV = {
    "netD": {"network.13", "network.17", "network.23", "network.29"},
    "netA": {"network.13", "network.17", "network.23", "network.29"},
    "netC": {"network.13", "network.15", "network.18", "out_net1.0", "out_net1.3"},
}
_NETWORKS = {
    "netD": ("depth_net", _ENCODER_DECODER),
    "netA": ("albedo_net", _ENCODER_DECODER),
    "netL": ("light_net", _ENCODER),
    "netV": ("view_net", _ENCODER),
    "netC": ("confidence_net", _CONFIDENCE),
}

# Axes that bring a torch array to the layout here, by kind: torch convolutions are (out, in, h, w),
# transposed ones (in, out, h, w), kernels here (h, w, in, out), never flipped.
AXES = {"conv": (2, 3, 1, 0), "deconv": (2, 3, 0, 1), "scale": (0,), "bias": (0,)}


def unsup3d_key_map(config: DecomposerConfig) -> dict[str, tuple[tuple[str | int, ...], str]]:
    """Where each parameter of the reference's state dicts lives in a `Decomposer`.

    Args:
      config: The decomposer's config. The names are the same for every size; the argument keeps
        callers from mapping one architecture onto another when sizes do matter.

    Returns:
      By reference name (``netD.network.0.weight``): the path of the parameter in the
      decomposer's state, and its kind, a key of ``AXES``.
    """
    del config
    table = {}
    for net, (field, modules) in _NETWORKS.items():
        for name, path in modules.items():
            if path[-1] == "norm":
                table[f"{net}.{name}.weight"] = ((field, *path, "scale"), "scale")
                table[f"{net}.{name}.bias"] = ((field, *path, "bias"), "bias")
            else:
                kind = "deconv" if name in _DECONV.get(net, ()) else "conv"
                table[f"{net}.{name}.weight"] = ((field, *path, "kernel"), kind)
    return table
