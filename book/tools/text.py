"""The pages as plain Markdown, to read without a browser, and a list of them, `llms.txt`."""

import re
from collections.abc import Iterable
from pathlib import Path

import nbformat

from book.tools import notebooks
from book.tools.languages import LANGUAGES
from book.tools.prose import beside_texts, edition, has_text, plain, prose
from book.tools.reading import alt_text, fenced, one_line

LIST = "llms.txt"  # as https://llmstxt.org has it
TITLE = re.compile(r"^# (.+)", re.MULTILINE)
LINK = re.compile(r"\[([^]]+)\]\([^)]+\)")  # to a term
QUESTION = re.compile(r"^\*\*(.+\?)\*\*$", re.MULTILINE)
SENTENCE = re.compile(r"(?<=\n\n)[\w*`[](?:.|\n(?!\n))+?[.?](?=\s)")  # at a paragraph's beginning


def shown(output: nbformat.NotebookNode, alt: str) -> str:
    """Return an output of a cell as Markdown: tables as they are, figures by what they show."""
    data = output.get("data", {})
    if table := data.get("text/markdown"):
        return str(table)
    if any(kind.startswith("image/") for kind in data):
        return f"*{alt}*"
    return fenced((output.get("text") or data.get("text/plain", "")).rstrip())


def as_text(notebook: nbformat.NotebookNode) -> str:
    """Return a notebook as Markdown."""
    parts = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
        else:
            parts.append(fenced(cell.source, "python"))
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


def opening(text: str) -> tuple[str, str]:
    r"""Return the title of a page, and the question that it answers or else its first sentence.

    >>> opening("# Layouts\n\nWhich axes are shared. For all methods.\n")
    ('Layouts', 'Which axes are shared.')
    """
    title, lead = TITLE.search(text), QUESTION.search(text) or SENTENCE.search(text)
    assert title
    assert lead
    return title[1], lead[lead.lastindex or 0]


def listing(title: str, editions: dict[str, dict[str, str]], address: str) -> str:
    """Return `llms.txt`: each page with the question that it answers, or its first sentence.

    Args:
        title: the book's name.
        editions: the texts of the pages of each, by file stem.
        address: where the site is published, with a final slash; empty as long as it is not.
    """
    lines = [f"# {title}", "", f"> {'. '.join(LANGUAGES[code]['tagline'] for code in editions)}."]
    for code, pages in editions.items():
        lines += ["", f"## {LANGUAGES[code]['name']}", ""]
        for stem, text in pages.items():
            name, lead = (LINK.sub(r"\1", one_line(said)) for said in opening(text))
            lines.append(f"- [{name}]({address}{code}/{stem}.md): {lead}")
    return "\n".join([*lines, ""])


def write(site: Path, title: str, editions: dict[str, dict[str, str]], address: str) -> None:
    """Write the texts beside their pages, and the list of them; the arguments are those above."""
    for code, pages in editions.items():
        for stem, text in pages.items():
            (site / code / f"{stem}.md").write_text(text, encoding="utf-8")
    (site / LIST).write_text(listing(title, editions, address), encoding="utf-8")
