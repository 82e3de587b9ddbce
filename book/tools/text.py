"""The pages as plain Markdown, to read without a browser, and a list of them, `llms.txt`."""

import re
from collections.abc import Iterable
from pathlib import Path

import nbformat

from book.tools import notebooks
from book.tools.languages import LANGUAGES
from book.tools.names import REFERENCE
from book.tools.prose import edition, plain, prose
from book.tools.reading import alt_text, one_line

GENERATED = ("genindex", "literatur", REFERENCE)  # beginnings of pages that are not written here
LIST = "llms.txt"  # as https://llmstxt.org has it
TITLE = re.compile(r"^# (.+)", re.MULTILINE)
LINK = re.compile(r"\[([^]]+)\]\([^)]+\)")  # to a term
QUESTION = re.compile(r"^\*\*(.+\?)\*\*$", re.MULTILINE)


def has_text(page: str) -> bool:
    """Say whether a page is offered as plain Markdown."""
    return not page.startswith(GENERATED)


def beside_texts(name: str) -> str:
    """Return where a text finds a page: as a text, too, or else as it is on the site.

    >>> beside_texts("1b_numerik.ipynb"), beside_texts("literatur.md")
    ('1b_numerik.md', 'literatur.html')
    """
    stem = Path(name).stem
    return f"{stem}.md" if has_text(stem) else f"{stem}.html"


def shown(output: nbformat.NotebookNode, alt: str) -> str:
    """Return an output of a cell as Markdown: tables as they are, figures by what they show."""
    data = output.get("data", {})
    if table := data.get("text/markdown"):
        return str(table)
    if any(kind.startswith("image/") for kind in data):
        return f"*{alt}*"
    return f"```\n{(output.get('text') or data.get('text/plain', '')).rstrip()}\n```"


def as_text(notebook: nbformat.NotebookNode) -> str:
    """Return a notebook as Markdown."""
    parts = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
        else:
            parts.append(f"```python\n{cell.source}\n```")
            parts += [shown(output, alt_text(cell)) for output in cell.outputs]
    return "\n\n".join(parts)


def texts(source: Path, code: str, order: Iterable[str]) -> dict[str, str]:
    """Return the pages of an edition as Markdown, by file stem.

    Args:
        source: the folder of its pages.
        code: its language.
        order: the file stems of the pages, in reading order.
    """
    book = edition(source, code, "", order, beside_texts)
    found = {}
    for stem in filter(has_text, order):
        (path,) = source.glob(f"{stem}.*")
        if path.suffix == ".ipynb":
            text = as_text(prose(notebooks.read(path), path.name, book))
        else:
            text = plain(path.read_text(encoding="utf-8"), book.page(path.name), book)
        found[stem] = f"{text.strip()}\n"
    return found


def listing(title: str, editions: dict[str, dict[str, str]], address: str) -> str:
    """Return `llms.txt`: each page with the question that it answers.

    Args:
        title: the book's name.
        editions: the texts of the pages of each, by file stem.
        address: where the site is published, with a final slash; empty as long as it is not.
    """
    lines = [f"# {title}", "", f"> {'. '.join(LANGUAGES[code]['tagline'] for code in editions)}."]
    for code, pages in editions.items():
        lines += ["", f"## {LANGUAGES[code]['name']}", ""]
        for stem, text in pages.items():
            heads = (pattern.search(text) for pattern in (TITLE, QUESTION))
            name, *question = [LINK.sub(r"\1", one_line(m[1])) for m in heads if m]
            line = f"- [{name}]({address}{code}/{stem}.md)"
            lines.append(": ".join([line, *question]))
    return "\n".join([*lines, ""])


def write(site: Path, title: str, editions: dict[str, dict[str, str]], address: str) -> None:
    """Write the texts beside their pages, and the list of them; the arguments are those above."""
    for code, pages in editions.items():
        for stem, text in pages.items():
            (site / code / f"{stem}.md").write_text(text, encoding="utf-8")
    (site / LIST).write_text(listing(title, editions, address), encoding="utf-8")
