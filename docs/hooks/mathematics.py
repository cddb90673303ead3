"""Formulas as MathML when the site is built: no script and no font from elsewhere."""

import html
import re

import latex2mathml.converter

_FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">'
    r"(?:\\\((?P<line>.*?)\\\)|\\\[(?P<block>.*?)\\\])</(?P=tag)>",
    re.DOTALL,
)


def _mathml(found: re.Match) -> str:
    display = "inline" if found["block"] is None else "block"
    formula = html.unescape(found["line"] or found["block"])
    return latex2mathml.converter.convert(" ".join(formula.split()), display=display)


def on_page_content(content: str, **_) -> str:
    """Called by MkDocs with a page's HTML."""
    return _FORMULA.sub(_mathml, content)
