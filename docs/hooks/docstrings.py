"""The docstrings' few reStructuredText forms as the site's Markdown."""

import re

import griffe

# On the directive's own line, in the indented lines below it, or both.
_MATH = re.compile(
    r"^(?P<indent> *)\.\. math::(?P<body>.*(?:\n|\Z)(?:(?P=indent) +\S.*(?:\n|\Z)|[ \t]*\n)*)", re.M
)
_ROLE = re.compile(r":(?:class|func|mod|meth|data):`~?([^`]+)`")


def to_markdown(text: str) -> str:
    """``.. math::`` blocks between ``$$``, roles and double backquotes as code."""

    def block(found: re.Match) -> str:
        body = found["body"].strip()
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
