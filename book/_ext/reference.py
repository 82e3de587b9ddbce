"""Sphinx extension: the reference of lnlib, from its docstrings.

`{reference} ROOM` writes the entries of a room, `{reference-rooms}` lists all rooms. The docstrings
are MyST with the sections of Google's style.
"""

import ast
import re
from collections.abc import Iterable

import griffe
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

from book.tools import library
from book.tools.languages import LANGUAGES
from book.tools.library import Entry, page_of
from book.tools.names import WRITTEN

WIDTH = 80  # of a signature on one line
URL = re.compile(r"(?<![<(\[\"])https?://[^\s)>]+[^\s)>.,;]")
FLAGS = re.compile(r" *# doctest: .*$", re.MULTILINE)
Described = griffe.Module | griffe.Class | griffe.Function | griffe.Attribute


def signature(item: griffe.Class | griffe.Function, name: str) -> str:
    """Return how a function or class is called, an argument a line where one does not do."""
    line = item.signature(name=name) or f"{name}({', '.join(documented(item)) or '...'})"
    if len(line) <= WIDTH:
        return line
    called = ast.parse(f"def {line}: ...").body[0]
    assert isinstance(called, ast.FunctionDef)
    end = f" -> {ast.unparse(called.returns)}" if called.returns else ""
    inside = line.removeprefix(f"{name}(").removesuffix(end).removesuffix(")")
    return "\n".join([f"{name}(", *(f"    {part}," for part in parts(inside)), f"){end}"])


def documented(item: griffe.Class | griffe.Function) -> list[str]:
    """Return the arguments that a docstring names, where the call is inherited from elsewhere."""
    found = item.docstring.parsed if item.docstring else []
    return [field.name for part in found if part.kind.value == "parameters" for field in part.value]


def parts(arguments: str) -> list[str]:
    """Split arguments at the commas between them.

    >>> parts("x: tuple[int, int], y=(1, 2)")
    ['x: tuple[int, int]', 'y=(1, 2)']
    """
    found, depth = [""], 0
    for sign in arguments:
        depth += (sign in "([{") - (sign in ")]}")
        if sign == "," and not depth:
            found.append("")
        else:
            found[-1] += sign
    return [part.strip() for part in found]


def sentence(item: Described) -> str:
    """Return the first sentence of a docstring."""
    text = item.docstring.value if item.docstring else ""
    return " ".join(text.split("\n\n")[0].split())


def code_of(item: griffe.Class | griffe.Function) -> str:
    """Return the source of a function or class without its docstring."""
    lines = [*item.lines]
    if (text := item.docstring) and text.lineno and text.endlineno and item.lineno:
        begin, end = text.lineno - item.lineno, text.endlineno - item.lineno + 1
        del lines[begin : end + (lines[end : end + 1] == [""])]
    return "\n".join(lines).strip("\n")


