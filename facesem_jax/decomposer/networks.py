"""The decomposer's convolutional networks: encoder-decoder, encoder, confidence.

Architectures of Unsup3D (Wu et al. 2020, arXiv 1911.11130, supplementary tables 6 to 8), NHWC
with HWIO kernels. No convolution has a bias. `facesem_jax.decomposer.naming` maps the reference's
parameter names to the modules here.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from facesem_jax.conv import conv_transpose_4x4
from facesem_jax.normalization import GroupNorm
from facesem_jax.one_program import one_program
from facesem_jax.stages import Stages, last_stage

_HIGHEST = lax.Precision.HIGHEST


def _uniform(key, shape, bound, dtype):
    """Uniform values in +-bound.

    Drawn by powers of two and cut: a new size costs a compilation of a second, and the networks
    have kernels of some 40 sizes.
    """
    size = math.prod(shape)
    values = jax.random.uniform(key, (1 << (size - 1).bit_length(),), dtype, -1, 1)
    return values[:size].reshape(shape) * bound


def _kernel_init(key, shape, dtype=jnp.float32, out_sharding=None):
    """Uniform in +-1/sqrt(fan_in), the initial scale that the reference was trained from.

    It starts depth, view and light near zero, which the first steps of training rely on.
    """
    del out_sharding
    return _uniform(key, shape, math.prod(shape[:-1]) ** -0.5, dtype)


def leaky_relu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Leaky rectifier of slope 0.2."""
    return jax.nn.leaky_relu(x, 0.2)


