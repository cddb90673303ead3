"""Unsup3D (Wu, Rupprecht, Vedaldi 2020): netD, netA, netL, netV and netC of one checkpoint."""

from flax import nnx

from convert.converted import Converted
from convert.tensors import Tensors
from facesem_jax.decomposer import Decomposer, DecomposerConfig
from facesem_jax.decomposer.naming import AXES, unsup3d_key_map


def read_unsup3d(tensors: Tensors, attributes: dict) -> Converted:
    """Reads the five networks; widths, bottlenecks and the image size follow from the shapes.

    Camera, ranges of depth, light and view are not in a checkpoint: the released CelebA model's
    are taken, and PyTorch 1.2's meaning of sampling grids (``align_corners``), with which the
    released checkpoints were trained.

    Args:
      tensors: Their tensors, by names such as ``netD.network.0.weight``.
      attributes: Not used.

    Returns:
      The decomposer.

    Raises:
      FacesemError: On a missing or misshapen tensor.
    """
    del attributes
    widths = {
        net: tensors.take(f"{net}.network.0.weight", (None, 3, 4, 4)).shape[0]
        for net in ("netD", "netA", "netL", "netV", "netC")
    }
    bottlenecks = {
        net: tensors.take(f"{net}.network.{11}.weight", (None, 8 * widths[net], None, None))
        for net in ("netD", "netA", "netC")
    }
    config = DecomposerConfig(
        image_size=16 * bottlenecks["netD"].shape[2],
        depth_nf=widths["netD"],
        depth_zdim=bottlenecks["netD"].shape[0],
        albedo_nf=widths["netA"],
        albedo_zdim=bottlenecks["netA"].shape[0],
        light_nf=widths["netL"],
        view_nf=widths["netV"],
        confidence_nf=widths["netC"],
        confidence_zdim=bottlenecks["netC"].shape[0],
        align_corners=True,
    )
    # Shapes alone: nothing is drawn.
    abstract = nnx.state(nnx.eval_shape(lambda: Decomposer(config, rngs=nnx.Rngs(0))))
    shapes = {path: leaf.shape for path, leaf in nnx.to_flat_state(abstract)}
    arrays = {}
    for name, (path, kind) in unsup3d_key_map(config).items():
        axes, ours = AXES[kind], shapes[path]
        # Axis i here is axis axes[i] there.
        theirs = tuple(ours[axes.index(axis)] for axis in range(len(axes)))
        arrays["/".join(map(str, path))] = tensors.take(name, theirs).transpose(axes)
    notes = [
        "camera, depth range and view range are not in the file: those of the released CelebA "
        "model are assumed (fov 10 degrees, depth 0.9 to 1.1, rotations within 60 degrees).",
        "sampling grids as in PyTorch 1.2 (align_corners), with which the released checkpoints "
        "were trained.",
    ]
    return Converted("unsup3d", config, arrays, notes)
