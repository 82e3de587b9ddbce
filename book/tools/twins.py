"""Checks on the book's pages: twin pages say the same, and every claim is shown by a cell.

Each function returns a list of complaints, empty if all is well.
"""

import ast
import re
from collections import Counter
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

import nbformat
import yaml
from IPython.core.inputtransformer2 import TransformerManager

from book import ROOT
from book._ext.claims import SECTIONS, VERDICTS

NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
WORD = re.compile(r"[^\W\d_]{2,}")
LABEL = re.compile(r"^\(([\w-]+)\)=$|^:(?:label|name): *(\S+)$", re.MULTILINE)
CITATION = re.compile(r"\{cite(?::\w+)?\}`([^`]+)`")
REFERENCE = re.compile(r"\]\(#([\w-]+)\)|\{(?:ref|numref|eq|prf:ref)\}`(?:[^`<]*<)?([\w-]+)>?`")
HEADING = re.compile(r"^(#+) ", re.MULTILINE)
FENCE = re.compile(r"^(?:```|~~~)[^\n]*\n.*?^(?:```|~~~) *$", re.MULTILINE | re.DOTALL)
DISPLAY_MATH = re.compile(r"^ *\$\$", re.MULTILINE)
CLAIM_TAG = re.compile(r"claim-([CM]\d+)")


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


def _parse(source: str) -> ast.Module:
    return ast.parse(TransformerManager().transform_cell(source))


def _numbers(text: str) -> Counter[str]:
    return Counter(n.replace(",", ".") for n in NUMBER.findall(text))


def text_outputs(cell: dict[str, Any]) -> str:
    """Return the text a code cell has printed or displayed, tables as Markdown."""

    def text(output: dict[str, Any]) -> str:
        data = output.get("data", {})
        return str(output.get("text") or data.get("text/markdown") or data.get("text/plain", ""))

    outputs = (o for o in cell["outputs"] if "image/svg+xml" not in o.get("data", {}))
    return "\n".join(map(text, outputs))


def code_differences(de: str, en: str) -> Iterator[str]:
    """Compare code up to comments, layout and human-readable strings.

    A string may differ if it holds a word and no arrow (as in `"ij,jk->ik"`), an f-string's text
    always; the numbers in it stay the same.
    """
    a, b = _Normalize(), _Normalize()
    if ast.dump(a.visit(_parse(de))) != ast.dump(b.visit(_parse(en))):
        yield "the code differs in more than comments and strings"
        return
    for x, y in zip(a.strings, b.strings, strict=True):
        if x != y and ("->" in x + y or not (WORD.search(x) and WORD.search(y))):
            yield f"the string {x!r} became {y!r}"
    for x, y in zip(a.strings + a.templates, b.strings + b.templates, strict=True):
        if _numbers(x) != _numbers(y):
            yield f"the numbers in the string {x!r} differ from those in {y!r}"


def heading_levels(text: str) -> list[int]:
    """Return the levels of a text's headings."""
    return [len(m) for m in HEADING.findall(FENCE.sub("", text))]


def citations(text: str) -> set[str]:
    """Return the keys that a text cites."""
    return {key.strip() for keys in CITATION.findall(text) for key in keys.split(",")}


def _marks(text: str) -> dict[str, list[Any]]:
    """Return what twin Markdown texts have in common."""
    prose = FENCE.sub("", text)
    return {
        "labels": ["".join(m) for m in LABEL.findall(text)],
        "citations": sorted(k for m in CITATION.findall(text) for k in re.split(r" *, *", m)),
        "references": sorted("".join(m) for m in REFERENCE.findall(text)),
        "heading levels": heading_levels(text),
        "displayed formulas": [len(DISPLAY_MATH.findall(prose))],
        "directives": re.findall(r"^:::+\{([\w:-]+)\}", text, re.MULTILINE),
        "claims": re.findall(r"^> \*\*([CM]\d+)\*\*", text, re.MULTILINE),
        "index entries": [text.count("{index}`")],
    }


def markdown_differences(de: str, en: str) -> Iterator[str]:
    """Compare labels, citations, references, headings, formulas and claims of two texts."""
    other = _marks(en)
    for name, marks in _marks(de).items():
        if marks != other[name]:
            yield f"{name}: {marks} in German, {other[name]} in English"


