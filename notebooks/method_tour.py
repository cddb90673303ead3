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
# # The method, equation by equation
#
# Each equation beside the function that computes it, and its picture. After Zheng, Huang, Tao, Shen
# and Savvides, "Unsupervised Disentanglement of Linear-Encoded Facial Semantics" (CVPR 2021); what
# the paper leaves open and this project chose is marked (ours). All products are float32 at the
# highest precision, images are NHWC in [-1, 1].
#
# Off Colab install first: `python -m pip install -e .`

# %%
import os
import shutil
import subprocess
import sys

#: Set to run in seconds, with numbers too small to mean anything; the tests do.
QUICK = os.environ.get("FACESEM_QUICK") == "1"
REPOSITORY = "https://github.com/facesem-jax/facesem-jax"

if "google.colab" in sys.modules:
    on_tpu = "TPU_ACCELERATOR_TYPE" in os.environ or "COLAB_TPU_ADDR" in os.environ
    jax_for = "jax[tpu]" if on_tpu else "jax[cuda12]" if shutil.which("nvidia-smi") else "jax"
    if not os.path.isdir("facesem-jax"):
        subprocess.run(["git", "clone", "--depth", "1", REPOSITORY, "facesem-jax"], check=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, jax_for, "./facesem-jax"], check=True)

# %%
import jax
import jax.numpy as jnp
import numpy as np
from IPython.display import Image, display

import facesem_jax
from facesem_jax.viz.figures import distance_figure, objective_figure, response_figure
from facesem_jax.viz.overlays import change_picture, component_pictures, magnitude
from facesem_jax.viz.pictures import enlarge, grid, rgb, signed_picture
from facesem_jax.viz.png import figure_png, picture_png
from facesem_jax.viz.sheets import strip_sheet

#: Faces of the regression and of the mean Jacobian, components sought.
REGRESSION, JACOBIANS, COMPONENTS = (64, 2, 6) if QUICK else (1024, 8, 24)


def show(picture, times=2):
    display(Image(picture_png(enlarge(picture, times))))


def plot(figure):
    display(Image(figure_png(figure, 84)))


# %% [markdown]
# ## Generator and latents
#
# $w = \mathrm{mapping}(z),\ z \sim \mathcal N(0, I)$; the image is $G(w)$.

# %%
generator = facesem_jax.load_generator("digiface64")
decomposer = facesem_jax.load_decomposer("digiface64")

z = jax.random.normal(jax.random.key(0), (REGRESSION, generator.config.z_dim))
w = jax.jit(lambda m, z: m(z))(generator.mapping, z)
faces = jax.jit(lambda g, w: g.synthesis(w))(generator, w[:8])
show(grid(rgb(faces)[None]))

# %% [markdown]
# ## The decomposer
#
# $D(x) = (\text{view}, \text{light}, \text{depth } d, \text{albedo } a)$, and its renderer puts
# them together again: the canonical face $\mathrm{shade}(a, d, \text{light})$ is seen from the
# view. (Unsup3D: Wu, Rupprecht, Vedaldi, CVPR 2020.) Rows: input, albedo, canonical face,
# rendering.

# %%
parts = jax.jit(lambda d, x: d(x))(decomposer, faces)
canonical = jax.jit(lambda d, p: d.canonical_image(p))(decomposer, parts)
drawn, _ = jax.jit(lambda d, p: d.render(p))(decomposer, parts)
show(grid(rgb(np.stack([faces, parts.albedo, canonical, drawn]))))
print("yaw in degrees:", np.degrees(parts.view[:, 1]).round(1))

# %% [markdown]
# ## The semantics of a latent
#
# $f(w) = D(\mathrm{crop}(G(w)))$: scalars $y(w)$ of pose and light (degrees, pure numbers), and
# $4 \cdot 64 \cdot 64 = 16384$ pixel-level outputs of albedo and depth.

# %%
from facesem_jax.semantics import environment_semantics, local_semantics

