"""Sphinx extension: what a reader takes along of a page: notebook, Markdown, print, citation."""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util.typing import ExtensionMetadata

from book.tools.citation import bibtex
from book.tools.languages import LANGUAGES
from book.tools.prose import has_text

Button = dict[str, str]
TEACHING = "lehre"  # the page for those who show slides


def configure(app: Sphinx, config: Config) -> None:
    """Let the citation stand below each page."""
    config.html_theme_options.setdefault("article_footer_items", []).append("citation.html")


def cite(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Say how to cite a page that was written, rather than generated."""
    if doctree:
        title = app.env.titles[page].astext()
        context["cite"] = LANGUAGES[app.config.language]["citation"]["title"]
        url = context["pageurl"] or ""
        context["bibtex"] = bibtex(app.config.language, page, title, url)


def offer(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Name what the buttons of sphinx-book-theme (1.3.0) download, and add to them.

    It offers a page's source, and names the format, ".pdf", on the button that prints.
    """
    words = LANGUAGES[app.config.language]["downloads"]
    for group in (b for b in context["header_buttons"] if b["label"] == "download-buttons"):
        *_, source, printing = group["buttons"]
        group["tooltip"] = words["group"]
        notebook = source | {"text": words["notebook"], "tooltip": words["notebook_hint"]}
        printing |= {
            "text": words["print"],
            "tooltip": words["print_hint"],
            "icon": "fas fa-print",
        }
        group["buttons"] = [
            *([notebook] if context["page_source_suffix"] == ".ipynb" else []),
            *([link("text", f"{page}.md", words, "fas fa-file")] if has_text(page) else []),
            printing,
            *(
                link(kind, url, words, icon)
                for kind, url, icon in (
                    ("pdf", app.config.editions_pdf, "fas fa-file-pdf"),
                    ("slides", app.config.editions_slides * (page == TEACHING), "fas fa-images"),
                    ("archive", app.config.editions_archive, "fas fa-download"),
                )
                if url
            ),
            link("cite", "#citation", words, "fas fa-quote-left"),
        ]


def link(kind: str, url: str, words: dict[str, str], icon: str) -> Button:
    """Return a button that leads somewhere."""
    return {
        "type": "link",
        "url": url,
        "text": words[kind],
        "tooltip": words[f"{kind}_hint"],
        "icon": icon,
        "label": f"{kind}-button",
    }


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the extension."""
    app.add_config_value("editions_pdf", "", "html", str)
    app.add_config_value("editions_slides", "", "html", str)
    app.add_config_value("editions_archive", "", "html", str)
    app.connect("config-inited", configure)
    app.connect("html-page-context", cite)
    app.connect("html-page-context", offer, priority=502)  # the theme's come at 501
    return {"parallel_read_safe": True, "parallel_write_safe": True}
