"""The docstrings' few reStructuredText forms as the site's Markdown."""

import re
import textwrap

import griffe

_MATH = re.compile(r"^(?P<indent> *)\.\. math::\n(?P<body>(?:(?P=indent) +\S.*\n?|\s*\n)+)", re.M)
_ROLE = re.compile(r":(?:class|func|mod|meth|data):`~?([^`]+)`")


def to_markdown(text: str) -> str:
    """``.. math::`` blocks between ``$$``, roles and double backquotes as code."""

    def block(found: re.Match) -> str:
        body = textwrap.dedent(found["body"]).strip()
        lines = "\n".join(found["indent"] + line.strip() for line in body.splitlines())
        return f"{found['indent']}$$\n{lines}\n{found['indent']}$$\n\n"

    text = _MATH.sub(block, text)
    return re.sub(r"``([^`]+)``", r"`\1`", _ROLE.sub(r"`\1`", text))


class Docstrings(griffe.Extension):
    """Called by mkdocstrings with every object that it has read."""

    def on_object(self, *, obj: griffe.Object, **_) -> None:
        """Rewrites the object's docstring."""
        if obj.docstring:
            obj.docstring.value = to_markdown(obj.docstring.value)