def reader_strings(page: nbformat.NotebookNode, twin: nbformat.NotebookNode) -> Iterator[str]:
    """Yield the strings in a page's code that are for readers: those that its twin translates."""
    for cell, other in zip(page.cells, twin.cells, strict=True):
        if cell.cell_type == "code":
            found, translated = _Normalize(), _Normalize()
            found.visit(_parse(cell.source))
            translated.visit(_parse(other.source))
            for kind in ("strings", "templates"):
                pairs = zip(getattr(found, kind), getattr(translated, kind), strict=True)
                yield from (
                    text.replace("\0", " ") for text, twin_text in pairs if text != twin_text
                )


def reading_minutes(page: nbformat.NotebookNode) -> int:
    """Return how long a page takes to read, to the nearest five minutes.

    150 words a minute, five seconds for a line of code that is shown, half a minute for a
    displayed formula or a figure.
    """
    text = "\n".join(c.source for c in page.cells if c.cell_type == "markdown")
    prose = FENCE.sub("", text)
    shown = (
        c.source
        for c in page.cells
        if c.cell_type == "code" and "hide-input" not in c.metadata.get("tags", [])
    )
    lines = sum(bool(line.strip()) for source in shown for line in source.splitlines())
    figures = sum(image_count(c) for c in page.cells)
    pauses = prose.count("$$") / 2 + figures
    minutes = len(WORD.findall(prose)) / 150 + lines / 12 + pauses / 2
    return max(5, 5 * round(minutes / 5))


def image_count(cell: dict[str, Any]) -> int:
    """Return the number of images among a cell's outputs."""
    return sum(
        any(t.startswith("image/") for t in o.get("data", {})) for o in cell.get("outputs", [])
    )


def alt_text(cell: dict[str, Any]) -> str:
    """Return the alt text given to a cell's images."""
    return str(cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", ""))


def parity(de: nbformat.NotebookNode, en: nbformat.NotebookNode) -> list[str]:
    """Compare a German page with its English twin."""
    ids_de, ids_en = ([c["id"] for c in nb.cells] for nb in (de, en))
    if ids_de != ids_en:
        return [f"cell ids differ: {ids_de} in German, {ids_en} in English"]
    found = []
    for a, b in zip(de.cells, en.cells, strict=True):
        differences: list[str] = []
        if a.cell_type != b.cell_type:
            differences.append(f"{a.cell_type} in German, {b.cell_type} in English")
        elif a.cell_type == "code":
            differences += code_differences(a.source, b.source)
            if image_count(a) != image_count(b):
                differences.append("the numbers of images differ")
            if bool(alt_text(a)) != bool(alt_text(b)):
                differences.append("alt text in one edition only")
            if "nbval-ignore-output" not in a.metadata.get("tags", []) and _numbers(
                text_outputs(a)
            ) != _numbers(text_outputs(b)):
                differences.append("the text outputs hold different numbers")
        else:
            differences += markdown_differences(a.source, b.source)
        if a.metadata.get("tags", []) != b.metadata.get("tags", []):
            differences.append("the tags differ")
        found += [f"{a['id']}: {d}" for d in differences]
    return found


QUOTATION = re.compile(r"\*\*([CM]\d+)\*\* *[„“](.+?)[“”] *· *\*(.+?)\*")
BLOCKQUOTE = re.compile(r"(?:^> ?.*\n?)+", re.MULTILINE)
ENTRY_KEYS = {"id", "section", "claim", "verdict", "finding", "references", "page"}


def contents() -> list[str]:
    """Return the file stems of all pages, in reading order."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))

    def walk(node: dict[str, Any]) -> Iterator[str]:
        if "file" in node:
            yield Path(node["file"]).name
        for group in ("parts", "chapters", "sections"):
            for child in node.get(group, []):
                yield from walk(child)

    return [Path(toc["root"]).name, *walk(toc)]


def _plain(text: str) -> str:
    return " ".join(text.split())


def quotations(notebook: nbformat.NotebookNode) -> Iterator[tuple[str, str, str]]:
    """Yield id, wording and verdict word of the claims that a page quotes."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for block in BLOCKQUOTE.findall(cell.source):
                quoted = _plain(re.sub(r"^> ?", "", block, flags=re.MULTILINE))
                yield from QUOTATION.findall(quoted)


def _asserts(source: str) -> bool:
    tree = _parse(source)
    calls = (n.func for n in ast.walk(tree) if isinstance(n, ast.Call))
    names = (f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "") for f in calls)
    return any(isinstance(n, ast.Assert) for n in ast.walk(tree)) or any(
        name.startswith("assert_") for name in names
    )


