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
# # Facial semantics found without labels
#
# The whole job of facesem-jax on its bundled generator: faces, what they are made of (view, light,
# depth, albedo), directions of pose and light in degrees, and local components (a brow, the mouth,
# the jaw), each with pictures and numbers. No download beside the package, no label, no
# photograph of a real person.
#
# On Colab choose a TPU or a GPU under *Runtime, Change runtime type*; a CPU does too (two and a
# half minutes on two cores). Off Colab install the package first: `python -m pip install -e .`

# %%
import os
import shutil
import subprocess
import sys

#: Set to run in seconds, with numbers too small to mean anything; the tests do.
QUICK = os.environ.get("FACESEM_QUICK") == "1"
REPOSITORY = "https://github.com/facesem-jax/facesem-jax"

if "google.colab" in sys.modules:
    # JAX for the device that this runtime has, then the package.
    on_tpu = "TPU_ACCELERATOR_TYPE" in os.environ or "COLAB_TPU_ADDR" in os.environ
    jax_for = "jax[tpu]" if on_tpu else "jax[cuda12]" if shutil.which("nvidia-smi") else "jax"
    if not os.path.isdir("facesem-jax"):
        subprocess.run(["git", "clone", "--depth", "1", REPOSITORY, "facesem-jax"], check=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, jax_for, "./facesem-jax"], check=True)

# %% [markdown]
# ## The device

# %%
import jax

devices = jax.devices()
print(f"JAX {jax.__version__} computes on {len(devices)} x {devices[0].device_kind}")
if devices[0].platform == "cpu":
    print("This is the CPU. With a TPU or a GPU the same cells are faster.")

# %% [markdown]
# ## The run
#
# The same as `python -m experiments.localized` in a shell: exact Jacobians of albedo and depth with
# respect to the latent w, averaged over faces, and their sparse, nearly orthogonal factorisation.
# `Options` has every number; `help(Options)` explains them.

# %%
import pathlib

from IPython.display import Image, display

from experiments.localized import Options, run, summary
from experiments.localized_report import render_report

small = {
    "samples": 2,
    "components": 6,
    "regression_samples": 64,
    "exact_samples": 1,
    "strip_faces": 1,
    "restarts": 1,
    "quick": True,
}
options = Options(output=pathlib.Path("outputs/localized"), **(small if QUICK else {})).checked()


def track(iterable, name, total):
    print(name, end=" ", flush=True)
    return iterable


results, arrays = run(options, track)
print()
summary(results.metrics, options)

# %% [markdown]
# The report is one self-contained page; the cells below show its pictures.

# %%
options.output.mkdir(parents=True, exist_ok=True)
page = options.output / "report.html"
page.write_text(render_report(results), encoding="utf-8")
print(f"{page}: {page.stat().st_size / 2**20:.1f} MiB")
if "google.colab" in sys.modules:
    from google.colab import files

    files.download(str(page))

# %% [markdown]
# ## Faces
#
# Uncurated.

# %%
from facesem_jax.viz.pictures import enlarge, grid
from facesem_jax.viz.png import figure_png, picture_png
from facesem_jax.viz.sheets import sample_sheet, sheet_columns, strip_sheet


def show(picture, times=1):
    display(Image(picture_png(enlarge(picture, times))))


show(sample_sheet(results.samples, sheet_columns(len(results.samples), 12)))

# %% [markdown]
# ## Their decomposition
#
# A column per face. From the top: what the decomposer saw, its reconstruction, canonical albedo,
# depth (near is white), the depth as a relief, and the shaded canonical face. Albedo and depth face
# the camera, however the head is turned.

# %%
from experiments.decomposition import faces_sheet
from facesem_jax.viz.sheets import depth_range

show(faces_sheet(results.faces, *depth_range(results.faces.depth)))

# %% [markdown]
# ## Pose and light
#
# One direction of W per semantic, in its own unit. R² says how linear the semantic is in w, on
# faces that the regression has not seen.

# %%
for strip in results.environment:
    numbers = results.metrics["environment"][strip.name]
    ends = f"{strip.amounts[0]:+.2g} to {strip.amounts[-1]:+.2g}"
    print(f"{strip.name}: {ends} ({strip.unit}), held-out R² {numbers['r2']:.2f}")
    show(strip_sheet(strip.images[:2]))

# %% [markdown]
# How far the decomposer sees the head turn, against how far it was asked to (dashed: equal).

# %%
from facesem_jax.viz.figures import distance_figure, objective_figure, response_figure

yaw = next(strip for strip in results.environment if strip.name == "yaw")
display(Image(figure_png(response_figure(yaw.amounts, yaw.measured, yaw.unit), 96)))

# %% [markdown]
# ## Local components
#
# A map each, albedo on the left (red lighter, blue darker, violet another hue), depth on the right
# (red away from the camera, blue towards it), over the mean face.

# %%
import numpy as np

from facesem_jax.viz.overlays import component_pictures

table = results.components
live = np.flatnonzero(table.live)
pairs = [np.concatenate(component_pictures(table.U[p], results.mean_albedo), axis=1) for p in live]
columns = sheet_columns(len(pairs), 4)
pairs += [np.full_like(pairs[0], 255)] * (-len(pairs) % columns)
print(", ".join(table.labels[p] for p in live))
show(grid(np.stack(pairs).reshape(-1, columns, *pairs[0].shape), gap=4))

# %% [markdown]
# Faces moved along the first components' directions, from minus to plus four standard deviations
# of W.

# %%
for strip in results.strips[:6]:
    p = table.labels.index(strip.name)
    print(f"{strip.name}: {table.shares[p]:.1%} of the variance explained")
    show(strip_sheet(strip.images[:2]))

# %% [markdown]
# ## How the directions relate

# %%
if len(results.order) > 0:
    labels = [table.labels[p] for p in live]
    display(Image(figure_png(distance_figure(results.distances, results.order, labels), 72)))
display(Image(figure_png(objective_figure(results.objective), 72)))

# %% [markdown]
# Next: `method_tour.ipynb` has the equations beside the functions, `bring_your_own_stylegan.ipynb`
# the same for a generator of yours.