environment = environment_semantics(generator, decomposer)
local = local_semantics(generator, decomposer)
y = jax.jit(lambda f, w: f(w))(environment, w)
print(dict(zip(environment.names, np.asarray(y[0]).round(2).tolist(), strict=True)))
print("pixel-level:", jax.eval_shape(local, w[:1]).shape)

# %% [markdown]
# ## Pose and light: a direction by regression
#
# $\min_v \sum_{i,j} \| (y_i - y_j) - v\,(w_i - w_j) \|^2 + \lambda \|v\|^2$ over all pairs, in its
# equal centred form (ridge: ours). $R^2$ is measured on samples that the fit has not seen.

# %%
from facesem_jax.semantics import regression_directions

fit = regression_directions(w, y, environment.names)
for name, r2 in zip(fit.names, np.asarray(fit.r2_heldout), strict=True):
    print(f"{name}: held-out R² {r2:.2f}")

# %% [markdown]
# ## The same direction exactly
#
# $v = \mathbb E_w[\nabla_w y(w)]$. For Gaussian $w$ both agree, by Stein's identity
# $\mathrm{Cov}(w)^{-1} \mathrm{Cov}(w, y) = \mathbb E[\nabla y]$; the cosine says how nearly.

# %%
from facesem_jax.semantics import stream_exact_directions
from facesem_jax.semantics.environment import direction_cosine

for step in stream_exact_directions(environment, w[: 2 if QUICK else 32], batch_size=2):
    exact = step.moments.mean
cosine = np.asarray(direction_cosine(fit.v, exact))
print({name: round(float(c), 2) for name, c in zip(fit.names, cosine, strict=True)})

# %% [markdown]
# ## Edits in the semantic's own unit
#
# $w' = w + t\, v / \|v\|^2$ moves $y$ by $t$ to first order: here the head turns by up to 20
# degrees.

# %%
from facesem_jax.semantics import sweep, unit_step

yaw = environment.names.index("yaw")
amounts = np.linspace(-20, 20, 7)
moved = sweep(w[:2], unit_step(fit.v[yaw]), amounts)  # (7, 2, w_dim)
images = jax.jit(lambda g, w: g.synthesis(w))(generator, moved.reshape(-1, w.shape[1]))
show(strip_sheet(np.swapaxes(images.reshape(7, 2, *images.shape[1:]), 0, 1)))

seen = jax.jit(lambda f, w: f(w))(environment, moved.reshape(-1, w.shape[1])).reshape(7, 2, -1)
change = np.asarray(seen - y[:2])
plot(response_figure(amounts, change[..., yaw].mean(axis=1), "degrees"))

# %% [markdown]
# ## Decorrelated edits (ours)
#
# $\min \|\delta_i\|\ \text{s.t. } V \delta_i = e_i$: the shortest step that moves one semantic by
# one unit and every other listed one by 0. On the linear model it does exactly that:

# %%
from facesem_jax.semantics import decorrelated_steps

steps = decorrelated_steps(fit.v, fit.names)
response = np.asarray(jnp.matmul(fit.v, steps.T, precision="highest"))
print("largest response off the diagonal:", np.abs(response - np.eye(len(response))).max())
plain = np.asarray(jnp.matmul(fit.v, unit_step(fit.v).T, precision="highest"))
show(signed_picture(np.concatenate([plain, np.ones((len(plain), 1)), response], axis=1), 1.0), 12)

# %% [markdown]
# (Left: what a plain unit step of each column does to the semantic of each row; right:
# decorrelated, the identity. Red is more, blue less.)
#
# ## The Jacobian
#
# $J(w) = \partial[\text{albedo}, \text{depth}] / \partial w \in \mathbb R^{16384 \times 128}$,
# exact, by forward mode: the function is linearised once, the tangents are pushed through in
# chunks. $J(w)\,\delta$ is how albedo and depth begin to change along $\delta$. Along yaw the
# *canonical* face should not change at all while the head turns.

