"""The book's Sphinx extension: nothing from other hosts, the twin page, anchors of claims."""

import hashlib
import importlib.util
import re
from gettext import NullTranslations
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from bs4 import BeautifulSoup
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.locale import translators
from sphinx.util.fileutil import copy_asset_file

HERE = Path(__file__).resolve().parent
MATHJAX = "tex-svg-full.js"  # one file, no fonts: works from disk in every browser
TWINS = {
    "de": ("en", "English", "This page in English"),
    "en": ("de", "Deutsch", "Diese Seite auf Deutsch"),
}
GERMAN = {  # what Sphinx's own catalogue lacks
    "Link to this heading": "Link auf diesen Abschnitt",
    "Link to this code": "Link auf diesen Code",
    "Link to this equation": "Link auf diese Formel",
    "Link to this image": "Link auf dieses Bild",
    "Link to this table": "Link auf diese Tabelle",
}
REPEATED_IDS = {"exercise-content", "solution-content", "proof-content"}
VIEW_BOX = re.compile(r'viewBox="0 0 ([\d.]+) ([\d.]+)"')
CLAIM = re.compile(r"tag_(claim-([CM]\d+))")


class German(NullTranslations):
    """Falls back on `GERMAN`."""

    def gettext(self, message: str) -> str:
        """Translate one message."""
        return GERMAN.get(message, message)


def configure(app: Sphinx, config: Config) -> None:
    """Set what does not depend on the book's content."""
    config.templates_path.append(str(HERE / "_templates"))
    config.html_static_path.append(str(HERE.parent / "_static"))
    config.html_favicon = str(HERE.parent / "_static" / "favicon.svg")
    config.html_context.setdefault("default_mode", "auto")
    config.mathjax_path = MATHJAX
    options = config.html_theme_options
    options["article_header_end"] = ["language-switch.html", "article-header-buttons.html"]
    if not options.get("repository_url"):
        options.pop("launch_buttons", None)  # nowhere to launch from
    own = (p for f in (HERE, HERE.parent / "_static") for p in sorted(f.rglob("*")) if p.is_file())
    files = b"".join(p.read_bytes() for p in own if p.suffix != ".pyc")
    config.lnbook_digest = hashlib.sha256(files).hexdigest()  # a change rebuilds all pages
    if config.language == "de":
        translators["general", "sphinx"].add_fallback(German())


def drop_thebe(app: Sphinx, config: Config) -> None:
    """Silence an extension of Jupyter Book that would load scripts from another host."""
    for listeners in app.events.listeners.values():
        for listener in list(listeners):
            if listener.handler.__module__ == "sphinx_thebe":
                app.disconnect(listener.id)
    styles = app.registry.css_files
    styles[:] = [style for style in styles if style[0] != "sphinx-thebe.css"]


def copy_mathjax(app: Sphinx, error: Exception | None) -> None:
    """Ship MathJax with the site."""
    spec = importlib.util.find_spec("sphinx-mathjax-offline")
    if error is None and spec and spec.origin:
        script = Path(spec.origin).parent / "static" / "mathjax" / MATHJAX
        copy_asset_file(str(script), str(app.outdir / "_static"))


def link_twin(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Offer the same page in the other language."""
    language = app.config.language
    code, name, hint = TWINS[language]
    up = "../" * (page.count("/") + 1)
    target = page if doctree is not None else "index"
    context["twin"] = None
    if app.config.lnbook_twin:
        context["twin"] = {
            "url": f"{up}{code}/{target}.html",
            "code": code,
            "name": name,
            "hint": hint,
        }
        if doctree is not None:
            links = [(language, f"{up}{language}/{page}.html"), (code, context["twin"]["url"])]
            context["metatags"] += "".join(
                f'<link rel="alternate" hreflang="{c}" href="{escape(u)}">\n' for c, u in links
            )


def anchor_claims(app: Sphinx, doctree: nodes.document) -> None:
    """Give the first cell of a page that shows a claim the claim's id, so it can be linked."""
    labels = app.env.get_domain("std").labels
    for cell in doctree.findall(nodes.container):
        for tag, claim in (m.groups() for c in cell["classes"] if (m := CLAIM.fullmatch(c))):
            if tag not in doctree.ids:
                doctree.ids[tag] = cell
                cell["ids"].append(tag)
                labels[tag.lower()] = (app.env.docname, tag, claim)


def distinguish_bodies(app: Sphinx, doctree: nodes.document) -> None:
    """Replace the id that sphinx-exercise and sphinx-proof give to the body of every box."""
    for section in doctree.findall(nodes.section):
        if REPEATED_IDS.intersection(section["ids"]) and section.parent["ids"]:
            section["ids"] = [f"{section.parent['ids'][0]}-content"]


def finish_pages(app: Sphinx, error: Exception | None) -> None:
    """Correct what the theme and the extensions write: names, roles, image sizes, description."""
    for path in sorted(app.outdir.glob("*.html")) if error is None else []:
        page = BeautifulSoup(path.read_text(), "html.parser")
        for tag in page.select("summary[aria-label], .search-button-field"):
            del tag["aria-label"]  # it hides the text that is there
        for tag in page.select("nav li > a + details > summary"):
            tag["aria-label"] = tag.parent.find_previous_sibling("a").get_text()
        for tag in page.select(".bd-sidebar-primary"):
            tag.attrs |= {"role": "complementary", "aria-label": app.config.project}
        for tag in page.select(".citation-list > .citation"):
            tag["role"] = "listitem"
        for tag in page.select(".cell_output:has(img)"):
            tag["tabindex"] = "0"  # a wide figure scrolls in its box
        for tag in page.select(".cell_output img"):
            tag["loading"] = "lazy"
            svg = (path.parent / unquote(tag["src"])).read_text()
            points = VIEW_BOX.search(svg).groups()
            tag["width"], tag["height"] = (round(float(size) * 4 / 3) for size in points)
        first = page.select_one(".bd-article p")
        if first and not page.select_one("meta[name=description]"):
            text = " ".join(first.get_text().split())
            page.head.append(page.new_tag("meta", attrs={"name": "description", "content": text}))
        path.write_text(str(page))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.add_config_value("lnbook_twin", False, "html", bool)
    app.add_config_value("lnbook_digest", "", "env", str)
    app.connect("config-inited", configure)
    app.connect("config-inited", drop_thebe)
    app.connect("doctree-read", anchor_claims)
    app.connect("doctree-read", distinguish_bodies)
    app.connect("html-page-context", link_twin)
    app.connect("build-finished", copy_mathjax)
    app.connect("build-finished", finish_pages)
    app.add_css_file("custom.css")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
