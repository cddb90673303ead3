"""Local semantics of a face generator, end to end: pictures, numbers and a page.

    python -m experiments.localized

Writes ``components.npz``, ``metrics.json`` and ``report.html``.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from experiments import localized_stages as stages
from experiments import run_record
from experiments.decomposition import decompose_faces
from experiments.devices import only_first_process
from experiments.jacobian_stage import JacobianSettings, jacobian_stage
from experiments.localized_options import Options, load_pair
from experiments.localized_report import render_report
from experiments.localized_results import ComponentTable, LocalizedResults
from experiments.output_directory import OutputDirectory
from experiments.progress import progress_track
from facesem_jax.checkpoint import checkpoint_digest
from facesem_jax.command_line import run_command
from facesem_jax.errors import FacesemError
from facesem_jax.loading import resolve
from facesem_jax.semantics import components as component_numbers
from facesem_jax.semantics.alpha_search import alpha_for
from facesem_jax.semantics.factorization import Factorization, check_settings, factorize
from facesem_jax.semantics.relations import (
    clustered_order,
    direction_distances,
    mantel,
    spatial_distances,
)
from facesem_jax.semantics.scaling import block_scale, scale_jacobian
from facesem_jax.semantics.semantic_function import environment_semantics, local_semantics
from facesem_jax.semantics.subspace import principal_subspace

FILES = ("components.npz", "metrics.json", "report.html")


def factorize_stage(J, options: Options, mesh: Mesh | None) -> tuple[Factorization, float]:
    """Solves at the given alpha, or at the one that reaches the target, on this host's devices."""
    if mesh is not None and not mesh.is_multi_process and J.shape[0] % mesh.size == 0:
        J = jax.device_put(J, NamedSharding(mesh, PartitionSpec(mesh.axis_names)))
    shared = {"beta": options.beta, "seed": options.seed, "restarts": options.restarts}
    sparsity, variance = options.target_sparsity, options.target_explained_variance
    if sparsity is None and variance is None:
        solved, alpha = factorize(J, options.components, options.alpha, **shared), options.alpha
    else:
        choice = alpha_for(
            J,
            options.components,
            target_sparsity=sparsity,
            target_explained_variance=variance,
            **shared,
        )
        solved, alpha = choice.factorization, choice.alpha
    # What follows is small, and runs on one device.
    U, V = (jnp.asarray(np.asarray(x)) for x in (solved.U, solved.V))
    return solved._replace(U=U, V=V), alpha


def relations(table: ComponentTable, seed: int):
    """Distances of the live directions, their clustered order, and Mantel's test."""
    live = table.live
    if live.sum() < 3:
        count = int(live.sum())
        return np.zeros((count, count)), np.arange(count), {"r": None, "p": None}
    distances = direction_distances(table.V[live].T)
    test = mantel(distances, spatial_distances(table.U[live]), seed=seed)
    order = clustered_order(distances)
    numbers = {"r": run_record.finite(test.r), "p": test.p, "components": int(live.sum())}
    return distances, order, numbers


def component_rows(table: ComponentTable) -> list[dict]:
    """The table as JSON-able rows."""
    columns = {
        "region_confidence": table.confidence,
        "explained_variance_share": table.shares,
        "effective_area": table.effective_area,
        "edit_locality": table.edit_locality,
        "support_area": table.support_area,
        "view_leakage_degrees": table.view_leakage_degrees,
        "light_leakage": table.light_leakage,
    }
    return [
        {"label": table.labels[p], "region": table.regions[p], "live": bool(table.live[p])}
        | {name: run_record.finite(values[p]) for name, values in columns.items()}
        for p in range(len(table.labels))
    ]


