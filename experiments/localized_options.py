"""The options of `experiments.localized`, and how they join a generator to a decomposer."""

import dataclasses
import pathlib
from typing import Annotated, Literal

import tyro

import facesem_jax
from experiments.devices import DeviceOptions, refuse_sharing
from experiments.option_checks import at_most, check_numbers, check_truncation
from facesem_jax.decomposer.crop import CropBox, parse_crop
from facesem_jax.errors import FacesemError
from facesem_jax.loading import load_crop


@dataclasses.dataclass(frozen=True)
class Options:
    """Finds and shows the local semantics of a face generator.

    Attributes:
      generator: A bundled name ("digiface64"), or a directory with a converted generator.
      decomposer: A bundled name, or a directory with a converted decomposer.
      crop: From the generator's image to the decomposer's: a name (identity, ffhq, celebahq,
        digiface64), or "top,left,height,width" in fractions of the image. Default: what the
        generator's description says.
      samples: Faces whose exact Jacobians are averaged.
      components: Number of local components P sought, at most w_dim; dead ones are reported.
      alpha: Weight of the L1 norm of U, in units where the mean Jacobian has squared norm w_dim;
        larger is sparser.
      beta: Weight of the redundancy of V, in the same units; larger is closer to orthogonal.
      target_sparsity: Share of exact zeros in U (0 to 1) to reach instead of a given alpha.
      target_explained_variance: Explained variance (0 to 1) to reach instead of a given alpha.
      restarts: Starts of the factorisation; the one with the lowest objective is kept.
      regression_samples: Faces for the pose and light directions; a quarter is held out.
      exact_samples: Faces over which exact pose and light gradients are averaged.
      strip_faces: Faces per manipulation strip.
      truncation_psi: Truncation of w, 1 for none (a pure number).
      chunk_size: Tangents pushed through the networks at once (memory against speed). Default: 8
        on a CPU, up to 128 on an accelerator, fewer if its memory is small.
      subspace: Take Jacobians along so many leading principal components of W only, at that share
        of the cost; the share of W's variance that they keep is reported. Default: all of W.
      synthesis_resolution: Stop synthesis at this resolution for the Jacobians (StyleGAN2 only):
        cheaper for generators far larger than the decomposer's images, and an approximation whose
        error is measured and reported. Default: exact.
      products: Precision of the tangents' products. bfloat16 is for TPUs and GPUs, whose matrix
        units it feeds; its error (some 0.4 %) is measured and reported.
      resume: Directory for checkpoints of the Jacobians, at most a minute of work apart: a killed
        run, started again with the same options, goes on from there. Remove it afterwards.
      save_jacobians: A .npy file for every single Jacobian, (samples, 64, 64, 4, w_dim) in
        float32, written as they come. 8 MiB each at w_dim 128.
      devices: Where to compute.
      seed: Seeds every random choice.
      output: Directory for the results; earlier results there are replaced.
      quick: A run of under 90 seconds: fewer samples, restarts and strips.
    """

    generator: str = "digiface64"
    decomposer: str = "digiface64"
    crop: str | None = None
    samples: int = 96
    components: int = 32
    alpha: float = 0.02
    beta: float = 0.01
    target_sparsity: float | None = None
    target_explained_variance: float | None = None
    restarts: int = 3
    regression_samples: int = 4096
    exact_samples: int = 128
    strip_faces: int = 5
    truncation_psi: float = 1.0
    chunk_size: int | None = None
    subspace: int | None = None
    synthesis_resolution: int | None = None
    products: Literal["float32", "bfloat16"] = "float32"
    resume: pathlib.Path | None = None
    save_jacobians: pathlib.Path | None = None
    devices: Annotated[DeviceOptions, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=DeviceOptions
    )
    seed: int = 0
    output: pathlib.Path = pathlib.Path("outputs/localized")
    quick: bool = False

    def checked(self) -> "Options":
        """The options, reduced by ``quick``.

        Raises:
          FacesemError: On a number that is out of range.
        """
        least = {
            "samples": 1,
            "components": 1,
            "restarts": 1,
            "regression_samples": 64,
            "exact_samples": 1,
            "strip_faces": 1,
            "chunk_size": 1,
            "subspace": 1,
        }
        check_numbers(self, least)
        check_truncation(self.truncation_psi)
        for name in ("target_sparsity", "target_explained_variance"):
            target = getattr(self, name)
            if target is not None and not 0 < target < 1:
                raise FacesemError(f"{name} is {target}; expected a share between 0 and 1.")
        if self.target_sparsity is not None and self.target_explained_variance is not None:
            raise FacesemError("Give target_sparsity or target_explained_variance, not both.")
        if self.resume is not None and self.resume.exists() and not self.resume.is_dir():
            raise FacesemError(f"--resume {self.resume} is a file; name a directory.")
        for name in ("resume", "save_jacobians"):
            if getattr(self, name) is not None:
                refuse_sharing(getattr(self, name), self.output, f"--{name.replace('_', '-')}")
        if not self.quick:
            return self
        fewer = at_most(self, samples=12, regression_samples=1024, exact_samples=16, strip_faces=3)
        return dataclasses.replace(fewer, restarts=1)


def joined_crop(generator, decomposer, crop: CropBox | None) -> CropBox | None:
    """The crop that joins a pair.

    Raises:
      FacesemError: If the sizes differ and no crop was given: names the crops that would do.
    """
    made, read = generator.config.resolution, decomposer.config.image_size
    if crop is None and made != read:
        raise FacesemError(
            f"The generator makes {made}x{made} images and the decomposer reads {read}x{read}. "
            "Say which part of the image the face fills: --crop ffhq (FFHQ alignment), "
            "--crop celebahq, --crop identity (the whole image, resized), or "
            "--crop top,left,height,width in fractions of the image."
        )
    return crop


def crop_of_pair(name: str, asked: str | None, generator, decomposer) -> CropBox | None:
    """The crop that joins a pair: the one that was asked for, else what the generator says.

    Args:
      name: The generator's name or directory.
      asked: ``--crop``, as `parse_crop` takes it, or ``None``.
      generator: The generator.
      decomposer: The decomposer.

    Raises:
      FacesemError: On a bad crop, or as `joined_crop`.
    """
    crop = load_crop(name) if asked is None else parse_crop(asked)
    return joined_crop(generator, decomposer, crop)


def load_pair(generator: str, decomposer: str, crop: str | None = None):
    """A generator, a decomposer, and the crop that joins them.

    Args:
      generator: A bundled name, or a directory.
      decomposer: A bundled name, or a directory.
      crop: As `crop_of_pair` takes it.

    Raises:
      FacesemError: As the loaders and `crop_of_pair`.
    """
    made = facesem_jax.load_generator(generator)
    read = facesem_jax.load_decomposer(decomposer)
    return made, read, crop_of_pair(generator, crop, made, read)