def claim_cells(notebook: nbformat.NotebookNode) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the id of each claim that a cell is tagged with, and the cell."""
    for cell in notebook.cells:
        for tag in cell["metadata"].get("tags", []):
            if match := CLAIM_TAG.fullmatch(tag):
                yield match[1], cell


def ledger(
    claims: list[dict[str, Any]],
    pages: dict[str, dict[str, nbformat.NotebookNode]],
    bibliography: Container[str],
) -> list[str]:
    """Hold the ledger and the pages of each edition together, both ways.

    Args:
        claims: content of `claims.yml`.
        pages: for each edition, its notebooks by file stem.
        bibliography: the keys of `references.bib`.
    """
    found = []
    for number, count in Counter(c.get("id") for c in claims).items():
        if count > 1:
            found.append(f"{number}: {count} entries")
    for claim in claims:
        name = claim.get("id", "an entry without id")
        if claim.keys() != ENTRY_KEYS:
            found.append(f"{name}: the keys are {sorted(claim)}, expected {sorted(ENTRY_KEYS)}")
            continue
        if claim["verdict"] not in VERDICTS:
            found.append(f"{name}: the verdict {claim['verdict']!r} is none of {[*VERDICTS]}")
            continue
        if claim["section"] not in SECTIONS:
            found.append(f"{name}: the section {claim['section']!r} is none of {[*SECTIONS]}")
        found += [
            f"{name}: {key!r} is missing in references.bib"
            for key in claim["references"]
            if key not in bibliography
        ]
        for edition, edition_pages in pages.items():
            found += [f"{name} ({edition}): {d}" for d in _shown(claim, edition, edition_pages)]
    known = {c.get("id") for c in claims}
    for edition, edition_pages in pages.items():
        for page, notebook in edition_pages.items():
            named = {n for n, _ in claim_cells(notebook)} | {n for n, *_ in quotations(notebook)}
            found += [f"{n} ({edition}/{page}): not in claims.yml" for n in sorted(named - known)]
    return found


def _shown(
    claim: dict[str, Any], edition: str, pages: dict[str, nbformat.NotebookNode]
) -> Iterator[str]:
    number, wording = claim["id"], claim["claim"][edition]
    if not claim["finding"][edition].strip():
        yield "no finding"
    if claim["page"] not in pages:
        yield f"there is no page {claim['page']}"
        return
    page = pages[claim["page"]]
    cells = [cell for n, cell in claim_cells(page) if n == number]
    for other, notebook in pages.items():
        if other != claim["page"] and any(n == number for n, _ in claim_cells(notebook)):
            yield f"shown on {other}, expected on {claim['page']} only"
    for cell in cells:
        if cell["cell_type"] != "code" or not _asserts(cell["source"]):
            yield f"the cell {cell['id']} asserts nothing"
    if not cells:
        text = "\n".join(c.source for c in page.cells if c.cell_type == "markdown")
        if not citations(text).intersection(claim["references"]):
            yield f"no cell of {claim['page']} shows it, and the page cites none of its references"
    if all(n != number for n, *_ in quotations(page)):
        yield f"{claim['page']} does not quote it"
    for notebook in pages.values():
        for n, quoted, verdict in quotations(notebook):
            if n == number and quoted != _plain(wording):
                yield f"quoted as {quoted!r}, expected {_plain(wording)!r}"
            if n == number and verdict != VERDICTS[claim["verdict"]][edition]:
                yield f"called {verdict!r}, expected {VERDICTS[claim['verdict']][edition]!r}"