class Writer(SphinxDirective):
    """What both directives need."""

    def begin(self) -> None:
        """Note what the page is made from."""
        for path in library.sources():
            self.env.note_dependency(str(path))
        self.words = LANGUAGES[self.config.language]["reference"]
        entries = library.entries()
        self.places = {entry.room: f"{page_of(entry.room)}.html" for entry in entries}
        for entry in entries:
            for name in (entry.item.path, entry.name, *entry.others):
                self.places[name] = f"{self.places[entry.room]}#{entry.name}"

    def text(self, myst: str, item: Described) -> list[nodes.Node]:
        """Return a text of a docstring, its names linked, as seen from what it describes."""
        box = nodes.Element()
        lines = URL.sub(r"<\g<0>>", myst).splitlines()
        self.state.nested_parse(StringList(lines, source=str(item.filepath)), 0, box)
        for literal in [*box.findall(nodes.literal)]:
            if place := self.place(literal.astext(), item):
                parent = literal.parent
                parent.replace(literal, link := nodes.reference("", "", refuri=place))
                link += literal
                link["internal"] = True
        return [*box.children]

    def place(self, text: str, item: Described) -> str | None:
        """Return where a name leads that a docstring writes."""
        if not (match := WRITTEN.fullmatch(text)):
            return None
        scope, scopes = item.path, [""]
        while scope:
            scopes.append(f"{scope}.")
            scope = scope.rpartition(".")[0]
        places = (self.places.get(scope + match[1]) for scope in scopes)
        here = self.places.get(item.path)
        return next((place for place in places if place and place != here), None)

    def listing(self, rows: Iterable[tuple[nodes.Node, list[nodes.Node]]], kind: str) -> nodes.Node:
        """Return terms and what they are."""
        entries = [
            nodes.definition_list_item(
                "", nodes.term("", "", term), nodes.definition("", *definition)
            )
            for term, definition in rows
        ]
        return nodes.definition_list("", *entries, classes=["names", kind])

    def fields(self, names: Iterable[tuple[str, str]], kind: str, item: Described) -> nodes.Node:
        """Return arguments or errors of an item, and what they are."""
        rows = [(nodes.literal("", name), self.text(text, item)) for name, text in names]
        return self.listing(rows, kind)

    def link(self, entry: Entry, within: str) -> nodes.Node:
        """Return a link to an entry, under its name within a room."""
        name = nodes.literal("", entry.name.removeprefix(f"{within}."))
        return nodes.reference("", "", name, refuri=self.places[entry.name], internal=True)


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
        entries = [entry for entry in library.entries() if entry.room == name]
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
        section += self.code(signature(entry.item, last), "signature")
        section += nodes.container("", *self.described(entry.item), classes=["docstring"])
        if isinstance(entry.item, griffe.Class) and (members := [*self.members(entry)]):
            section += self.label("members")
            section += nodes.container("", self.listing(members, "members"), classes=["docstring"])
        section += nodes.container(classes=["uses"])  # crossref.py says where
        section += self.source(entry.item)
        return section

    def described(self, item: Described) -> list[nodes.Node]:
        """Return a docstring, section by section."""
        found: list[nodes.Node] = []
        for part in item.docstring.parsed if item.docstring else ():
            match part.kind.value, part.value:
                case "text", str(text):
                    found += self.text(text, item)
                case ("parameters" | "attributes") as kind, [*fields]:
                    names = [(field.name, field.description) for field in fields]
                    found += [self.label(kind), self.fields(names, kind, item)]
                case "raises" as kind, [*fields]:
                    names = [(str(f.annotation).strip("()"), f.description) for f in fields]
                    found += [self.label(kind), self.fields(names, kind, item)]
                case ("returns" | "yields") as kind, [field]:
                    found += [self.label(kind), *self.text(field.description, item)]
                case "admonition", box if box.kind.startswith("example"):
                    code = self.code(FLAGS.sub("", box.contents), "example", "pycon")
                    found += [self.label("example"), code]
                case "admonition", box:
                    title = part.title or ""
                    found += self.text(f"{box.kind.capitalize()}: {title} {box.contents}", item)
                case kind, _:
                    raise self.error(f"{item.path}: no way to write a section of {kind}")
        return found

    def members(self, entry: Entry) -> Iterable[tuple[nodes.Node, list[nodes.Node]]]:
        """Yield the public methods and properties of a class that say what they are."""
        for name, member in entry.item.members.items():
            if name.startswith("_") or not member.docstring:
                continue
            if isinstance(member, griffe.Function):
                yield nodes.literal("", member.signature()), self.described(member)
            elif isinstance(member, griffe.Attribute):
                yield nodes.literal("", name), self.described(member)

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
        code = code_of(item)
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
            entries = [entry for entry in library.entries() if entry.room == room.path]
            if not entries:
                continue
            name = nodes.reference(
                "", "", nodes.literal("", room.path), refuri=self.places[room.path], internal=True
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
