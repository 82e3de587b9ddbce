"""Links the first use of each glossary term on a page to its definition, in every inflection."""

from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from book.tools.languages import LANGUAGES
from book.tools.terms import Finder, Terms

NOT_LINKED = (
    nodes.title,
    nodes.term,
    nodes.reference,
    nodes.literal,
    nodes.literal_block,
    nodes.math,
    nodes.math_block,
    nodes.block_quote,  # claims, word for word
    nodes.citation,
    nodes.rubric,
    addnodes.pending_xref,
)


def definitions(env: BuildEnvironment, page: str) -> Iterator[nodes.definition_list_item]:
    """Yield the entries of a page's glossary."""
    for glossary in env.get_doctree(page).findall(addnodes.glossary):
        yield from glossary.findall(nodes.definition_list_item)


def terms_of(entry: nodes.definition_list_item) -> Terms:
    """Return an entry's terms with the id of the first, where the entry begins."""
    found = [*entry.findall(nodes.term)]
    return {term.astext(): found[0]["ids"][0] for term in found}


def collect(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Gather the terms once all pages are read; if they changed, every page is written again."""
    objects = env.get_domain("std").get_objects()
    pages = sorted({page for _, _, kind, page, *_ in objects if kind == "term"})
    before = getattr(env, "book_terms", None)
    env.book_terms = {  # type: ignore[attr-defined]
        page: {term: at for entry in definitions(env, page) for term, at in terms_of(entry).items()}
        for page in pages
    }
    return [] if env.book_terms == before else [*env.found_docs]  # type: ignore[attr-defined]


def link(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Link the first use of each term on a page; on the glossary's page, in each definition."""
    for glossary, terms in app.env.book_terms.items():  # type: ignore[attr-defined]
        entries = [*doctree.findall(nodes.definition_list_item)] if page == glossary else []
        finder = Finder(terms, LANGUAGES[app.config.language]["endings"])
        uri = app.builder.get_relative_uri(page, glossary)
        for scope in entries or [doctree]:
            used = set(terms_of(scope).values()) if entries else set()
            _link_in(scope, finder, used, uri)


def _link_in(scope: nodes.Element, finder: Finder, used: set[str], uri: str) -> None:
    for text in [*scope.findall(nodes.Text)]:
        if not _is_prose(text):
            continue
        parts: list[nodes.Node] = []
        end = 0
        for match, at in finder.first_uses(text, used):
            parts.append(nodes.Text(text[end : match.start()]))
            parts.append(
                nodes.reference("", match[0], internal=True, refuri=f"{uri}#{at}", classes=["term"])
            )
            end = match.end()
        if parts:
            text.parent.replace(text, [*parts, nodes.Text(text[end:])])


def _is_prose(text: nodes.Text) -> bool:
    above, inside_paragraph = text.parent, False
    while above is not None:
        if isinstance(above, NOT_LINKED) or "claim" in above.get("classes", []):
            return False
        inside_paragraph |= isinstance(above, nodes.paragraph)
        above = above.parent
    return inside_paragraph


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.connect("env-updated", collect)
    app.connect("doctree-resolved", link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
