"""Sphinx extension: the drawings that move, on the pages that hold one.

A page marks the place: `<div data-widget="NAME"></div>`, below the paragraph that says what to try.
It becomes a figure with a title, an anchor and a number of the drawings' own, as paper has none.
`book/drawings/NAME.mjs` draws there what one sees, with the texts of `languages.yml` and the
figures of `book/tools/drawings.py`.
"""

import json
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util.typing import ExtensionMetadata

from book import BOOK
from book.tools import drawings
from book.tools.languages import LANGUAGES
from book.tools.scripts import run

MARK = re.compile(r'data-widget="(\w+)"')
BUNDLE = BOOK / "drawings" / "bundle.mjs"


class Drawing(nodes.figure):  # type: ignore[misc]
    """A figure that moves."""


def configure(app: Sphinx, config: Config) -> None:
    """Say how drawings are numbered."""
    config.numfig_format["drawing"] = LANGUAGES[config.language]["drawing"]


def frame(app: Sphinx, doctree: nodes.document) -> None:
    """Make figures of the marks on a page."""
    words = LANGUAGES[app.config.language]["drawings"]
    for raw in [*doctree.findall(nodes.raw)]:
        if match := MARK.search(raw.astext()):
            name = match[1]
            figure = Drawing(ids=[f"drawing-{name}"], classes=["drawing"])
            raw.replace_self(figure)
            figure += [raw, nodes.caption("", words[name]["title"])]


def load(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Bundle the drawings of a page in one script, and load it."""
    raws = doctree.findall(nodes.raw) if doctree else ()
    names = [name for raw in raws for name in MARK.findall(raw.astext())]
    if names:
        words = LANGUAGES[app.config.language]["drawings"]
        shown = [
            {"name": name, "words": words[name], "data": drawings.data(name, words[name])}
            for name in names
        ]
        script = f"drawings-{Path(page).name}.js"
        path = Path(app.outdir) / "_static" / script
        run(BUNDLE, str(path), text=json.dumps(shown))
        app.add_js_file(script, loading_method="defer")


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the extension."""
    app.add_enumerable_node(Drawing, "drawing")
    app.connect("config-inited", configure)
    app.connect("doctree-read", frame)
    app.connect("html-page-context", load)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
