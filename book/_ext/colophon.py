"""Sphinx extension: at the foot of a page its state, its source, and where to report a mistake."""

import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util.typing import ExtensionMetadata

from book import ROOT
from book.tools.languages import LANGUAGES

PIN = re.compile(r"^(torch|numpy)==(\S+)", re.MULTILINE)


@cache
def changes(folder: Path) -> dict[str, tuple[str, str]]:
    """Return the last commit of each file in a folder, and its day; nothing without Git."""
    command = ["git", "log", "--format=%x00%h %cs", "--name-only", "--", "."]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return {}
    found: dict[str, tuple[str, str]] = {}
    for entry in done.stdout.split("\0")[1:]:
        head, _, names = entry.partition("\n")
        commit, day = head.split()
        for name in names.split():
            found.setdefault(Path(name).name, (commit, day))
    return found


def tell(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Hand what the template says to it."""
    if not doctree:
        return
    words = LANGUAGES[app.config.language]["colophon"]
    path = Path(app.env.doc2path(page))
    options = app.config.html_theme_options
    repository = options.get("repository_url")
    said = []
    if path.name in (known := changes(path.parent)):
        commit, day = known[path.name]
        said.append(words["state"].format(day=day, commit=commit))
    if path.suffix == ".ipynb":
        versions = dict(PIN.findall((ROOT / "requirements.txt").read_text(encoding="utf-8")))
        said.append(words["versions"].format(**versions))
    source = context["pathto"](f"_sources/{context['sourcename']}", resource=True)
    links = [(words["source"], source)]
    if repository:
        links = [
            (words["source"], f"{repository}/blob/HEAD/book/{path.parent.name}/{path.name}"),
            (words["mistake"], f"{repository}/issues/new?title={quote(f'{page}: ')}"),
        ]
    context["colophon"] = {"said": said, "links": links}


def configure(app: Sphinx, config: Config) -> None:
    """Put it below the text."""
    config.html_theme_options.setdefault("article_footer_items", []).append("colophon.html")


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the extension."""
    app.connect("config-inited", configure)
    app.connect("html-page-context", tell)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
