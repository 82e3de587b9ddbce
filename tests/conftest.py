"""The site, built once for all tests."""

import pytest
from filelock import FileLock

from book.tools import build


def outdated(site):
    """Say whether a page of the book, or what makes the site of it, is newer than the site."""
    sources = [build.ROOT / "_config.yml", build.ROOT / "_toc.yml"]
    sources += [p for p in (build.ROOT / "book").rglob("*") if p.is_file() and p.suffix != ".pyc"]
    made = site / "index.html"  # written last
    newest = max(path.stat().st_mtime for path in sources)
    return not made.exists() or made.stat().st_mtime < newest


@pytest.fixture(scope="session")
def site():
    """Both editions as `make book` builds them; built here if it has not."""
    build.BUILD.mkdir(exist_ok=True)
    with FileLock(build.BUILD / ".lock"):
        if outdated(build.SITE):
            build.build(list(build.TRANSLATIONS))
    return build.SITE
