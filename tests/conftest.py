"""One seed for what draws without a generator of its own; the site, built once for all tests."""

import pytest
import torch
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