def identity(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Returns its argument."""
    return x


class ConvTranspose(nnx.Module):
    """4x4 transposed convolution: stride 2 with padding 1, or from one pixel to 4x4 and more.

    The stride-2 form is the adjoint of a 4x4 stride-2 convolution with padding 1,
    ``out[2 i + a - 1] += x[i] kernel[a]`` along each axis, and doubles the size.

    Attributes:
      kernel: (size, size, in, out), indexed as in that formula (not flipped).
    """

    def __init__(self, inputs: int, outputs: int, *, unfold: int | None = None, rngs: nnx.Rngs):
        """Initialises the kernel.

        Args:
          inputs: Input channels.
          outputs: Output channels.
          unfold: If given, the input is a single pixel and the output ``unfold`` pixels wide.
          rngs: Source of the ``params`` key.
        """
        self.unfold = unfold
        size = unfold or 4
        # PyTorch's fan-in of a transposed convolution counts the outputs.
        bound = (outputs * size * size) ** -0.5
        shape = (size, size, inputs, outputs)
        self.kernel = nnx.Param(_uniform(rngs.params(), shape, bound, jnp.float32))

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 o"]:
        """Applies the transposed convolution.

        Args:
          x: (n, h, w, in); (n, 1, 1, in) to unfold.

        Returns:
          (n, 2h, 2w, out), or (n, unfold, unfold, out).
        """
        kernel = self.kernel[...]
        dtype = jnp.result_type(x, kernel)
        x, kernel = x.astype(dtype), kernel.astype(dtype)
        if self.unfold:
            return jnp.einsum("nc,hwco->nhwo", x[:, 0, 0], kernel, precision=_HIGHEST)
        return conv_transpose_4x4(x, kernel)


def _conv(inputs, outputs, size, stride, padding, rngs) -> nnx.Conv:
    return nnx.Conv(
        inputs,
        outputs,
        (size, size),
        strides=stride,
        padding=padding,
        use_bias=False,
        kernel_init=_kernel_init,
        precision=_HIGHEST,
        rngs=rngs,
    )


class Block(nnx.Module):
    """A convolution, an optional group normalisation, an activation.

    Attributes:
      conv: ``nnx.Conv`` or `ConvTranspose`.
      norm: `GroupNorm` or ``None``.
      activation: Elementwise function.
    """

    def __init__(
        self,
        conv: nnx.Module,
        activation: Callable,
        *,
        channels: int = 0,
        groups: int = 0,
    ):
        """Assembles the block; ``groups`` 0 leaves the normalisation out."""
        self.conv = conv
        self.norm = GroupNorm(channels, groups) if groups else None
        self.activation = activation

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 o"]:
        """Applies the block."""
        x = self.conv(x)
        if self.norm is not None:
            x = self.norm(x)
        return self.activation(x)


def _chain(name, blocks, x):
    """Applies blocks in order, yields each one's name and output, returns the last."""
    for index, block in enumerate(blocks):
        x = block(x)
        yield f"{name}.{index}", x
    return x


def _contract(nf, activation, groups, rngs, image_channels=3) -> list[Block]:
    """Four halvings, nf to 8 nf feature maps; normalised but for the last if groups > 0."""
    blocks, inputs = [], image_channels
    for level in range(4):
        outputs = nf << level
        conv = _conv(inputs, outputs, 4, 2, 1, rngs)
        norm = groups << level if level < 3 else 0
        blocks.append(Block(conv, activation, channels=outputs, groups=norm))
        inputs = outputs
    return blocks


class EncoderDecoder(nnx.Module):
    """Image to image through a vector: the depth and the albedo network.

    Attributes:
      down: Four stride-2 blocks, nf to 8 nf feature maps.
      bottleneck: Convolution over the whole map to ``zdim`` values, ReLU.
      unfold: Transposed convolution back to the map's size, ReLU.
      refine: 3x3 convolution, ReLU.
      up: Three pairs of a transposed 4x4 and a 3x3 block, 8 nf to nf feature maps.
      head: After nearest up-sampling, a 3x3 and a 5x5 block.
      out: 5x5 convolution to the output channels.
    """

    def __init__(
        self,
        channels: int,
        nf: int,
        zdim: int,
        *,
        image_size: int = 64,
        groups: int = 16,
        rngs: nnx.Rngs,
    ):
        """Initialises the network.

        Args:
          channels: Output channels.
          nf: Feature maps at half resolution.
          zdim: Size of the bottleneck.
          image_size: Height and width of the images in pixels.
          groups: Groups of the first normalisation.
          rngs: Source of the ``params`` key.
        """
        size = image_size // 16
        self.down = nnx.List(_contract(nf, leaky_relu, groups, rngs))
        relu = jax.nn.relu
        self.bottleneck = Block(_conv(8 * nf, zdim, size, 1, "VALID", rngs), relu)
        self.unfold = Block(ConvTranspose(zdim, 8 * nf, unfold=size, rngs=rngs), relu)
        self.refine = Block(_conv(8 * nf, 8 * nf, 3, 1, 1, rngs), relu)
        up = []
        for level in (2, 1, 0):
            width, norm = nf << level, groups << level
            for conv in (
                ConvTranspose(2 * width, width, rngs=rngs),
                _conv(width, width, 3, 1, 1, rngs),
            ):
                up.append(Block(conv, relu, channels=width, groups=norm))
        self.up = nnx.List(up)
        self.head = nnx.List(
            Block(_conv(nf, nf, size, 1, size // 2, rngs), relu, channels=nf, groups=groups)
            for size in (3, 5)
        )
        self.out = _conv(nf, channels, 5, 1, 2, rngs)

    @one_program
    def __call__(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n h w c"]:
        """Applies the network; no activation at the end.

        Args:
          images: (n, image_size, image_size, 3) in [-1, 1].

        Returns:
          (n, image_size, image_size, channels).
        """
        return last_stage(self.stages(images))

    @one_program
    def encode(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n z"]:
        """The first half alone: images to the bottleneck's values, none below 0."""
        return last_stage(self._encoder_stages(images))[:, 0, 0]

    @one_program
    def decode(self, code: Float[Array, "n z"]) -> Float[Array, "n h w c"]:
        """The second half alone: ``decode(encode(images))`` is the whole network."""
        return last_stage(self._decoder_stages(code[:, None, None]))

    def stages(self, images: Float[Array, "n h w 3"]) -> Stages:
        """Every block's output with its name, in order."""
        code = yield from self._encoder_stages(images)
        yield from self._decoder_stages(code)

    def _encoder_stages(self, images):
        x = yield from _chain("down", self.down, images)
        x = self.bottleneck(x)
        yield "bottleneck", x
        return x

    def _decoder_stages(self, x):
        for name in ("unfold", "refine"):
            x = getattr(self, name)(x)
            yield name, x
        x = yield from _chain("up", self.up, x)
        x = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
        x = yield from _chain("head", self.head, x)
        yield "out", self.out(x)


class Encoder(nnx.Module):
    """Image to a vector in [-1, 1]: the light and the view network.

    Attributes:
      down: Four stride-2 convolutions with ReLU.
      bottleneck: Convolution over the whole map, ReLU.
      out: 1x1 convolution to the outputs, tanh.
    """

    def __init__(self, outputs: int, nf: int, *, image_size: int = 64, rngs: nnx.Rngs):
        """Initialises the network.

        Args:
          outputs: Number of outputs.
          nf: Feature maps at half resolution.
          image_size: Height and width of the images in pixels.
          rngs: Source of the ``params`` key.
        """
        relu = jax.nn.relu
        self.down = nnx.List(_contract(nf, relu, 0, rngs))
        self.bottleneck = Block(_conv(8 * nf, 8 * nf, image_size // 16, 1, "VALID", rngs), relu)
        self.out = _conv(8 * nf, outputs, 1, 1, "VALID", rngs)

    @one_program
    def __call__(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n k"]:
        """Applies the network.

        Args:
          images: (n, image_size, image_size, 3) in [-1, 1].

        Returns:
          (n, outputs) in [-1, 1].
        """
        return last_stage(self.stages(images))[:, 0, 0]

    def stages(self, images: Float[Array, "n h w 3"]) -> Stages:
        """Every block's output with its name, in order."""
        x = yield from _chain("down", self.down, images)
        x = self.bottleneck(x)
        yield "bottleneck", x
        yield "out", jnp.tanh(self.out(x))


class ConfidenceNet(nnx.Module):
    """Image to confidence maps of the photometric and the perceptual loss.

    Attributes:
      down: Four stride-2 blocks, nf to 8 nf feature maps.
      bottleneck: Convolution over the whole map to ``zdim`` values, ReLU.
      unfold: Transposed convolution back to the map's size, ReLU.
      up: Two transposed 4x4 blocks, to 2 nf feature maps at a quarter of the resolution.
      fine: Two transposed 4x4 blocks, to nf feature maps at full resolution.
      fine_out: 5x5 convolution to two maps, softplus.
      coarse_out: 3x3 convolution to two maps at a quarter of the resolution, softplus.
    """

    def __init__(
        self, nf: int, zdim: int, *, image_size: int = 64, groups: int = 16, rngs: nnx.Rngs
    ):
        """Initialises the network; arguments as for `EncoderDecoder`."""
        size, relu = image_size // 16, jax.nn.relu
        self.down = nnx.List(_contract(nf, leaky_relu, groups, rngs))
        self.bottleneck = Block(_conv(8 * nf, zdim, size, 1, "VALID", rngs), relu)
        self.unfold = Block(ConvTranspose(zdim, 8 * nf, unfold=size, rngs=rngs), relu)

        def up(inputs, level):
            width = nf << level
            conv = ConvTranspose(inputs, width, rngs=rngs)
            return Block(conv, relu, channels=width, groups=groups << level)

        self.up = nnx.List([up(8 * nf, 2), up(4 * nf, 1)])
        self.fine = nnx.List([up(2 * nf, 0), up(nf, 0)])
        self.fine_out = _conv(nf, 2, 5, 1, 2, rngs)
        self.coarse_out = _conv(2 * nf, 2, 3, 1, 1, rngs)

    @one_program
    def __call__(
        self, images: Float[Array, "n h w 3"]
    ) -> tuple[Float[Array, "n h w 2"], Float[Array, "n h4 w4 2"]]:
        """Applies the network.

        Args:
          images: (n, image_size, image_size, 3) in [-1, 1].

        Returns:
          Positive scale maps at full and at a quarter of the resolution; the first channel is
          for the reconstruction, the second for the one from the flipped canonical maps.
        """
        found = dict(self.stages(images))
        return found["fine_out"], found["coarse_out"]

    def stages(self, images: Float[Array, "n h w 3"]) -> Stages:
        """Every block's output with its name, in order."""
        x = yield from _chain("down", self.down, images)
        for name in ("bottleneck", "unfold"):
            x = getattr(self, name)(x)
            yield name, x
        x = yield from _chain("up", self.up, x)
        yield "coarse_out", jax.nn.softplus(self.coarse_out(x))
        x = yield from _chain("fine", self.fine, x)
        yield "fine_out", jax.nn.softplus(self.fine_out(x))
