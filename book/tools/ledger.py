"""The ledger and the pages agree: every claim is quoted, and shown by a cell or a citation.

Each check yields complaints, none if all is well.
"""

import ast
from collections import Counter
from collections.abc import Container, Iterator

import nbformat

from book.tools.claims import Claim, cells_showing, claim_cells, mentions, quotations
from book.tools.languages import LANGUAGES
from book.tools.notebooks import parse
from book.tools.reading import citations, markdown, one_line

Pages = dict[str, nbformat.NotebookNode]  # by file stem


def disagreements(
    claims: list[Claim], editions: dict[str, Pages], bibliography: Container[str]
) -> list[str]:
    """Hold the ledger and the pages of each edition together, both ways.

    Args:
        claims: what `claims.yml` holds.
        editions: for each language, its notebooks by file stem.
        bibliography: the keys of `references.bib`.
    """
    found = []
    for number, count in Counter(claim.id for claim in claims).items():
        if count > 1:
            found.append(f"{number}: {count} entries")
    for claim in claims:
        found += [
            f"{claim.id}: {key!r} is missing in references.bib"
            for key in claim.references
            if key not in bibliography
        ]
        for edition, pages in editions.items():
            wrong = [*showing(claim, pages), *quoting(claim, edition, pages)]
            found += [f"{claim.id} ({edition}): {complaint}" for complaint in wrong]
    known = {claim.id for claim in claims}
    for edition, pages in editions.items():
        for page, notebook in pages.items():
            found += [
                f"{number} ({edition}/{page}): not in claims.yml"
                for number in sorted(named(notebook) - known)
            ]
    return found


def named(notebook: nbformat.NotebookNode) -> set[str]:
    """Return the ids of the claims that a page shows, quotes or names."""
    text = markdown(notebook)
    written = {number for number, *_ in (*quotations(text), *mentions(text))}
    return written | {number for number, _ in claim_cells(notebook)}


def asserts(source: str) -> bool:
    """Say whether code asserts something."""
    tree = parse(source)
    calls = (n.func for n in ast.walk(tree) if isinstance(n, ast.Call))
    names = (f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "") for f in calls)
    return any(isinstance(n, ast.Assert) for n in ast.walk(tree)) or any(
        name.startswith("assert_") for name in names
    )


def showing(claim: Claim, pages: Pages) -> Iterator[str]:
    """Check the cells that show a claim, or the citation that stands for them."""
    for other, notebook in pages.items():
        if other != claim.page and any(n == claim.id for n, _ in claim_cells(notebook)):
            yield f"shown on {other}, expected on {claim.page} only"
    if claim.page not in pages:
        yield f"there is no page {claim.page}"
        return
    page = pages[claim.page]
    cells = cells_showing(claim, page)
    for cell in cells:
        if cell["cell_type"] != "code" or not asserts(cell["source"]):
            yield f"the cell {cell['id']} asserts nothing"
    if not cells and not set(claim.references).intersection(citations(markdown(page))):
        yield f"no cell of {claim.page} shows it, and the page cites none of its references"


def quoting(claim: Claim, edition: str, pages: Pages) -> Iterator[str]:
    """Check that a claim's page quotes it, and that all pages do so word for word.

    Where a page only names it, as the glossary does, the verdict has to be ours.
    """
    wording = one_line(claim.claim[edition])
    verdict = LANGUAGES[edition]["claims"]["verdicts"][claim.verdict]
    quoted_on = set()
    for name, page in pages.items():
        called = [word for number, word in mentions(markdown(page)) if number == claim.id]
        for number, quoted, word in quotations(markdown(page)):
            if number != claim.id:
                continue
            quoted_on.add(name)
            called.append(word)
            if quoted != wording:
                yield f"quoted as {quoted!r}, expected {wording!r}"
        for word in called:
            if word != verdict:
                yield f"called {word!r}, expected {verdict!r}"
    if claim.page not in quoted_on:
        yield f"{claim.page} does not quote it"
