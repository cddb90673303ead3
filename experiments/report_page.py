"""The frame of a self-contained HTML page."""

from collections.abc import Iterable, Mapping

from experiments import report_html as html
from experiments.report_style import CSS


def page(title: str, lead: str, sections: Iterable[tuple[str, str, str]]) -> str:
    """A page: no script, no external resource, light or dark as the reader prefers.

    Args:
      title: Plain text.
      lead: The first paragraph, HTML.
      sections: Anchor, title (plain text) and content (HTML) of each.
    """
    sections = list(sections)
    contents = "".join(f'<li><a href="#{key}">{name}</a></li>' for key, name, _ in sections)
    body = "".join(
        f'<section id="{key}"><h2>{name}</h2>{inner}</section>' for key, name, inner in sections
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        f"<title>{title}</title><style>{CSS}</style></head>\n"
        f'<body><main><header><h1>{title}</h1><p class="lead">{lead}</p>'
        f'<nav aria-label="Contents"><ol>{contents}</ol></nav></header>\n'
        f"{body}</main></body></html>\n"
    )


def record(metrics: Mapping, times: Iterable[tuple[str, str]] = ()) -> str:
    """The section on how a run was made: its settings, versions and seconds.

    Args:
      metrics: Holds ``settings``, ``versions``, ``device`` and ``seconds`` per stage.
      times: More rows for the seconds, HTML.
    """
    seconds = html.mapping(metrics.get("seconds"))
    rows = [(html.text(k), html.number(v)) for k, v in seconds.items()]
    known = [v for v in map(html.as_number, seconds.values()) if v is not None]
    if known:
        rows.append(("total", html.number(sum(known))))
    versions = {**html.mapping(metrics.get("versions")), "device": metrics.get("device")}
    settings = html.mapping(metrics.get("settings"))

    def block(title, pairs, kind="narrow"):
        return f"<div><h3>{title}</h3>{html.table((), pairs, kind)}</div>"

    return (
        '<div class="columns">'
        + block("Settings", [(html.text(k), html.setting(v)) for k, v in settings.items()])
        + block("Versions", [(html.text(k), html.setting(v)) for k, v in versions.items()])
        + block("Seconds", [*rows, *times], "narrow right")
        + "</div>"
    )
