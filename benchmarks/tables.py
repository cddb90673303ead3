"""Markdown of figures."""

from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table, first column to the left, the others to the right."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    lines = [header, rule, *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def number(value: float | None, digits: int = 3) -> str:
    """To ``digits`` significant digits, without an exponent where it reads better."""
    if value is None:
        return "–"
    if value and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.{digits - 1}e}"
    text = f"{value:.{digits}g}"
    return f"{float(text):.0f}" if "e" in text else text


def with_spread(value: dict | None, digits: int = 3) -> str:
    """``median (min to max)``."""
    if value is None:
        return "–"
    low, high = number(value["min"], digits), number(value["max"], digits)
    return f"{number(value['median'], digits)} ({low} to {high})"


def gib(size: float | None) -> str:
    """Bytes in GiB."""
    return "–" if size is None else f"{size / 2**30:.2f}"


def goal(text: str, met: bool, measured: str, why_not: str = "") -> str:
    """A line that says whether a goal is met, and if not, why.

    Args:
      text: The goal.
      met: Whether it is met.
      measured: What was found.
      why_not: The reason, shown where it is not met.
    """
    line = f"- Goal: {text}. **{'Met' if met else 'Not met'}**: {measured}."
    return line if met or not why_not else f"{line} {why_not}"


def paragraphs(*parts: str) -> str:
    """Joined by blank lines, empty ones left out."""
    return "\n\n".join(part.strip() for part in parts if part and part.strip()) + "\n"