def run(options: Options, track: stages.Track) -> tuple[LocalizedResults, dict]:
    """The whole job.

    Args:
      options: Checked options.
      track: Progress.

    Returns:
      The results, and the arrays of ``components.npz``.
    """
    watch = run_record.Stopwatch()
    generator, decomposer, crop = load_pair(options.generator, options.decomposer, options.crop)
    size, w_dim = decomposer.config.image_size, generator.config.w_dim
    tangents = w_dim if options.subspace is None else min(options.subspace, w_dim)
    check_settings((size * size * 4, tangents), options.components, options.alpha, options.beta)
    local = local_semantics(generator, decomposer, crop, size=size)
    environment = environment_semantics(generator, decomposer, crop, size=size)
    watch.lap("load")

    # The first latents are the regression's; the Jacobians and the probes take latents of their
    # own, so that no number is scored on what it was fitted to.
    sizes = {
        "regression": options.regression_samples,
        "jacobian": options.samples,
        "faces": options.strip_faces,
        "heldout": 8 if options.quick else 128,
        "probes": 4 if options.quick else 8,
        "shown": 48,
    }
    w = stages.latents(generator, sizes, options.seed, options.truncation_psi)
    kept = None
    if options.subspace is not None:
        kept = principal_subspace(jnp.asarray(w["regression"]), options.subspace)
    settings = JacobianSettings(
        options.chunk_size,
        None if kept is None else np.asarray(kept.basis),
        options.synthesis_resolution,
        options.products,
        options.devices.make_mesh(),
        options.resume,
        options.save_jacobians,
        forward_batches=(16,) if options.quick else JacobianSettings.forward_batches,
    )
    settings.check(local)
    samples = stages.in_batches(generator, w["shown"], track, "samples", call=stages.synthesize)
    framed = stages.in_batches(local, w["shown"][:8], track, "faces", call=stages.frame)
    faces = decompose_faces(decomposer, framed)
    watch.lap("samples")

    v, environment_numbers = stages.environment_stage(
        environment, w["regression"], min(options.exact_samples, len(w["regression"])), track
    )
    strips = stages.environment_strips(
        environment, v, environment_numbers, w["faces"], w["heldout"], track
    )
    watch.lap("pose and light")

    jacobian, cost = jacobian_stage(local, w["jacobian"], settings, track)
    watch.lap("jacobian")

    scale = block_scale(jnp.asarray(jacobian))
    J = scale_jacobian(jnp.asarray(jacobian), scale)
    solved, alpha = factorize_stage(J, options, settings.mesh)
    arranged = component_numbers.arrange(J, solved.U, solved.V, scale.shape)
    if not arranged.live.any():
        raise FacesemError(
            f"alpha {alpha:g} leaves no component: every map is zero. Choose a smaller one (0.02 "
            "is the default), or give --target-sparsity."
        )
    variance = component_numbers.explained_variance(J, arranged.U, arranged.V)
    if kept is not None:  # From the basis's coefficients to directions in W.
        arranged = arranged._replace(V=jnp.dot(kept.basis, arranged.V, precision="highest"))
    watch.lap("factorisation")

    table, spreads = stages.component_stage(
        local, environment, arranged, np.asarray(scale), w["regression"], w["probes"], track
    )
    component_strips = stages.component_strips(local, table, spreads, w["faces"], track)
    distances, order, test = relations(table, options.seed)
    maps = stages.in_batches(local, w["regression"][:256], track, "mean albedo")
    watch.lap("edits")

    unmasked = np.asarray(scale).reshape(-1) > 0
    metrics = {
        **run_record.header(options, watch),
        "generator_digest": checkpoint_digest(resolve(options.generator, "generator")),
        "jacobian": cost,
        "subspace": None
        if kept is None
        else {"dimension": options.subspace, "variance_share": float(kept.share)},
        "explained_variance": variance,
        "sparsity": component_numbers.sparsity(arranged.U, unmasked),
        "max_abs_cosine": component_numbers.max_abs_cosine(arranged.V, arranged.live),
        "live_components": int(np.sum(arranged.live)),
        "iterations": solved.iterations,
        "stop_reason": solved.stop_reason,
        "restart_objectives": solved.restart_objectives.tolist(),
        "components": component_rows(table),
        "environment": environment_numbers,
        "mantel": test,
    }
    metrics["settings"]["alpha_used"] = alpha
    results = LocalizedResults(
        metrics=metrics,
        samples=samples,
        faces=faces,
        mean_albedo=maps[..., :3].mean(axis=0),
        environment=strips,
        components=table,
        strips=component_strips,
        distances=distances,
        order=order,
        objective=solved.objective,
    )
    arrays = {
        "U": table.U,
        "V": table.V,
        "spreads": spreads,
        "mean_jacobian": jacobian,
        "scale": np.asarray(scale),
        "objective": solved.objective,
        "labels": np.array(table.labels),
        **({} if kept is None else {"basis": np.asarray(kept.basis)}),
    } | {f"environment/{name}": v[k] for k, name in enumerate(environment.names)}
    return results, arrays


def main(options: Options) -> None:
    """Runs the job and writes its files, all or none."""
    options = options.checked()
    options.devices.join()
    with only_first_process(OutputDirectory(options.output, FILES)) as output:
        with progress_track(output is not None) as track:
            results, arrays = run(options, track)
            if output is None:
                return
            begin = time.perf_counter()
            np.savez_compressed(output / "components.npz", **arrays)
            (output / "report.html").write_text(render_report(results), encoding="utf-8")
            results.metrics["seconds"]["files"] = round(time.perf_counter() - begin, 3)
            run_record.write_metrics(output, results.metrics)
    summary(results.metrics, options)


def summary(metrics: dict, options: Options) -> None:
    """Prints the headline numbers and where the page lies."""
    names = [c["label"] for c in metrics["components"] if c["live"]]
    yaw = metrics["environment"].get("yaw", {})
    cost = metrics["jacobian"]
    print(
        f"{metrics['live_components']} live components of {len(metrics['components'])}, explained "
        f"variance {metrics['explained_variance']:.3f}, sparsity {metrics['sparsity']:.3f}, "
        f"largest |cos| {metrics['max_abs_cosine']:.2f}\n"
        f"yaw: R^2 {yaw.get('r2', float('nan')):.3f}, 20 degrees asked, "
        f"{yaw.get('edit_measured', float('nan')):.1f} measured\n"
        f"Jacobian: {cost['seconds_per_sample']:.3f} s per sample, cost ratio "
        f"{cost['cost_ratio']:.2f}\n"
        f"components: {', '.join(names)}\n"
        f"page: {options.output / 'report.html'}"
    )


if __name__ == "__main__":
    run_command(main, Options)
