"""The book's Sphinx extension: nothing from other hosts, the twin page, downloads, claims."""

import hashlib
import re
from gettext import NullTranslations
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.locale import translators

from book import BOOK

HERE = Path(__file__).resolve().parent
STATIC = BOOK / "_static"
TWINS = {
    "de": ("en", "English", "This page in English"),
    "en": ("de", "Deutsch", "Diese Seite auf Deutsch"),
}
GERMAN = {  # what the catalogues of Sphinx and of the theme lack
    "Link to this heading": "Link auf diesen Abschnitt",
    "Link to this code": "Link auf diesen Code",
    "Link to this equation": "Link auf diese Formel",
    "Link to this image": "Link auf dieses Bild",
    "Link to this table": "Link auf diese Tabelle",
    "Skip to main content": "Zum Text springen",
    "Back to top": "Nach oben",
    "Color mode": "Farbmodus",
    "Light": "hell",
    "Dark": "dunkel",
    "System Settings": "wie das System",
    "previous page": "vorige Seite",
    "next page": "nächste Seite",
    "Main": "Kapitel",
    "Toggle primary sidebar": "Kapitel ein- und ausblenden",
    "Toggle secondary sidebar": "Abschnitte ein- und ausblenden",
}
DOWNLOADS = {
    "de": {
        "group": "Herunterladen oder drucken",
        "print": "Drucken",
        "print_hint": "Diese Seite drucken",
        "pdf": "Buch als PDF",
        "pdf_hint": "Alle Seiten in einer Datei",
    },
    "en": {
        "group": "Download or print",
        "print": "Print",
        "print_hint": "Print this page",
        "pdf": "Book as PDF",
        "pdf_hint": "All pages in one file",
    },
}
REPEATED_IDS = {"exercise-content", "solution-content", "proof-content"}
CLAIM = re.compile(r"tag_(claim-([CM]\d+))")
SHOWS = {"de": "Zeigt", "en": "Shows"}


class German(NullTranslations):
    """Falls back on `GERMAN`."""

    def gettext(self, message: str) -> str:
        """Translate one message."""
        return GERMAN.get(message, message)


def configure(app: Sphinx, config: Config) -> None:
    """Set what does not depend on the book's content."""
    config.templates_path.append(str(HERE / "_templates"))
    config.html_static_path.append(str(STATIC))
    config.html_favicon = str(STATIC / "favicon.svg")
    config.html_context.setdefault("default_mode", "auto")
    config.html_math_renderer = "mathml"
    options = config.html_theme_options
    options["article_header_end"] = ["language-switch.html", "article-header-buttons.html"]
    if not options.get("repository_url"):
        options.pop("launch_buttons", None)  # nowhere to launch from
    own = (p for f in (HERE, STATIC) for p in sorted(f.rglob("*")) if p.is_file())
    files = b"".join(p.read_bytes() for p in own if p.suffix != ".pyc")
    config.editions_digest = hashlib.sha256(files).hexdigest()  # a change rebuilds all pages
    if config.language == "de":
        for translator in translators.values():
            translator.add_fallback(German())


def link_twin(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Offer the same page in the other language, to search engines as well."""
    language = app.config.language
    code, name, hint = TWINS[language]
    up = "../" * (page.count("/") + 1)
    target = page if page in app.env.found_docs else "index"
    context["twin"] = None
    if app.config.editions_twin:
        context["twin"] = {
            "url": f"{up}{code}/{target}.html",
            "code": code,
            "name": name,
            "hint": hint,
        }
    if (base := app.config.html_baseurl) and page != "search":
        links = []
        for code in TWINS:
            url = urljoin(base, f"../{code}/{page}.html")
            links.append(f'<link rel="alternate" hreflang="{code}" href="{url}" />')
        context["metatags"] = context.get("metatags", "") + "\n".join(links)


def offer_downloads(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Call printing by its name, and offer the whole book as a PDF where there is one."""
    text = DOWNLOADS[app.config.language]
    for group in (b for b in context["header_buttons"] if b["label"] == "download-buttons"):
        *_, printing = group["buttons"]
        group["tooltip"] = text["group"]
        printing |= {"text": text["print"], "tooltip": text["print_hint"], "icon": "fas fa-print"}
        if app.config.editions_pdf:
            group["buttons"].append(
                {
                    "type": "link",
                    "url": app.config.editions_pdf,
                    "text": text["pdf"],
                    "tooltip": text["pdf_hint"],
                    "icon": "fas fa-file-pdf",
                    "label": "book-pdf-button",
                }
            )


def name_symbols(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Head the Greek letters of the index by the small letter: the large ones look Latin."""
    if entries := context.get("genindexentries"):
        context["genindexentries"] = [(k if k.isascii() else k.lower(), e) for k, e in entries]


def load_widgets(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Load the script of the drawings that move where there is one."""
    if doctree and any("data-widget" in raw.astext() for raw in doctree.findall(nodes.raw)):
        app.add_js_file("widgets.js")


def anchor_claims(app: Sphinx, doctree: nodes.document) -> None:
    """Give the first cell of a page that shows a claim the claim's id, so it can be linked."""
    domain = app.env.get_domain("std")
    for cell in doctree.findall(nodes.container):
        for tag, claim in (m.groups() for c in cell["classes"] if (m := CLAIM.fullmatch(c))):
            if tag not in doctree.ids:
                doctree.ids[tag] = cell
                cell["ids"].append(tag)
                domain.labels[tag.lower()] = (app.env.docname, tag, claim)
                domain.anonlabels[tag.lower()] = (app.env.docname, tag)


def label_claims(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Say above a cell that the ledger leads to which claim it shows, with the way back."""
    labels = app.env.get_domain("std").anonlabels
    for cell in doctree.findall(nodes.container):
        label = nodes.paragraph("", SHOWS[app.config.language], classes=["shows"])
        for claim in (i.removeprefix("claim-") for i in cell["ids"] if i.startswith("claim-")):
            ledger, entry = labels[f"ledger-{claim.lower()}"]
            uri = f"{app.builder.get_relative_uri(page, ledger)}#{entry}"
            label += [nodes.Text(" "), nodes.reference("", claim, refuri=uri, internal=True)]
        if len(label) > 1:
            cell.insert(0, label)


def distinguish_bodies(app: Sphinx, doctree: nodes.document) -> None:
    """Give the body of every box an id of its own.

    sphinx-exercise (1.2.1) and sphinx-proof (0.4.0) write the same one, `exercise-content`,
    `solution-content` or `proof-content`, on all of them; an id has to be unique on its page.
    """
    for section in doctree.findall(nodes.section):
        if REPEATED_IDS.intersection(section["ids"]) and section.parent["ids"]:
            section["ids"] = [f"{section.parent['ids'][0]}-content"]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.add_config_value("editions_twin", False, "html", bool)
    app.add_config_value("editions_pdf", "", "html", str)
    app.add_config_value("editions_digest", "", "env", str)
    app.connect("config-inited", configure)
    app.connect("doctree-read", anchor_claims)
    app.connect("doctree-read", distinguish_bodies)
    app.connect("doctree-resolved", label_claims)
    app.connect("html-page-context", link_twin)
    app.connect("html-page-context", name_symbols)
    app.connect("html-page-context", offer_downloads, priority=502)  # the theme's come at 501
    app.connect("html-page-context", load_widgets)
    app.add_css_file("custom.css")
    app.add_js_file("page.js")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
