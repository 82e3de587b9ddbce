"""What the entries of the reference say: calls, sentences, sources, and where names lead."""

import ast
import re
from collections.abc import Iterator

import griffe

from book.tools import library
from book.tools.library import page_of
from book.tools.names import WRITTEN

WIDTH = 80  # of a signature on one line
URL = re.compile(r"(?<![<(\[\"])https?://[^\s)>]+[^\s)>.,;]")
FLAGS = re.compile(r" *# doctest: .*$", re.MULTILINE)
Described = griffe.Module | griffe.Class | griffe.Function | griffe.Attribute


class Places:
    """Where names lead that a docstring writes.

    Args:
        suffix: of the files that hold the entries.

    Example:
        >>> Places(".html").of["lnlib.functional.layer_norm"]
        'referenz_functional.html#lnlib.functional.layer_norm'
    """

    def __init__(self, suffix: str) -> None:
        """Find the place of every public name."""
        entries = library.entries()
        self.of = {entry.room: f"{page_of(entry.room)}{suffix}" for entry in entries}
        for entry in entries:
            for name in (entry.item.path, entry.name, *entry.others):
                self.of[name] = f"{self.of[entry.room]}#{entry.name}"

    def seen_from(self, item: Described, text: str) -> str | None:
        """Return where a name leads in the docstring of an item; nowhere if to that item."""
        if not (match := WRITTEN.fullmatch(text)):
            return None
        scope, scopes = item.path, [""]
        while scope:
            scopes.append(f"{scope}.")
            scope = scope.rpartition(".")[0]
        places = (self.of.get(scope + match[1]) for scope in scopes)
        here = self.of.get(item.path)
        return next((place for place in places if place and place != here), None)


def linked(text: str) -> str:
    """Return a text in which bare addresses are links.

    >>> linked("See https://a.org/b.")
    'See <https://a.org/b>.'
    """
    return URL.sub(r"<\g<0>>", text)


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


def sections(item: Described) -> Iterator[tuple[str, str | list[tuple[str, str]]]]:
    """Yield the sections of a docstring: each its kind, and its text or names and their texts.

    Raises:
        ValueError: a section is of a kind that no entry shows.
    """
    for part in item.docstring.parsed if item.docstring else ():
        match part.kind.value, part.value:
            case "text", str(text):
                yield "text", text
            case ("parameters" | "attributes") as kind, [*fields]:
                yield kind, [(field.name, field.description) for field in fields]
            case "raises" as kind, [*fields]:
                yield kind, [(str(f.annotation).strip("()"), f.description) for f in fields]
            case ("returns" | "yields") as kind, [field]:
                yield kind, field.description
            case "admonition", box if box.kind.startswith("example"):
                yield "example", FLAGS.sub("", box.contents)
            case "admonition", box:
                yield "text", f"{box.kind.capitalize()}: {part.title or ''} {box.contents}"
            case kind, _:
                raise ValueError(f"{item.path}: no way to write a section of {kind}")


def members(item: griffe.Class) -> list[tuple[str, griffe.Function | griffe.Attribute]]:
    """Return the public methods and properties of a class that say what they are."""
    found: list[tuple[str, griffe.Function | griffe.Attribute]] = []
    for name, member in item.members.items():
        if name.startswith("_") or not member.docstring:
            continue
        if isinstance(member, griffe.Function):
            found.append((member.signature(), member))
        elif isinstance(member, griffe.Attribute):
            found.append((name, member))
    return found


def code_of(item: griffe.Class | griffe.Function) -> str:
    """Return the source of a function or class without its docstring."""
    lines = [*item.lines]
    if (text := item.docstring) and text.lineno and text.endlineno and item.lineno:
        begin, end = text.lineno - item.lineno, text.endlineno - item.lineno + 1
        del lines[begin : end + (lines[end : end + 1] == [""])]
    return "\n".join(lines).strip("\n")
