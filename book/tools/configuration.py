"""The configuration of the book and of each edition, read from the one at the top."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from book import ROOT
from book.tools.languages import FIRST, LANGUAGES
from book.tools.search import REPLACED

BUILD = ROOT / "_build"
SITE = BUILD / "site"
PDF = "layer-normalization-{}.pdf"  # of an edition; beside the editions where the site is published
SLIDES = "layer-normalization-slides-{}.pdf"  # likewise
ARCHIVE = "layer-normalization.zip"  # of the site; likewise
UNUSED = shutil.ignore_patterns(  # of what Sphinx writes
    ".*",
    "*.map",
    "fontawesome.js*",
    "*webpack-macros.html",
    "locales",
    "jupyter_execute",
    *REPLACED,
)


def published(repository: str) -> str:
    """Return the address, with a final slash, at which GitHub serves a repository's pages.

    >>> published("https://github.com/Ada/book")
    'https://ada.github.io/book/'
    """
    if not repository:
        return ""
    owner, name = urlsplit(repository).path.strip("/").removesuffix(".git").split("/")
    host = f"{owner.lower()}.github.io"
    return f"https://{host}/" if name.lower() == host else f"https://{host}/{name}/"


def merged(settings: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return settings with changes, at any depth.

    >>> merged({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}})
    {'a': {'b': 1, 'c': 3}}
    """
    return settings | {
        key: merged(settings[key], value)
        if isinstance(value, dict) and isinstance(settings.get(key), dict)
        else value
        for key, value in changes.items()
    }


def configuration(edition: str, url: str | None = None, root: Path = ROOT) -> dict[str, Any]:
    """Return one edition's Jupyter Book configuration.

    Args:
        edition: a key of `LANGUAGES`.
        url: the repository's address, if another one than in `_config.yml`.
        root: the folder of `_config.yml`.
    """
    config: dict[str, Any] = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    repository = config["repository"]["url"] if url is None else url
    catalogs = config["sphinx"]["config"]["locale_dirs"]
    options: dict[str, Any] = {
        "editions": [*LANGUAGES],
        "locale_dirs": [str(root / path) for path in catalogs],
    }
    extensions = config["sphinx"]["extra_extensions"]
    if address := published(repository):
        extensions = [*extensions, "sphinxext.opengraph"]
        options |= {
            "editions_pdf": f"{address}{PDF.format(edition)}",
            "editions_slides": f"{address}{SLIDES.format(edition)}",
            "editions_archive": f"{address}{ARCHIVE}",
            "html_baseurl": f"{address}{edition}/",
            "ogp_site_url": f"{address}{edition}/",
            "ogp_site_name": config["title"],
            "ogp_enable_meta_description": False,  # with TeX; pages.py describes them
        }
    changes = {
        "bibtex_bibfiles": [str(root / path) for path in config["bibtex_bibfiles"]],
        "repository": {  # where the buttons find notebooks: .github/workflows/deploy.yml
            "url": repository,
            "branch": "notebooks",
            "path_to_book": f"notebooks/{edition}",
        },
        "sphinx": {"extra_extensions": extensions, "config": options},
    }
    return merged(merged(config, LANGUAGES[edition]["settings"]), changes)


def table_of_contents(root: Path = ROOT) -> str:
    """Return the text of `_toc.yml` with paths from an edition's folder."""
    return (root / "_toc.yml").read_text(encoding="utf-8").replace(f"book/{FIRST}/", "")


def contents(root: Path = ROOT) -> list[str]:
    """Return the file stems of all pages, in reading order."""
    toc = yaml.safe_load(table_of_contents(root))

    def walk(node: dict[str, Any]) -> Iterator[str]:
        if "file" in node:
            yield node["file"]
        for group in ("parts", "chapters", "sections"):
            for child in node.get(group, []):
                yield from walk(child)

    return [toc["root"], *walk(toc)]
