# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Bring your own StyleGAN
#
# From a PyTorch checkpoint to local components: conversion, the crop that joins the generator to
# the decomposer, exact Jacobians shared by all devices (the cores of a TPU, say), and a state on
# disk (on Colab: on Drive) from which an interrupted run goes on.
#
# Without a checkpoint of yours the cells make a small one with random weights: every cell then
# runs, and the pictures are noise. Off Colab install first: `python -m pip install -e '.[convert]'`

# %%
import os
import pathlib
import shutil
import subprocess
import sys

#: Set to run in seconds, with numbers too small to mean anything; the tests do.
QUICK = os.environ.get("FACESEM_QUICK") == "1"
REPOSITORY = "https://github.com/facesem-jax/facesem-jax"

# %% [markdown]
# ## Your settings

# %%
#: The checkpoint: .pt, .pth, .pkl (NVlabs) or .safetensors; None for a random one.
CHECKPOINT = None
#: The part of the image that the face fills: "ffhq", "celebahq", "identity" (the whole image), or
#: "top,left,height,width" in fractions of the image.
CROP = "identity" if CHECKPOINT is None else "ffhq"
#: Faces whose Jacobians are averaged, and components sought.
SAMPLES, COMPONENTS = (8, 4) if QUICK or CHECKPOINT is None else (64, 32)

if "google.colab" in sys.modules:
    on_tpu = "TPU_ACCELERATOR_TYPE" in os.environ or "COLAB_TPU_ADDR" in os.environ
    jax_for = "jax[tpu]" if on_tpu else "jax[cuda12]" if shutil.which("nvidia-smi") else "jax"
    if not os.path.isdir("facesem-jax"):
        subprocess.run(["git", "clone", "--depth", "1", REPOSITORY, "facesem-jax"], check=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, jax_for, "./facesem-jax[convert]"], check=True)

    from google.colab import drive

    drive.mount("/content/drive")
    WORK = pathlib.Path("/content/drive/MyDrive/facesem")
else:
    WORK = pathlib.Path("outputs/bring_your_own")
WORK.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## The devices
#
# All of them share the samples. A CPU counts as one device; to see the sharing, it is told here
# to stand for eight.

# %%
import jax

jax.config.update("jax_num_cpu_devices", 8)  # Without effect on TPUs and GPUs.

from facesem_jax.semantics import device_mesh

mesh = device_mesh()
print(f"{mesh.size} x {jax.devices()[0].device_kind}: {dict(mesh.shape)}")

# %% [markdown]
# ## Conversion
#
# The format is told from the tensors' names, every size from their shapes; nothing in the file is
# run. In a shell: `python convert/torch_to_flax.py CHECKPOINT models/mine --crop ffhq --verify`

# %%
import importlib.util

from convert.conversion import convert_file
from convert.random_checkpoint import write_random_checkpoint

model = WORK / "model"
if (model / "description.json").is_file():
    print(f"{model} is there from an earlier session; remove it to convert again.")
elif CHECKPOINT is None and not any(map(importlib.util.find_spec, ("torch", "safetensors"))):
    print("Neither PyTorch nor safetensors is installed: the bundled generator stands in.")
    model = "digiface64"
else:
    conversion = convert_file(CHECKPOINT or write_random_checkpoint(WORK))
    print(conversion.summary())
    conversion.save(model, crop=CROP)

# %% [markdown]
# ## The crop
#
# The decomposer reads 64 x 64 pixels in which the face fills the picture, brows to chin. Above: the
# generator's images with the crop's edge; below: what the decomposer sees. A crop that cuts a chin
# or shows shoulders makes all that follows worse.

# %%
import numpy as np
from IPython.display import Image, display

import facesem_jax
from facesem_jax.decomposer.crop import CropBox, crop_and_resize
from facesem_jax.viz.pictures import grid, rgb
from facesem_jax.viz.png import figure_png, picture_png

generator = facesem_jax.load_generator(model)
decomposer = facesem_jax.load_decomposer("digiface64")
crop = facesem_jax.load_crop(model) or CropBox(0.0, 0.0, 1.0, 1.0)
size = decomposer.config.image_size

