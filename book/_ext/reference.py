"""Sphinx extension: the reference of lnlib, from its docstrings.

`{reference} ROOM` writes the entries of a room, `{reference-rooms}` lists all rooms. The docstrings
are MyST with the sections of Google's style.
"""

from collections.abc import Iterable

import griffe
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

from book.tools import docstrings, library
from book.tools.docstrings import Described, sentence
from book.tools.languages import LANGUAGES
from book.tools.library import Entry


class Writer(SphinxDirective):
    """What both directives need."""

    def begin(self) -> None:
        """Note what the page is made from."""
        for path in library.sources():
            self.env.note_dependency(str(path))
        self.words = LANGUAGES[self.config.language]["reference"]
        self.places = docstrings.Places(".html")

    def text(self, myst: str, item: Described) -> list[nodes.Node]:
        """Return a text of a docstring, its names linked, as seen from what it describes."""
        box = nodes.Element()
        lines = docstrings.linked(myst).splitlines()
        self.state.nested_parse(StringList(lines, source=str(item.filepath)), 0, box)
        for literal in [*box.findall(nodes.literal)]:
            if place := self.places.seen_from(item, literal.astext()):
                parent = literal.parent
                parent.replace(literal, link := nodes.reference("", "", refuri=place))
                link += literal
                link["internal"] = True
        return [*box.children]

    def listing(self, rows: Iterable[tuple[nodes.Node, list[nodes.Node]]], kind: str) -> nodes.Node:
        """Return terms and what they are."""
        entries = [
            nodes.definition_list_item(
                "", nodes.term("", "", term), nodes.definition("", *definition)
            )
            for term, definition in rows
        ]
        return nodes.definition_list("", *entries, classes=["names", kind])

    def link(self, entry: Entry, within: str) -> nodes.Node:
        """Return a link to an entry, under its name within a room."""
        name = nodes.literal("", entry.name.removeprefix(f"{within}."))
        return nodes.reference("", "", name, refuri=self.places.of[entry.name], internal=True)


class Reference(Writer):
    """Write the entries of a room."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Build the nodes."""
        self.begin()
        (name,) = self.arguments
        room = library.find(name)
        if not isinstance(room, griffe.Module):
            raise self.error(f"lnlib has no module {name}")
        entries = library.entries_of(room)
        head = nodes.container("", *self.described(room), classes=["docstring"])
        rows = [(self.link(e, name), self.text(sentence(e.item), e.item)) for e in entries]
        overview = [self.listing(rows, "overview")] if len(entries) > 1 else []
        return [head, *overview, *(self.entry(entry) for entry in entries)]

    def entry(self, entry: Entry) -> nodes.section:
        """Return the section of a public name."""
        self.env.get_domain("py").note_object(  # type: ignore[attr-defined]
            entry.name, entry.item.kind.value, entry.name, location=self.get_location()
        )
        before, _, last = entry.name.rpartition(".")
        path = nodes.inline("", f"{before}.", classes=["path"])
        title = nodes.title("", "", nodes.literal("", "", path, nodes.Text(last)))
        section = nodes.section("", title, ids=[entry.name, *entry.others], classes=["entry"])
        section += self.code(docstrings.signature(entry.item, last), "signature")
        section += nodes.container("", *self.described(entry.item), classes=["docstring"])
        if isinstance(entry.item, griffe.Class) and (found := docstrings.members(entry.item)):
            members = [(nodes.literal("", call), self.described(item)) for call, item in found]
            section += self.label("members")
            section += nodes.container("", self.listing(members, "members"), classes=["docstring"])
        section += nodes.container(classes=["uses"])  # crossref.py says where
        section += self.source(entry.item)
        return section

    def described(self, item: Described) -> list[nodes.Node]:
        """Return a docstring, section by section."""
        found: list[nodes.Node] = []
        for kind, content in docstrings.sections(item):
            if kind != "text":
                found.append(self.label(kind))
            if isinstance(content, list):
                rows = [(nodes.literal("", name), self.text(said, item)) for name, said in content]
                found.append(self.listing(rows, kind))
            elif kind == "example":
                found.append(self.code(content, "example", "pycon"))
            else:
                found += self.text(content, item)
        return found

    def label(self, word: str) -> nodes.Node:
        """Return the words above a part of an entry."""
        return nodes.paragraph("", self.words[word], classes=["part"])

    def code(self, text: str, kind: str, language: str = "python") -> nodes.Node:
        """Return code."""
        return nodes.container(
            "", nodes.literal_block(text, text, language=language), classes=["code", kind]
        )

    def source(self, item: griffe.Class | griffe.Function) -> nodes.Node:
        """Return the source of an item, folded."""
        code = docstrings.code_of(item)
        file = item.relative_package_filepath.as_posix()
        words = f"{self.words['source']} <code>{file}:{item.lineno}</code>"
        links = []
        if repository := self.config.html_theme_options.get("repository_url"):
            place = f"{repository}/blob/HEAD/{file}#L{item.lineno}"
            link = nodes.reference("", self.words["repository"], refuri=place)
            links = [nodes.paragraph("", "", link)]
        return nodes.container(
            "",
            nodes.raw("", f"<details><summary>{words}</summary>", format="html"),
            *links,
            nodes.literal_block(code, code, language="python"),
            nodes.raw("", "</details>", format="html"),
            classes=["source"],
        )


class Rooms(Writer):
    """List the rooms with what they offer."""

    def run(self) -> list[nodes.Node]:
        """Build the nodes."""
        self.begin()
        rows: list[tuple[nodes.Node, list[nodes.Node]]] = []
        for room in library.rooms():
            if not (entries := library.entries_of(room)):
                continue
            place = self.places.of[room.path]
            name = nodes.reference(
                "", "", nodes.literal("", room.path), refuri=place, internal=True
            )
            names = nodes.paragraph()
            for entry in entries:
                names += [nodes.Text(" "), self.link(entry, room.path)]
            text = nodes.container("", *self.text(sentence(room), room), classes=["docstring"])
            rows.append((name, [text, names]))
        return [self.listing(rows, "rooms")]


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the extension."""
    app.add_directive("reference", Reference)
    app.add_directive("reference-rooms", Rooms)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