# %%
from facesem_jax.semantics import SampleJacobian

derivative = jax.jit(lambda d, w: d(w))
J_one = np.asarray(derivative(SampleJacobian(local), w[0]))
print("J(w):", J_one.shape)
ways = [np.asarray(w[0] - w.mean(axis=0)), np.asarray(fit.v[yaw])]
changes = [J_one @ (way / np.linalg.norm(way)) for way in ways]
limit = max(float(magnitude(c[..., :3]).max()) for c in changes)
pairs = [
    [change_picture(c[..., :3], limit), change_picture(c[..., 3:], float(np.abs(c[..., 3]).max()))]
    for c in changes
]
show(grid(np.stack([np.stack(pair) for pair in pairs], axis=1).reshape(1, 4, 64, 64, 3), gap=2))

# %% [markdown]
# (Albedo along the face's own deviation from the average one, and along yaw, in one scale; depth
# along the same two, each in its own scale.)
#
# ## Its moments, as a stream
#
# $\mu_n = \mu_{n-1} + \delta / n,\quad M_n = M_{n-1} + \delta\,(x - \mu_n),\quad \delta = x -
# \mu_{n-1}$ (Welford): memory for two arrays, however many faces. $J^* = \mu_N$. The picture shows,
# at every pixel, the size of $J^*$ (left) and the standard deviation of $J$ over faces (right).

# %%
from facesem_jax.semantics import finalise, stream_jacobian_moments

for step in stream_jacobian_moments(local, w[:JACOBIANS], batch_size=1):
    print(step.done, end=" ", flush=True)
summary = finalise(step.moments)
mean_jacobian = np.asarray(summary.mean)
sizes = [np.sqrt(np.square(mean_jacobian[..., :3, :]).sum(axis=(-1, -2)))]
sizes += [np.sqrt(np.asarray(summary.variance)[..., :3, :].sum(axis=(-1, -2)))]
show(grid(signed_picture(np.stack(sizes), float(max(s.max() for s in sizes)))[None], gap=2), 3)

# %% [markdown]
# ## Scaling (ours)
#
# Albedo and depth are brought to one root-mean-square, a border of 3 pixels is masked, and the
# whole to $\|J\|_F^2 = d$. Then $\alpha$ and $\beta$ mean the same for every generator.

# %%
from facesem_jax.semantics import block_scale, scale_jacobian

scale = block_scale(jnp.asarray(mean_jacobian))
J = scale_jacobian(jnp.asarray(mean_jacobian), scale)
print(f"||J||² = {float(jnp.sum(J**2)):.2f}, d = {J.shape[1]}, n = {J.shape[0]}")

# %% [markdown]
# ## The factorisation
#
# $\min_{U, V} \|J - U V^\top\|_F^2 + \alpha \|U\|_1 + \beta \sum_{i \ne j} (v_i^\top v_j)^2 \quad
# \text{s.t. } \|v_p\|_2 = 1$
#
# by proximal alternating linearised minimisation (PALM), with inertia. The objective never rises.

# %%
from facesem_jax.semantics import factorize
from facesem_jax.semantics.objective import objective

alpha, beta = 0.02, 0.01
solved = factorize(J, COMPONENTS, alpha, beta, restarts=1 if QUICK else 3)
again = float(objective(J, solved.U, solved.V, alpha, beta))
print(f"objective {solved.objective[-1]:.3f} ({again:.3f} by the formula), {solved.stop_reason}")
assert (np.diff(solved.objective) <= 0).all()
plot(objective_figure(solved.objective))

# %% [markdown]
# ## The step of U: soft threshold
#
# $\arg\min_u \tfrac12 (u - x)^2 + t |u| = \mathrm{sign}(x) \max(|x| - t, 0)$. What is below the
# threshold becomes exactly zero: this is where the sparsity comes from. A column of $J V$ with
# thresholds 0, 0.01, 0.03 and 0.1 (its albedo's red channel):