z = jax.random.normal(jax.random.key(0), (max(SAMPLES, 64), generator.config.z_dim))
w = np.asarray(jax.jit(lambda m, z: m(z))(generator.mapping, z))
images = jax.jit(lambda g, w: g.synthesis(w))(generator, w[:4])


def framed(pictures, box):
    """The crop's edge drawn onto pictures."""
    pictures, pixels = pictures.copy(), pictures.shape[1] - 1
    top, left = round(box.top * pixels), round(box.left * pixels)
    bottom, right = round((box.top + box.height) * pixels), round((box.left + box.width) * pixels)
    for row in (top, bottom):
        pictures[:, row, left : right + 1] = (255, 0, 0)
    for column in (left, right):
        pictures[:, top : bottom + 1, column] = (255, 0, 0)
    return pictures


display(Image(picture_png(grid(framed(rgb(images), crop)[None], gap=2))))
seen = crop_and_resize(images, crop, size)
display(Image(picture_png(grid(rgb(seen)[None], gap=2))))

# %% [markdown]
# ## Jacobians on all devices
#
# `J(w) = d[albedo, depth] / dw`, exactly, by forward mode; their mean as a stream. The state is
# saved in `WORK`. Here the first stream is broken off after one step, as a Colab session may be ...

# %%
from facesem_jax.semantics import SampleJacobian, finalise, local_semantics
from facesem_jax.semantics.chunking import chunk_size_for
from facesem_jax.semantics.resumable import stream_resumable
from facesem_jax.semantics.sharding import on_host

semantics = local_semantics(generator, decomposer, crop, size=size)
# Many tangents at once are fast and take memory.
chunk = chunk_size_for(semantics, generator.config.w_dim, device=mesh.local_devices[0])
stream = {
    "directory": WORK / "state",
    "seconds": 0 if QUICK else 60,  # Between two checkpoints.
    "batch_size": 1,  # Per step and device.
    "mesh": mesh,
    "name": "Jacobian",
}
faces = w[: max(SAMPLES, 2 * mesh.size)]  # Two steps at least, to have one to come back to.
for step in stream_resumable(SampleJacobian(semantics, chunk), faces, **stream):
    print(f"{step.done} of {step.total} faces")
    break

# %% [markdown]
# ... and the same call goes on where it was. Run this cell again after a disconnection, after the
# cells above it: it takes what Drive has. A finished stream gives its result at once.

# %%
for step in stream_resumable(SampleJacobian(semantics, chunk), faces, **stream):
    print(f"{step.done} of {step.total} faces")
mean_jacobian = on_host(finalise(step.moments).mean)
print(f"mean Jacobian: {mean_jacobian.shape}, finite: {np.isfinite(mean_jacobian).all()}")

# %% [markdown]
# ## Local components

# %%
from facesem_jax.semantics import Atlas, arrange, block_scale, factorize, scale_jacobian
from facesem_jax.semantics.components import explained_variance
from facesem_jax.semantics.scaling import maps_from_matrix
from facesem_jax.viz.figures import objective_figure
from facesem_jax.viz.overlays import component_pictures

scale = block_scale(jax.numpy.asarray(mean_jacobian))
J = scale_jacobian(jax.numpy.asarray(mean_jacobian), scale)
solved = factorize(J, COMPONENTS, restarts=1 if QUICK else 3)
found = arrange(J, solved.U, solved.V, scale.shape)
print(f"explained variance {explained_variance(J, found.U, found.V):.3f}, {sum(found.live)} live")

maps = np.asarray(maps_from_matrix(found.U, scale))
atlas = Atlas(*maps.shape[1:3])
print(", ".join(atlas.name(map_).name for map_ in maps))
ground = np.asarray(decomposer.albedo(seen)).mean(axis=0)
pairs = [np.stack(component_pictures(map_, ground)) for map_ in maps[:8]]
display(Image(picture_png(grid(np.stack(pairs, axis=1), gap=2))))
display(Image(figure_png(objective_figure(solved.objective), 72)))

# %% [markdown]
# The whole report, with pose, light, strips and every number:
# `python -m experiments.localized --generator models/mine --resume state`
