"""Twins, the same page in two languages, say the same.

Each comparison yields complaints, none if all is well.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import nbformat

from book.tools.claims import quotations
from book.tools.notebooks import parse
from book.tools.reading import (
    WORD,
    alt_text,
    caption,
    citations,
    heading_levels,
    image_count,
    prose,
    text_outputs,
)

NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
LABEL = re.compile(r"^\(([\w-]+)\)=$|^:(?:label|name): *(\S+)$", re.MULTILINE)
REFERENCE = re.compile(r"\]\(#([\w-]+)\)|\{(?:ref|numref|eq|prf:ref)\}`(?:[^`<]*<)?([\w-]+)>?`")
DISPLAY_MATH = re.compile(r"^ *\$\$", re.MULTILINE)
DIRECTIVE = re.compile(r"^:::+\{([\w:-]+)\}", re.MULTILINE)


class _Normalize(ast.NodeTransformer):
    """Take the strings out of code; of f-strings keep the placeholders, of magics everything."""

    def __init__(self) -> None:
        self.strings: list[str] = []
        self.templates: list[str] = []

    def visit_Call(self, node: ast.Call) -> ast.AST:
        magic = isinstance(node.func, ast.Attribute) and node.func.attr == "run_line_magic"
        return node if magic else self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, str):
            self.strings.append(node.value)
            return ast.Constant("")
        return node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        placeholders = [v for v in node.values if isinstance(v, ast.FormattedValue)]
        text = [v.value for v in node.values if isinstance(v, ast.Constant)]
        self.templates.append("\0".join(map(str, text)))
        for placeholder in placeholders:
            placeholder.value = self.visit(placeholder.value)
        return ast.JoinedStr(sorted(placeholders, key=ast.dump))


def numbers(text: str) -> Counter[str]:
    """Count the numbers in a text, with a decimal point or comma."""
    return Counter(n.replace(",", ".") for n in NUMBER.findall(text))


def code_differences(code: str, twin: str) -> Iterator[str]:
    """Compare code up to comments, layout and human-readable strings.

    A string may differ if it holds a word and no arrow (as in `"ij,jk->ik"`), an f-string's text
    always; the numbers in it stay the same.
    """
    a, b = _Normalize(), _Normalize()
    if ast.dump(a.visit(parse(code))) != ast.dump(b.visit(parse(twin))):
        yield "the code differs in more than comments and strings"
        return
    for x, y in zip(a.strings, b.strings, strict=True):
        if x != y and ("->" in x + y or not (WORD.search(x) and WORD.search(y))):
            yield f"the string {x!r} became {y!r}"
    for x, y in zip(a.strings + a.templates, b.strings + b.templates, strict=True):
        if numbers(x) != numbers(y):
            yield f"the numbers in the string {x!r} differ from those in {y!r}"


def common_marks(text: str) -> dict[str, list[Any]]:
    """Return what twin Markdown texts have in common."""
    return {
        "labels": ["".join(m) for m in LABEL.findall(text)],
        "citations": sorted(citations(text)),
        "references": sorted("".join(m) for m in REFERENCE.findall(text)),
        "heading levels": heading_levels(text),
        "displayed formulas": [len(DISPLAY_MATH.findall(prose(text)))],
        "directives": DIRECTIVE.findall(text),
        "claims": [number for number, *_ in quotations(text)],
        "index entries": [text.count("{index}`")],
    }


def markdown_differences(text: str, twin: str) -> Iterator[str]:
    """Compare labels, citations, references, headings, formulas and claims of two texts."""
    other = common_marks(twin)
    for name, marks in common_marks(text).items():
        if marks != other[name]:
            yield f"{name}: {marks} here, {other[name]} there"


def output_differences(cell: nbformat.NotebookNode, twin: nbformat.NotebookNode) -> Iterator[str]:
    """Compare the figures and the numbers that two code cells show."""
    if image_count(cell) != image_count(twin):
        yield "the numbers of images differ"
    if bool(alt_text(cell)) != bool(alt_text(twin)):
        yield "alt text in one edition only"
    if caption(cell)[0] != caption(twin)[0]:
        yield "the names of the figure differ"
    if "nbval-ignore-output" not in cell.metadata.get("tags", []) and (
        numbers(text_outputs(cell)) != numbers(text_outputs(twin))
    ):
        yield "the text outputs hold different numbers"


def cell_differences(cell: nbformat.NotebookNode, twin: nbformat.NotebookNode) -> Iterator[str]:
    """Compare two cells."""
    if cell.cell_type != twin.cell_type:
        yield f"{cell.cell_type} here, {twin.cell_type} there"
    elif cell.cell_type == "code":
        yield from code_differences(cell.source, twin.source)
        yield from output_differences(cell, twin)
    else:
        yield from markdown_differences(cell.source, twin.source)
    if cell.metadata.get("tags", []) != twin.metadata.get("tags", []):
        yield "the tags differ"


def differences(page: nbformat.NotebookNode, twin: nbformat.NotebookNode) -> list[str]:
    """Compare a page with the same page in another language."""
    ids, others = ([cell["id"] for cell in notebook.cells] for notebook in (page, twin))
    if ids != others:
        return [f"cell ids differ: {ids} here, {others} there"]
    pairs = zip(page.cells, twin.cells, strict=True)
    return [f"{cell['id']}: {d}" for cell, other in pairs for d in cell_differences(cell, other)]


def reader_strings(page: nbformat.NotebookNode, twin: nbformat.NotebookNode) -> Iterator[str]:
    """Yield the strings in a page's code that are for readers: those that its twin translates."""
    for cell, other in zip(page.cells, twin.cells, strict=True):
        if cell.cell_type == "code":
            found, translated = _Normalize(), _Normalize()
            found.visit(parse(cell.source))
            translated.visit(parse(other.source))
            for kind in ("strings", "templates"):
                pairs = zip(getattr(found, kind), getattr(translated, kind), strict=True)
                yield from (
                    text.replace("\0", " ") for text, twin_text in pairs if text != twin_text
                )
