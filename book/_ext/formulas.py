"""Formulas as MathML, rendered while the book is built: no script, readable by screen readers.

Lone letters of the notation, which the sources write as they are (γ, ε), are set like those in
formulas, punctuation stays on a formula's line, and numbers have a minus sign.
"""

import json
import re
from html import escape
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.locale import _
from sphinx.util.math import get_node_equation_number
from sphinx.util.osutil import copyfile
from sphinx.writers.html5 import HTML5Translator

from book import ROOT
from book.tools.scripts import run

HERE = Path(__file__).resolve().parent
PACKAGES = ROOT / "node_modules"
FONT = PACKAGES / "@fontsource/stix-two-math/files/stix-two-math-latin-400-normal.woff2"
STYLE = PACKAGES / "temml/dist/Temml-STIX2.css"
KINDS = (nodes.math, nodes.math_block)
SYMBOL = re.compile(r"(\bd(?=[α-ω])|[α-ωℓ](?![A-Za-z]))")  # dγ; but not the unit μs
NOT_PROSE = (nodes.FixedTextElement, nodes.literal, nodes.math, nodes.citation)
HYPHEN = re.compile(r"(?<![\w.])-(?=\.?\d)")  # that Python writes before a number
OPENING = re.compile(r"[^\s\w]*$")
CLOSING = re.compile(r"[^\s\w]+|\w*")
MATHML: dict[tuple[str, bool], str] = {}  # of each formula, once all pages are read


def formula(tag: nodes.Element) -> tuple[str, bool]:
    """Return a formula's TeX and whether it is a block."""
    return tag.astext(), isinstance(tag, nodes.math_block)


def render(formulas: list[tuple[str, bool]]) -> dict[tuple[str, bool], str]:
    """Return the MathML of formulas."""
    text = run(HERE / "formulas.mjs", text=json.dumps(formulas))
    return dict(zip(formulas, json.loads(text), strict=True))


def render_all(app: Sphinx, env: BuildEnvironment) -> None:
    """Render all formulas of the book at once."""
    pages = [env.get_doctree(page) for page in sorted(env.found_docs)]
    tags = [tag for page in pages for kind in KINDS for tag in page.findall(kind)]
    MATHML.update(render(list(dict.fromkeys(map(formula, tags)))))


def opening(self: HTML5Translator, tag: nodes.Element, name: str) -> str:
    """Return the tag that begins a formula, with its TeX for who copies it."""
    return str(self.starttag(tag, name, "", CLASS="math", **{"data-tex": tag.astext().strip()}))


def visit_inline(self: HTML5Translator, tag: nodes.math) -> None:
    """Write an inline formula."""
    self.body.append(opening(self, tag, "span") + MATHML[formula(tag)] + "</span>")
    raise nodes.SkipNode


def visit_block(self: HTML5Translator, tag: nodes.math_block) -> None:
    """Write a formula of its own line, with its number if it has one."""
    self.body.append(opening(self, tag, "div"))
    if tag["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, tag)})')
        self.add_permalink_ref(tag, _("Link to this equation"))
        self.body.append("</span>")
    self.body.append(MATHML[formula(tag)] + "</div>\n")
    raise nodes.SkipNode


def mark_headings(app: Sphinx, doctree: nodes.document) -> None:
    """Mark lone letters in headings, before the contents are made of them."""
    for title in doctree.findall(nodes.title):
        _mark_symbols(title)


def mark_text(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Mark all other lone letters, once terms are linked and references have their text."""
    _mark_symbols(doctree)


def _mark_symbols(scope: nodes.Element) -> None:
    for text in [*scope.findall(nodes.Text)]:
        pieces = SYMBOL.split(text)
        if len(pieces) > 1 and _is_prose(text):
            marked = [nodes.Text(piece) for piece in pieces]
            marked[1::2] = [nodes.inline("", s, classes=["symbol"]) for s in pieces[1::2]]
            text.parent.replace(text, marked)


def with_symbols(text: str) -> str:
    """Return a text as HTML, its lone letters marked as they are on the pages.

    >>> with_symbols("λ > 1")
    '<span class="symbol">λ</span> &gt; 1'
    """
    return SYMBOL.sub(r'<span class="symbol">\1</span>', escape(text))


def _is_prose(node: nodes.Node) -> bool:
    above = node.parent
    while above and not isinstance(above, NOT_PROSE) and "symbol" not in above.get("classes", ()):
        above = above.parent
    return above is None


def set_numbers(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Write a minus before numbers, also in what a cell returns, and keep ± beside its error."""
    for text in [*doctree.findall(nodes.Text)]:
        number = HYPHEN.sub("−", text).replace("± ", "±\N{NO-BREAK SPACE}")
        if number != text and _is_prose(text):
            text.parent.replace(text, nodes.Text(number))


def keep_together(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Let no line break part a formula from the punctuation that touches it."""
    for whole in [*doctree.findall(nodes.math)]:
        while isinstance(whole.parent, nodes.Inline) and len(whole.parent) == 1:
            whole = whole.parent
        parent, at = whole.parent, whole.parent.index(whole)
        opening = closing = ""
        if at and isinstance(before := parent[at - 1], nodes.Text):
            opening = OPENING.findall(before)[0]
            parent[at - 1] = nodes.Text(before.removesuffix(opening))
        if at + 1 < len(parent) and isinstance(after := parent[at + 1], nodes.Text):
            closing = CLOSING.findall(after)[0]
            parent[at + 1] = nodes.Text(after.removeprefix(closing))
        if opening or closing:
            inside = [nodes.Text(opening), whole, nodes.Text(closing)]
            parent[at] = nodes.inline("", "", *inside, classes=["together"])


def copy_style(app: Sphinx, error: Exception | None) -> None:
    """Ship the style of the formulas, and the font that it names."""
    if error is None and app.builder.format == "html":
        static = Path(app.outdir) / "_static"
        copyfile(STYLE, static / STYLE.name)
        copyfile(FONT, static / "STIXTwoMath.woff2")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    app.connect("doctree-read", mark_headings, priority=100)
    app.connect("env-updated", render_all)
    app.connect("doctree-resolved", mark_text, priority=900)
    app.connect("doctree-resolved", set_numbers)
    app.connect("doctree-resolved", keep_together, priority=900)
    app.connect("build-finished", copy_style)
    app.add_css_file(STYLE.name)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
