"""What Sphinx's extensions write, as Markdown: the reference of lnlib and the bibliography."""

import re

import griffe
from pybtex.backends.plaintext import Backend
from pybtex.database import BibliographyData, Entry
from pybtex.style.formatting.alpha import Style

from book.tools import docstrings, library
from book.tools.docstrings import Described, sentence
from book.tools.reading import fenced, one_line

CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


class Writer:
    """Writes the reference.

    Args:
        words: what stands above the parts of an entry, by kind.
    """

    def __init__(self, words: dict[str, str]) -> None:
        """Find where names lead."""
        self.words = words
        self.places = docstrings.Places(".md")

    def rooms(self) -> str:
        """Return a list of the rooms with what they offer."""
        lines = []
        for room in library.rooms():
            if entries := library.entries_of(room):
                names = ", ".join(self.link(entry.name, room) for entry in entries)
                said = self.text(sentence(room), room)
                lines.append(f"- [`{room.path}`]({self.places.of[room.path]}): {said} {names}")
        return "\n".join(lines)

    def room(self, name: str) -> str:
        """Return the entries of a room."""
        room = library.find(name)
        assert isinstance(room, griffe.Module)
        return "\n\n".join([*self.described(room), *map(self.entry, library.entries_of(room))])

    def entry(self, entry: library.Entry) -> str:
        """Return the entry of a public name."""
        item, last = entry.item, entry.name.rpartition(".")[2]
        anchors = "".join(f'<a id="{name}"></a>' for name in (entry.name, *entry.others))
        call = fenced(docstrings.signature(item, last), "python")
        said = [anchors, f"## `{entry.name}`", call, *self.described(item)]
        if isinstance(item, griffe.Class) and (members := docstrings.members(item)):
            said.append(f"**{self.words['members']}**")
            for called, member in members:
                said += [f"`{called}`", *self.described(member)]
        place = f"{item.relative_package_filepath.as_posix()}:{item.lineno}"
        return "\n\n".join([*said, f"{self.words['source']}: `{place}`"])

    def described(self, item: Described) -> list[str]:
        """Return a docstring, section by section."""
        found = []
        for kind, content in docstrings.sections(item):
            if kind != "text":
                found.append(f"**{self.words[kind]}**")
            if isinstance(content, list):
                lines = [f"- `{name}`: {self.text(said, item)}" for name, said in content]
                found.append("\n".join(lines))
            elif kind == "example":
                found.append(fenced(content, "pycon"))
            else:
                found.append(self.text(content, item))
        return found

    def text(self, myst: str, item: Described) -> str:
        """Return a text of a docstring, its names linked, as seen from what it describes."""

        def link(name: re.Match[str]) -> str:
            place = self.places.seen_from(item, name[1])
            return f"[{name[0]}]({place})" if place else name[0]

        return CODE.sub(link, docstrings.linked(myst))

    def link(self, name: str, within: griffe.Module) -> str:
        """Return a link to an entry, under its name within a room."""
        return f"[`{name.removeprefix(f'{within.path}.')}`]({self.places.of[name]})"


def bibliography(works: dict[str, Entry]) -> str:
    """Return a list of works, in order of author."""
    entries = Style().format_bibliography(BibliographyData(works))
    return "\n".join(f"- {one_line(entry.text.render(Backend()))}" for entry in entries)