# %%
from facesem_jax.semantics.prox import soft_threshold

column = jnp.matmul(J, solved.V[:, 0], precision="highest").reshape(64, 64, 4)[..., 0]
thresholded = np.stack([soft_threshold(column, t) for t in (0.0, 0.01, 0.03, 0.1)])
print("zeros inside the border:", (thresholded[:, 3:-3, 3:-3] == 0).mean(axis=(1, 2)).round(2))
show(grid(signed_picture(thresholded, float(jnp.abs(column).max()))[None], gap=2), 3)

# %% [markdown]
# ## The step of V: projection onto the unit sphere
#
# $\arg\min_{\|z\| = 1} \|z - x\|^2 = x / \|x\|$, column by column. The distances
# $1 - |v_i^\top v_j|$ between the directions found, in clustered order:

# %%
from facesem_jax.semantics import arrange, direction_distances
from facesem_jax.semantics.projections import project_unit_sphere
from facesem_jax.semantics.relations import clustered_order

projected = project_unit_sphere(solved.V * 3.0)
print("largest difference after scaling and projecting:", float(abs(projected - solved.V).max()))

found = arrange(J, solved.U, solved.V, scale.shape)
live = np.flatnonzero(found.live)
distances = direction_distances(np.asarray(found.V)[:, live])
plot(distance_figure(distances, clustered_order(distances), [f"v{p}" for p in live]))

# %% [markdown]
# ## Components
#
# Ordered by the explained variance that is lost without them, signs fixed, named by the region that
# holds most of a map's energy. Explained variance: $1 - \|J - U V^\top\|_F^2 / \|J\|_F^2$.

# %%
from facesem_jax.semantics import Atlas
from facesem_jax.semantics.components import explained_variance, max_abs_cosine, sparsity
from facesem_jax.semantics.regions import unique_labels
from facesem_jax.semantics.scaling import maps_from_matrix

maps = np.asarray(maps_from_matrix(found.U, scale))
atlas = Atlas(64, 64)
labels = unique_labels([atlas.name(map_).name for map_ in maps])
print(f"explained variance {explained_variance(J, found.U, found.V):.2f}, zeros in U", end=" ")
print(f"{sparsity(found.U, np.asarray(scale).reshape(-1) > 0):.2f}", end=", ")
print(f"largest |cos| {max_abs_cosine(found.V, found.live):.2f}")
print(", ".join(labels))
ground = np.asarray(parts.albedo).mean(axis=0)
pairs = [np.stack(component_pictures(maps[p], ground)) for p in live[:8]]
show(grid(np.stack(pairs, axis=1), gap=2))

# %% [markdown]
# ## Local edits
#
# $w' = w + t\, v_p$, with $t$ in standard deviations of $W$ along $v_p$; the first component, and
# the difference that the largest amount makes.

# %%
from facesem_jax.viz.overlays import strip_difference

v = found.V[:, 0]
spread = float(jnp.std(jnp.matmul(w, v, precision="highest")))
amounts = np.linspace(-4, 4, 7) * spread
moved = sweep(w[:2], v, amounts)
images = jax.jit(lambda g, w: g.synthesis(w))(generator, moved.reshape(-1, w.shape[1]))
images = np.swapaxes(np.asarray(images).reshape(7, 2, *images.shape[1:]), 0, 1)
print(labels[0])
show(strip_sheet(images))
differences, _ = strip_difference(images, amounts)
show(grid(differences[None], gap=2))

# %% [markdown]
# ## Do directions that are near act on places that are near?
#
# Mantel's test: the correlation of the two distance matrices, and how often a random relabelling
# reaches it.

# %%
from facesem_jax.semantics import mantel, spatial_distances

if len(live) >= 3:
    test = mantel(distances, spatial_distances(maps[live]), seed=0)
    print(f"r = {test.r:.2f}, p = {test.p:.3f} over {len(live)} components")
