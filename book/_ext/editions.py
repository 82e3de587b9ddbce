"""Sphinx extension: the same page in other languages, the book's style and scripts."""

import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util.typing import ExtensionMetadata

from book import BOOK, ROOT
from book.tools.drawings import RECORDINGS
from book.tools.languages import LANGUAGES, PATH

HERE = Path(__file__).resolve().parent
STATIC = BOOK / "_static"
DRAWINGS = BOOK / "drawings"
FONTS = {  # of the text: letters with serifs for what one reads, without for what one looks at
    "source-serif-4": ("400-normal", "400-italic", "600-normal"),
    "source-sans-3": ("400-normal", "600-normal"),
}
REPEATED_IDS = {"exercise-content", "solution-content", "proof-content"}


def configure(app: Sphinx, config: Config) -> None:
    """Set what does not depend on the book's content."""
    config.templates_path.append(str(HERE / "_templates"))
    config.html_static_path += [str(STATIC), *map(str, fonts())]
    config.html_favicon = str(STATIC / "favicon.svg")
    config.html_context.setdefault("default_mode", "auto")
    config.html_math_renderer = "mathml"
    options = config.html_theme_options
    options["article_header_end"] = ["language-switch.html", "article-header-buttons.html"]
    if not options.get("repository_url"):
        options.pop("launch_buttons", None)  # nowhere to launch from
    config.editions_digest = digest()
    words = LANGUAGES[config.language]
    for script, part in (("page.js", "page"), ("progress.js", "progress")):
        attributes: dict[str, Any] = {"data-words": json.dumps(words[part], ensure_ascii=False)}
        app.add_js_file(script, **attributes)


def fonts() -> list[Path]:
    """Return the files of the fonts."""
    folder = ROOT / "node_modules" / "@fontsource"
    return [
        folder / family / "files" / f"{family}-latin-{cut}.woff2"
        for family, cuts in FONTS.items()
        for cut in cuts
    ]


def digest() -> str:
    """Return a digest of what all pages are made with: a change rebuilds them."""
    files = [PATH, *(BOOK / "tools" / f"{name}.py" for name in ("claims", "drawings", "terms"))]
    made = [*HERE.rglob("*"), *STATIC.rglob("*"), *DRAWINGS.rglob("*"), *RECORDINGS.glob("*.json")]
    files += [path for path in sorted(made) if path.is_file()]
    files += sorted(BOOK.glob("locale/*/LC_MESSAGES/*.po"))
    texts = (p.read_bytes() for p in files if p.suffix != ".pyc")
    return hashlib.sha256(b"".join(texts)).hexdigest()


def link_editions(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Offer the same page in the other languages, to search engines as well."""
    up = "../" * (page.count("/") + 1)
    target = page if page in app.env.found_docs else "index"
    context["other_editions"] = [
        {"code": code, "url": f"{up}{code}/{target}.html", "words": LANGUAGES[code]}
        for code in app.config.editions
        if code != app.config.language
    ]
    if (address := app.config.html_baseurl) and page != "search":
        links = []
        for code in app.config.editions:
            url = urljoin(address, f"../{code}/{page}.html")
            links.append(f'<link rel="alternate" hreflang="{code}" href="{url}" />')
        context["metatags"] = context.get("metatags", "") + "\n".join(links)


def name_symbols(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Head the Greek letters of the index by the small letter: the large ones look Latin."""
    if entries := context.get("genindexentries"):
        context["genindexentries"] = [(k if k.isascii() else k.lower(), e) for k, e in entries]


def distinguish_bodies(app: Sphinx, doctree: nodes.document) -> None:
    """Give the body of every box an id of its own.

    sphinx-exercise (1.2.1) and sphinx-proof (0.4.0) write the same one, `exercise-content`,
    `solution-content` or `proof-content`, on all of them; an id has to be unique on its page.
    """
    for section in doctree.findall(nodes.section):
        if REPEATED_IDS.intersection(section["ids"]) and section.parent["ids"]:
            section["ids"] = [f"{section.parent['ids'][0]}-content"]


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the extension."""
    app.add_config_value("editions", [], "html", list)  # that are built side by side
    app.add_config_value("editions_digest", "", "env", str)
    app.connect("config-inited", configure)
    app.connect("doctree-read", distinguish_bodies)
    app.connect("html-page-context", link_editions)
    app.connect("html-page-context", name_symbols)
    app.add_css_file("custom.css")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
