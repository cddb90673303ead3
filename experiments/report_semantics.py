"""The report's sections on semantics: pose and light, the maps, what moving along them does."""

import numpy as np

from experiments import report_html as html
from experiments.localized_results import ComponentTable, LocalizedResults, Strip
from facesem_jax.viz import figures, overlays, sheets

_STEP = 5
"""Rounding of the strips, by far the page's largest part; see `png.picture_png`."""


def environment_section(results: LocalizedResults) -> str:
    """Per global semantic: its numbers, its strip, measured against asked change."""
    if not results.environment:
        return "<p>No global semantics.</p>"
    metrics = html.mapping(results.metrics.get("environment"))
    words = (
        "<p>One direction per scalar semantic, fitted by linear regression on decomposed faces. "
        "Amounts are in the semantic’s own unit: a good direction changes it by what was asked, "
        "and changes nothing else.</p>"
        '<p class="note">R² is measured on held-out faces. The cosine compares the regression’s '
        "direction with the exact mean gradient; 1 means that both agree. In the plots the dashed "
        "line is a change equal to the one asked.</p>"
    )
    return words + "".join(
        _environment(strip, html.mapping(metrics.get(strip.name))) for strip in results.environment
    )


def _environment(strip: Strip, entry) -> str:
    name, unit = html.text(strip.name), strip.unit
    pairs = [
        ("unit", html.unit_name(unit)),
        ("R², held-out", html.number(entry.get("r2"))),
        ("cosine, regression and exact", html.number(entry.get("cosine"))),
        (
            "asked → measured",
            f"{html.with_unit(_last(entry.get('edit_asked')), unit)} → "
            f"{html.with_unit(_last(entry.get('edit_measured')), unit)}",
        ),
    ]
    plot = ""
    if strip.measured is not None:
        plot = html.figure(
            lambda palette: figures.response_figure(strip.amounts, strip.measured, unit, palette),
            f"Measured against asked change of {strip.name}",
        )
    cells = strip_picture(strip)
    return (
        f'<div class="semantic"><h3>{name}</h3>{html.facts(pairs)}'
        f'<div class="row">{cells}<div class="scroll">{plot}</div></div></div>'
    )


def strip_picture(strip: Strip) -> str:
    """A strip under its amounts, in a box in which it scrolls."""
    picture = html.picture(
        sheets.strip_sheet(strip.images),
        f"{len(strip.images)} faces moved along {strip.name} by {_amounts(strip)}",
        cells=strip.images.shape[:2],
        step=_STEP,
        style=f"grid-column:1/span {len(strip.amounts)}",
    )
    columns = f"grid-template-columns:repeat({len(strip.amounts)},var(--cell))"
    return html.scroll(f'<div class="cells" style="{columns}">{_heads(strip)}{picture}</div>')


def gallery_section(results: LocalizedResults) -> str:
    """A card per live component: its albedo and depth maps and what they amount to."""
    table = results.components
    dead = int(np.sum(~np.asarray(table.live, bool)))
    words = (
        "<p>Each component is a map of where and how albedo and depth change, and a direction in "
        "the latent space that changes them. Ordered by explained variance; the names are what "
        "command lines take. Left and right are the subject’s own: the left eye is on the "
        "right-hand side of the picture.</p>"
        f'<p class="note">Albedo, on the left: {_swatch("red")}lighter, {_swatch("blue")}darker, '
        f"{_swatch('violet')}another hue. Depth, on the right: {_swatch('red')}away from the "
        f"camera, {_swatch('blue')}towards it. Full colour is the component’s own largest value "
        "over both, in the units of the factorisation, in which albedo and depth weigh the same. "
        "A share of explained variance is what is lost when that component alone is removed; the "
        "effective area is a share of the frame.</p>"
    )
    shown = {strip.name: i for i, strip in enumerate(results.strips)}
    cards = "".join(
        _card(table, p, results.mean_albedo, shown.get(table.labels[p]))
        for p in np.flatnonzero(table.live)
    )
    count = len(table.live)
    last = (
        f"{dead} of {count} components {'is' if dead == 1 else 'are'} dead: "
        "zero everywhere, and so not shown."
        if dead
        else f"None of the {count} components is dead."
    )
    return f'{words}<div class="cards">{cards}</div><p>{last}</p>'


def _card(table: ComponentTable, p: int, mean_albedo: np.ndarray, strip: int | None) -> str:
    label = html.text(table.labels[p])
    title = f"<code>{label}</code>"
    if strip is not None:
        title = f'<a href="#strip-{strip}">{title}</a>'
    albedo, depth = overlays.component_pictures(table.U[p], mean_albedo)
    pair = "".join(
        f"<figure>{html.picture(pixels, f'{name} map of {table.labels[p]}')}"
        f"<figcaption>{name}</figcaption></figure>"
        for name, pixels in (("albedo", albedo), ("depth", depth))
    )
    pairs = [
        ("region", f"{html.text(table.regions[p])}, {html.percent(table.confidence[p], 0)}"),
        ("explained variance", html.percent(table.shares[p])),
        ("effective area", html.percent(table.effective_area[p])),
    ]
    return (
        f'<div class="card" id="component-{p}"><h3>{title}</h3>'
        f'<div class="pair">{pair}</div>{html.facts(pairs)}</div>'
    )


