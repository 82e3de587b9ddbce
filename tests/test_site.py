"""The built site: complete, self-contained, without dead links, in two languages."""

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

import build
import checks
import notebooks

EDITIONS = tuple(build.TRANSLATIONS)
EXAMPLE = "https://github.com/example/layer-normalization"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Both editions, built with warnings as errors and every reference known."""
    folder = tmp_path_factory.mktemp("book")
    build.build(list(EDITIONS), strict=True, build_dir=folder)
    return folder / "site"


@pytest.fixture(scope="module")
def html(site):
    found = (p for p in site.rglob("*.html") if "_static" not in p.parts)
    return {p: BeautifulSoup(p.read_text(encoding="utf-8"), "html.parser") for p in found}


@pytest.mark.parametrize("edition", EDITIONS)
def test_every_page_of_the_contents_is_built(site, edition):
    for page in checks.contents():
        assert (site / edition / f"{page}.html").is_file()


def test_no_page_asks_another_host_for_anything(html):
    loads = {"script": "src", "img": "src", "iframe": "src", "source": "src", "object": "data"}
    for path, page in html.items():
        asked = [tag.get(key) for name, key in loads.items() for tag in page.find_all(name)]
        asked += [
            link["href"]
            for link in page.find_all("link")
            if set(link.get("rel", [])) & {"stylesheet", "preload", "icon", "preconnect"}
        ]
        assert [u for u in asked if u and urlsplit(u).netloc] == [], path


def test_style_sheets_load_nothing_from_elsewhere(site):
    remote = re.compile(r"""(?:@import\s+|url\()\s*["']?(?:https?:)?//""")
    for path in site.rglob("*.css"):
        assert not remote.search(path.read_text(encoding="utf-8")), path


def test_internal_links_and_anchors_resolve(html, site):
    anchors = {p: {t["id"] for t in page.find_all(id=True)} for p, page in html.items()}
    dead = []
    for path, page in html.items():
        for tag in page.find_all(href=True):
            url = urlsplit(tag["href"])
            if url.scheme or url.netloc:
                continue
            target = Path(os.path.normpath(path.parent / unquote(url.path))) if url.path else path
            if not target.is_file():
                dead.append(f"{path.relative_to(site)}: {tag['href']}")
            elif url.fragment and target in anchors:
                if unquote(url.fragment) not in anchors[target]:
                    dead.append(f"{path.relative_to(site)}: {tag['href']}")
        for tag in page.find_all(src=True):
            url = urlsplit(tag["src"])
            if not url.scheme and not (path.parent / unquote(url.path)).is_file():
                dead.append(f"{path.relative_to(site)}: {tag['src']}")
    assert dead == []


def test_ids_are_unique(html):
    for path, page in html.items():
        article = page.find("article")
        ids = [tag["id"] for tag in article.find_all(id=True)] if article else []
        assert len(ids) == len(set(ids)), path


@pytest.mark.parametrize("edition", EDITIONS)
def test_every_page_leads_to_its_twin(html, site, edition):
    (other,) = set(EDITIONS) - {edition}
    for name in checks.contents():
        page = html[site / edition / f"{name}.html"]
        (switch,) = page.select("a.language-switch")
        assert switch["href"] == f"../{other}/{name}.html"
        assert switch["hreflang"] == other
        alternates = {a["hreflang"]: a["href"] for a in page.select("link[rel=alternate]")}
        assert alternates == {e: f"../{e}/{name}.html" for e in EDITIONS}
        assert page.html["lang"] == edition


def test_the_entrance_leads_to_both_editions_without_scripts(html, site):
    links = {a["href"] for a in html[site / "index.html"].find_all("a")}
    assert links == {f"{e}/index.html" for e in EDITIONS}


@pytest.mark.parametrize("edition", EDITIONS)
def test_every_claim_has_an_anchor(html, site, edition):
    for path in notebooks.pages():
        if path.parent.name == edition:
            page = html[site / edition / f"{path.stem}.html"]
            for claim, _ in checks.claim_cells(notebooks.read(path)):
                assert page.find(id=f"claim-{claim}") is not None, (path, claim)


def test_every_figure_has_alt_text(html):
    for path, page in html.items():
        assert [i for i in page.select("article img") if not i.get("alt")] == [], path


def test_interface_speaks_german(html, site):
    page = html[site / "de" / "index.html"]
    assert page.find("input", {"name": "q"})["placeholder"] == "Im Buch suchen …"
    assert page.select_one(".headerlink")["title"] == "Link auf diesen Abschnitt"


def test_no_launch_button_without_an_address(html):
    if notebooks.address():
        pytest.skip("the book is published")
    assert not any("colab" in str(page) for page in html.values())


@pytest.mark.parametrize("edition", EDITIONS)
def test_launch_button_opens_the_very_notebook(tmp_path, edition):
    path = next(p for p in notebooks.pages() if p.parent.name == edition)
    arguments = build.prepare(edition, tmp_path, url=EXAMPLE)
    subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", *arguments, str(path)],
        check=True,
        env=build.sphinx_environment(),
    )
    page = (tmp_path / "site" / edition / f"{path.stem}.html").read_text(encoding="utf-8")
    buttons = BeautifulSoup(page, "html.parser").select("a[href*=colab]")
    assert {b["href"] for b in buttons} == {
        "https://colab.research.google.com/github/example/layer-normalization/blob/main/"
        f"book/{edition}/{path.name}"
    }


def test_plain_jupyter_book_builds_the_german_edition(tmp_path):
    command = "from jupyter_book.cli.main import main; main()"
    arguments = ["build", str(build.ROOT), "--path-output", str(tmp_path), "-W", "-n", "--quiet"]
    subprocess.run([sys.executable, "-c", command, *arguments], check=True)
    for page in checks.contents():
        assert (tmp_path / "_build" / "html" / "book" / "de" / f"{page}.html").is_file()
