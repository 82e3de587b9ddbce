"""One seed for what draws without a generator of its own; the site, built once for all tests."""

import pytest
import torch
from bs4 import BeautifulSoup
from filelock import FileLock

from book import BOOK, ROOT
from book.tools.build import build
from book.tools.configuration import BUILD, SITE
from book.tools.languages import LANGUAGES


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def outdated(site):
    """Say whether a page of the book, or what makes the site of it, is newer than the site."""
    sources = [ROOT / "_config.yml", ROOT / "_toc.yml"]
    sources += [p for p in BOOK.rglob("*") if p.is_file() and p.suffix not in {".mo", ".pyc"}]
    made = site / "index.html"  # written last
    sources += (ROOT / "lnlib").rglob("*.py")  # the reference shows them
    newest = max(path.stat().st_mtime for path in sources)
    return not made.exists() or made.stat().st_mtime < newest


@pytest.fixture(scope="session")
def site():
    """Both editions as `make book` builds them; built here if it has not."""
    BUILD.mkdir(exist_ok=True)
    with FileLock(BUILD / ".lock"):
        if outdated(SITE):
            build(list(LANGUAGES))
    return SITE


@pytest.fixture(scope="session")
def html(site):
    """All pages by their paths, to be read, the notation's lone letters as part of the text."""
    found = (p for p in site.rglob("*.html") if "_static" not in p.parts)
    pages = {p: BeautifulSoup(p.read_text(encoding="utf-8"), "html.parser") for p in found}
    for page in pages.values():
        for letter in page.select(".symbol"):
            letter.unwrap()
        page.smooth()
    return pages