def strips_section(results: LocalizedResults) -> str:
    """Per shown component: faces moved along its direction, the difference, its side effects."""
    if not results.strips:
        return "<p>No strips.</p>"
    words = (
        "<p>The same faces moved along one component’s direction at a time; amounts are distances "
        "in W along a unit direction. The last column is the change from 0 to the largest amount: "
        f"{_swatch('red')}lighter, {_swatch('blue')}darker, {_swatch('violet')}another hue, full "
        "colour at the stated share of the range from black to white.</p>"
        '<p class="note">Locality is the share of the change in albedo and depth that falls inside '
        "the component’s own map; beside it, what a change spread evenly over the frame would "
        "score. Leakage is the mean absolute change of the view angles, and of the four light "
        "values, halfway along the strip (two standard deviations of W). Pixels are rounded by at "
        "most 2 in 255 to keep the page small.</p>"
    )
    groups = _by_region(results)
    index = ", ".join(
        f'<a href="#region-{k}">{html.text(region)}</a> ({len(members)})'
        for k, (region, members) in enumerate(groups.items())
    )
    parts = [
        f'<h3 class="region" id="region-{k}">{html.text(region.capitalize())}</h3>'
        + "".join(_strip(results.components, i, results.strips[i]) for i in members)
        for k, (region, members) in enumerate(groups.items())
    ]
    return f"{words}<p>By region: {index}.</p>" + "".join(parts)


def _by_region(results: LocalizedResults) -> dict[str, list[int]]:
    """The strips' numbers by region, the region with the strongest component first."""
    table, groups = results.components, {}
    for i, strip in enumerate(results.strips):
        known = strip.name in table.labels
        region = table.regions[table.labels.index(strip.name)] if known else "other"
        groups.setdefault(region, []).append(i)
    return groups


def _strip(table: ComponentTable, index: int, strip: Strip) -> str:
    p = table.labels.index(strip.name) if strip.name in table.labels else None
    title = f"<code>{html.text(strip.name)}</code>"
    if p is not None:
        title = f'<a href="#component-{p}">{title}</a>'

    def of(values: np.ndarray) -> float | None:
        return None if p is None else values[p]

    pairs = [
        (
            "locality (if spread evenly)",
            f"{html.percent(of(table.edit_locality))} ({html.percent(of(table.support_area))})",
        ),
        ("view leakage", html.with_unit(of(table.view_leakage_degrees), "degrees")),
        ("light leakage (pure number)", html.number(of(table.light_leakage))),
        ("unit of the amounts", html.unit_name(strip.unit)),
    ]
    faces, count = strip.images.shape[:2]
    differences, limit = overlays.strip_difference(strip.images, strip.amounts)
    moved = html.picture(
        sheets.strip_sheet(strip.images),
        f"{faces} faces moved along {strip.name} by {_amounts(strip)}",
        cells=(faces, count),
        step=_STEP,
        style=f"grid-column:1/span {count};grid-row:2",
    )
    changed = html.picture(
        sheets.column(differences),
        f"Difference between the largest amount and 0 along {strip.name}",
        cells=(faces, 1),
        step=_STEP,
        style=f"grid-column:{count + 2};grid-row:2",
    )
    head = (
        f'<span class="head quiet" style="grid-column:{count + 2}">'
        f"change, ±{html.percent(limit, 0)}</span>"
    )
    cells = (
        f'<div class="cells" style="grid-template-columns:repeat({count},var(--cell)) 24px '
        f'var(--cell)">{_heads(strip)}{head}{moved}{changed}</div>'
    )
    return (
        f'<div class="strip" id="strip-{index}"><h4>{title}</h4>'
        f"{html.facts(pairs)}{html.scroll(cells)}</div>"
    )


def _heads(strip: Strip) -> str:
    zero = int(np.argmin(np.abs(strip.amounts)))
    return "".join(
        f'<span class="head{" zero" if i == zero else ""}">'
        f"{html.with_unit(amount, strip.unit, signed=True)}</span>"
        for i, amount in enumerate(strip.amounts)
    )


def _amounts(strip: Strip) -> str:
    unit = {"1": "", "w": " in W"}.get(strip.unit, f" {strip.unit}")
    return ", ".join(html.number(amount) for amount in strip.amounts) + unit


def _last(value: object) -> object:
    """The last of several numbers, the largest edit; a single number as it is."""
    if isinstance(value, list | tuple | np.ndarray) and np.ndim(value) == 1 and len(value):
        return value[-1]
    return value


def _swatch(colour: str) -> str:
    shades = {"red": "#cc0026", "blue": "#0040cc", "violet": "#662079"}
    return f'<span class="swatch" style="background:{shades[colour]}"></span>'
