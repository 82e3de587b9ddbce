"""The notebooks of all editions: finding, reading, cleaning and writing them."""

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

from book import BOOK
from book.tools.languages import LANGUAGES

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
EXECUTION = "execution"  # in the metadata: when and with what the outputs were computed
CELL_METADATA = ("mystnb", "tags")


def pages(names: Iterable[str] = ()) -> list[Path]:
    """Return the notebooks of all editions, or only those with the given file stems."""
    wanted = set(names)
    found = sorted(p for e in LANGUAGES for p in (BOOK / e).glob("*.ipynb"))
    if missing := wanted - {p.stem for p in found}:
        raise ValueError(f"no page of the book is called {', '.join(sorted(missing))}")
    return [p for p in found if not wanted or p.stem in wanted]


def read(path: Path) -> nbformat.NotebookNode:
    """Read a notebook of the current format."""
    notebook: nbformat.NotebookNode = nbformat.read(path, as_version=4)
    return notebook


def text(notebook: nbformat.NotebookNode) -> str:
    """Return the one file content that represents a notebook."""
    return f"{nbformat.writes(notebook)}\n"


def write(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write a notebook deterministically."""
    nbformat.validate(notebook)
    path.write_text(text(notebook), encoding="utf-8", newline="\n")


def outputs(notebook: Mapping[str, Any]) -> list[Any]:
    """Return what each cell of a notebook shows; None for text."""
    return [cell.get("outputs") for cell in notebook["cells"]]


def clean(notebook: nbformat.NotebookNode) -> None:
    """Drop everything from the metadata that is not part of the book."""
    known = {k: v for k, v in notebook.metadata.items() if k == EXECUTION}
    notebook.metadata = nbformat.from_dict(METADATA | known)
    for cell in notebook.cells:
        kept = {k: cell.metadata[k] for k in CELL_METADATA if cell.metadata.get(k)}
        cell.metadata = nbformat.from_dict(kept)
        for output in cell.get("outputs", []):
            if "metadata" in output:
                output.metadata = nbformat.from_dict({})


def set_up(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return the cell that installs what a page needs and imports it."""
    cell: nbformat.NotebookNode = next(c for c in notebook.cells if c["id"] == "setup")
    return cell


def installation(notebook: nbformat.NotebookNode) -> str:
    """Return the beginning of the set-up cell, which is the same on all pages."""
    source: str = set_up(notebook).source
    return source[: source.index("\n", source.index("%pip"))]


def plain(source: str) -> str:
    """Return the text of a code cell with its magics as calls."""
    return str(TransformerManager().transform_cell(source))


def parse(source: str) -> ast.Module:
    """Return the syntax tree of a code cell, its magics as calls.

    >>> ast.unparse(parse("%pip install lnlib"))
    "get_ipython().run_line_magic('pip', 'install lnlib')"
    """
    return ast.parse(plain(source))
