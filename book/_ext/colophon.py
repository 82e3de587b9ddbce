"""Sphinx extension: at the foot of a page what it was made with, and where to report a mistake."""

import json
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
from book.tools import notebooks
from book.tools.languages import LANGUAGES

PIN = re.compile(r"^(torch|numpy)==(\S+)", re.MULTILINE)


def git(folder: Path, *command: str) -> str:
    """Return what Git says in a folder; nothing where it knows nothing."""
    try:
        done = subprocess.run(["git", *command], cwd=folder, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.decode()


@cache
def changes(folder: Path) -> dict[str, tuple[str, str]]:
    """Return the last commit of each file in a folder, and its day; nothing without Git."""
    found: dict[str, tuple[str, str]] = {}
    log = git(folder, "log", "--format=%x00%h %cs", "--name-only", "--", ".")
    for entry in log.split("\0")[1:]:
        head, _, names = entry.partition("\n")
        commit, day = head.split()
        for name in names.split():
            found.setdefault(Path(name).name, (commit, day))
    return found


def computed(path: Path) -> tuple[str, str] | None:
    """Return the commit that last changed the outputs of a notebook, and its day, if known."""
    found = None
    shown = notebooks.outputs(json.loads(path.read_text(encoding="utf-8")))
    for entry in git(path.parent, "log", "--format=%h %cs", "--", path.name).splitlines():
        commit, day = entry.split()
        then = git(path.parent, "show", f"{commit}:./{path.name}")
        if not then or notebooks.outputs(json.loads(then)) != shown:
            break
        found = commit, day
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
    kind = "source"
    if path.suffix == ".ipynb":
        kind = "notebook"  # without the marks of the source
        if execution := notebooks.read(path).metadata.get(notebooks.EXECUTION):
            said.append(words["executed"].format(**execution))
        else:
            if before := computed(path):
                commit, day = before
                said.append(words["computed"].format(day=day, commit=commit))
            versions = dict(PIN.findall((ROOT / "requirements.txt").read_text(encoding="utf-8")))
            said.append(words["versions"].format(**versions))
    given = context["pathto"](f"_sources/{context['sourcename']}", resource=True)
    links = [(words[kind], given)]
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
