"""What the pages of an edition load: one style sheet with what is used, fonts of few glyphs."""

import json
import re
import shutil
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from bs4 import BeautifulSoup
from fontTools.subset import Options, Subsetter, load_font, save_font
from fontTools.ttLib import TTFont

from book.tools.scripts import run
from book.tools.soup import first, value

HERE = Path(__file__).resolve().parent
STYLES = "link[rel=stylesheet]"
ITALICS = [*range(0x1D434, 0x1D468), *range(0x1D6E2, 0x1D71C), ord("ℎ")]  # Latin and Greek
ICON = re.compile(r'content:\s*"\\(f[0-9a-f]{3})"')
TEXT = "source-serif-4-latin-400-normal.woff2"  # what it lacks, as →, comes of the formulas' font
FACES = re.compile(r"@font-face\{[^}]*font-display:optional[^}]*\}")
# Fonts that are there before the first line is drawn do not move it. From disk none can be asked
# for early, and one that may stay away does: there scripts load them, and the text waits a moment.
EARLY = """if (location.protocol === "file:") {{
  const sheet = new CSSStyleSheet();
  sheet.replaceSync({faces});
  document.adoptedStyleSheets.push(sheet);
  for (const font of document.fonts) font.load();
}} else for (const name of {names})
  document.head.append(Object.assign(document.createElement("link"), {{
    rel: "preload", as: "font", type: "font/woff2", crossOrigin: "", href: "_static/fonts/" + name
  }}));"""
DRAWINGS = "drawings-*.js"  # which write letters, too
INVENTORY = "objects.inv"  # for other books, which link to this one


def install(folder: Path, pages: dict[str, BeautifulSoup]) -> None:
    """Bundle an edition's styles, let its pages load the bundle, and thin its fonts.

    Args:
        folder: the edition's folder.
        pages: its pages, by file name.
    """
    styles = [urlsplit(value(tag, "href")).path for tag in pages["index.html"].select(STYLES)]
    style = bundle_styles(folder / "_static", styles)
    fonts = folder / "_static" / "fonts"
    names = sorted(path.name for path in fonts.glob("source-*.woff2"))
    faces = json.dumps(faces_from_disk(style, "_static/fonts"))
    early = EARLY.format(faces=faces, names=json.dumps(names))
    for page in pages.values():
        for tag in page.select(STYLES):
            tag.decompose()
        link = {"rel": "stylesheet", "href": f"_static/{style.name}"}
        first(page, "meta[charset]").insert_after(page.new_tag("script", string=early))
        first(page, "head").append(page.new_tag("link", attrs=link))
    shown = [page.get_text() for page in pages.values()]
    shown += [path.read_text(encoding="utf-8") for path in (folder / "_static").glob(DRAWINGS)]
    with TTFont(fonts / TEXT) as text:
        others = {*map(ord, "".join(shown))} - text.getBestCmap().keys()
    keep_glyphs(fonts / "STIXTwoMath.woff2", formula_glyphs(pages.values()) | others)
    icons = ICON.findall(style.read_text(encoding="utf-8"))
    keep_glyphs(fonts / "fa-solid-900.woff2", {int(code, 16) for code in icons})


def faces_from_disk(style: Path, fonts: str) -> str:
    """Return the rules of a style sheet for fonts that may come late, as they are from disk.

    Args:
        style: the style sheet.
        fonts: the address of the folder with its fonts, from where the rules are read.
    """
    faces = "".join(FACES.findall(style.read_text(encoding="utf-8")))
    return faces.replace(":optional", ":block").replace("./fonts/", f"{fonts}/")


def bundle_styles(static: Path, styles: list[str]) -> Path:
    """Replace style sheets by one; return it."""
    names = (style.removeprefix("_static/") for style in styles)
    bundle = static / run(HERE / "styles.mjs", str(static), *names)
    for path in static.rglob("*.css"):
        if path != bundle:
            path.unlink()
    for font in static.glob("*.woff2"):
        font.unlink()
    shutil.rmtree(static / "vendor")
    return bundle


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
