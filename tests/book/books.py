"""Books of a few pages, built in seconds, with the settings and extensions of this one."""

import copy
import shutil
from dataclasses import asdict

import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from book import BOOK, ROOT
from book.tools import notebooks
from book.tools.claims import load
from book.tools.languages import LANGUAGES

EXECUTION = {
    "date": "2026-01-02",
    "torch": "2.0",
    "numpy": "1.9",
    "machine": "arm64",
    "capability": "NEON",
}


def write_small_book(folder, editions=LANGUAGES):
    """Write a book in these editions."""
    shutil.copy(ROOT / "_config.yml", folder)
    (folder / "_toc.yml").write_text(
        "format: jb-book\nroot: book/de/index\nchapters:\n"
        "- file: book/de/page\n- file: book/de/lehre\n"
    )
    for edition in editions:
        (folder / "book" / edition).mkdir(parents=True, exist_ok=True)
        (folder / "book" / edition / "index.md").write_text(
            "# A small book\n\nOf one [page](page.ipynb) and one formula, $x^2$.\n"
        )
        (folder / "book" / edition / "lehre.md").write_text("# Teaching\n\nWith slides.\n")
        cells = [
            new_markdown_cell("# A page\n\nA cell shows it.", id="title"),
            new_code_cell("1 + 1", id="sum", execution_count=1),
        ]
        metadata = notebooks.METADATA | {notebooks.EXECUTION: EXECUTION}
        notebook = new_notebook(cells=cells, metadata=metadata)
        notebooks.write(notebook, folder / "book" / edition / "page.ipynb")
    shutil.copy(BOOK / "references.bib", folder / "book")
    return folder


def write_book_with_french(folder):
    """Write a book with the tools of this one and an entry more in its languages.

    What French says is English; Sphinx and the search have their own French.
    """
    pages = shutil.ignore_patterns("*.ipynb", "*.md", "__pycache__")
    shutil.copytree(BOOK, folder / "book", ignore=pages)
    for name in ("node_modules", "CITATION.cff", "requirements.txt"):
        (folder / name).symlink_to(ROOT / name)
    french = copy.deepcopy(LANGUAGES["en"]) | {"name": "Français", "stemmer": "french"}
    french["settings"]["sphinx"]["config"]["language"] = "fr"
    claims = [asdict(claim) for claim in load()]
    for claim in claims:
        for texts in (claim["claim"], claim["finding"], claim["effect"]):
            texts |= {"fr": texts["en"]} if texts else {}
    for name, content in (("languages", LANGUAGES | {"fr": french}), ("claims", claims)):
        text = yaml.safe_dump(content, sort_keys=False)
        (folder / "book" / f"{name}.yml").write_text(text)
    return write_small_book(folder, [*LANGUAGES, "fr"])
