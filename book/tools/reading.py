"""What a reader meets on a page: headings, citations, figures, print-outs; and for how long."""

import math
import re
from typing import Any

import nbformat

from book.tools.languages import LANGUAGES

WORD = re.compile(r"[^\W\d_]{2,}")
CITATION = re.compile(r"\{cite(?::\w+)?\}`([^`]+)`")
HEADING = re.compile(r"^(#+) ", re.MULTILINE)
FENCE = re.compile(r"^(?:```|~~~)[^\n]*\n.*?^(?:```|~~~) *$", re.MULTILINE | re.DOTALL)


def one_line(text: str) -> str:
    """Return a text without line breaks."""
    return " ".join(text.split())


def fenced(text: str, language: str = "") -> str:
    """Return code, or what it printed, as a block of Markdown."""
    return f"```{language}\n{text}\n```"


def markdown(page: nbformat.NotebookNode) -> str:
    """Return the text of a page's Markdown cells."""
    return "\n\n".join(c.source for c in page.cells if c.cell_type == "markdown")


def prose(text: str) -> str:
    """Return a Markdown text without its code."""
    return FENCE.sub("", text)


def heading_levels(text: str) -> list[int]:
    """Return the levels of a text's headings.

    >>> heading_levels("## Two")
    [2]
    """
    return [len(marks) for marks in HEADING.findall(prose(text))]


def citations(text: str) -> list[str]:
    """Return the keys that a text cites.

    >>> citations("So {cite}`ba2016layer, wu2018group` say.")
    ['ba2016layer', 'wu2018group']
    """
    return [key.strip() for keys in CITATION.findall(text) for key in keys.split(",")]


def text_outputs(cell: dict[str, Any]) -> str:
    """Return the text a code cell has printed or displayed, tables as Markdown."""

    def text(output: dict[str, Any]) -> str:
        data = output.get("data", {})
        return str(output.get("text") or data.get("text/markdown") or data.get("text/plain", ""))

    outputs = (o for o in cell["outputs"] if "image/svg+xml" not in o.get("data", {}))
    return "\n".join(map(text, outputs))


def image_count(cell: dict[str, Any]) -> int:
    """Return the number of images among a cell's outputs."""
    return sum(
        any(t.startswith("image/") for t in o.get("data", {})) for o in cell.get("outputs", [])
    )


def alt_text(cell: dict[str, Any]) -> str:
    """Return the alt text given to a cell's images."""
    return str(cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", ""))


def caption(cell: dict[str, Any]) -> tuple[str, str]:
    """Return the name and the caption given to a cell's figure."""
    figure = cell["metadata"].get("mystnb", {}).get("figure", {})
    return figure.get("name", ""), figure.get("caption", "")


def stars(level: int) -> str:
    """Return how hard an exercise is, as one sees it.

    >>> stars(2)
    '★★☆'
    """
    return "★" * level + "☆" * (3 - level)


def reading_minutes(page: nbformat.NotebookNode) -> int:
    """Return how long a page takes to read, to the nearest five minutes.

    150 words a minute, five seconds for a line of code that is shown, half a minute for a
    displayed formula or a figure.
    """
    text = prose(markdown(page))
    shown = (
        c.source
        for c in page.cells
        if c.cell_type == "code" and "hide-input" not in c.metadata.get("tags", [])
    )
    lines = sum(bool(line.strip()) for source in shown for line in source.splitlines())
    figures = sum(image_count(c) for c in page.cells)
    pauses = text.count("$$") / 2 + figures
    minutes = len(WORD.findall(text)) / 150 + lines / 12 + pauses / 2
    return max(5, 5 * round(minutes / 5))


def run_time(text: str, language: str) -> int:
    r"""Return the seconds that a page says it runs for.

    >>> run_time("*Run time:* up to 15\N{NO-BREAK SPACE}s.", "en")
    15
    """
    found = _said(language).search(text)
    if found is None:
        raise ValueError(f"text: expected a run time as in {_said(language).pattern}, got none")
    return int(found[2])


def with_run_time(text: str, language: str, seconds: float) -> str:
    r"""Return the text of a page with the run time that was measured, rounded up to five seconds.

    >>> with_run_time("*Run time:* up to 15\N{NO-BREAK SPACE}s.", "en", 21.3)
    '*Run time:* up to 25\xa0s.'
    """
    return _said(language).sub(rf"\g<1>{5 * math.ceil(seconds / 5)}\3", text)


def _said(language: str) -> re.Pattern[str]:
    words = LANGUAGES[language]["notebooks"]
    before, after = map(re.escape, words["seconds"].split("{}"))
    return re.compile(rf"(\*{words['run_time']}:\* {before})(\d+)({after})")
