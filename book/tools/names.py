"""Which imported names stand where in the code of a page."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

REFERENCE = "referenz"  # begins the file names of the pages that say what they mean
MAGIC = re.compile(r"^( *)[%!].*$", re.MULTILINE)
WRITTEN = re.compile(r"(\w[\w.]*)(?:\(.*\))?")  # a name as a text writes it, called or not
CALLED = {"lnlib.identify": "lnlib.identify.identify"}  # a module that can be called
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True)
class Use:
    """An imported name in code.

    Args:
        name: the whole of it, such as `lnlib.functional.layer_norm`.
        line: where its last part stands, counted from 0.
        column: likewise.
        imported: whether an import names it.
    """

    name: str
    line: int
    column: int
    imported: bool = False


class Names:
    """Follows the imports of a page through its cells.

    Example:
        >>> names = Names()
        >>> names.uses("from lnlib import functional as F")
        [Use(name='lnlib.functional', line=0, column=18, imported=True)]
        >>> [use.name for use in names.uses("y = F.layer_norm(x, (3,))")]
        ['lnlib.functional.layer_norm', 'lnlib.functional']
    """

    def __init__(self) -> None:
        self.meaning: dict[str, str] = {}  # of each name that was imported

    def uses(self, cell: str) -> list[Use]:
        """Return the uses in a cell; none where it is no Python.

        A name that a cell binds anew means nothing imported from there on.
        """
        if not (tree := parsed(cell)):
            return []
        lines = cell.splitlines()
        for name in variables(cell) | defined(tree):
            self.meaning.pop(name, None)
        found = [use for node in ast.walk(tree) for use in self._imports(node)]
        found += [use for node in ast.walk(tree) for use in self._reads(node)]
        return [
            replace(use, line=use.line - 1, column=characters(lines[use.line - 1], use.column))
            for use in found
        ]

    def _imports(self, node: ast.AST) -> Iterator[Use]:
        if isinstance(node, ast.Import):
            for item in node.names:
                root = item.name.split(".")[0]
                self.meaning[item.asname or root] = item.name if item.asname else root
                column = item.col_offset + item.name.rfind(".") + 1
                yield Use(item.name, item.lineno, column, imported=True)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for item in node.names:
                name = self.meaning[item.asname or item.name] = f"{node.module}.{item.name}"
                yield Use(name, item.lineno, item.col_offset, imported=True)

    def _reads(self, node: ast.AST) -> Iterator[Use]:
        if isinstance(node, ast.Call) and (name := CALLED.get(self.whole(node.func))):
            yield Use(name, *_last_part(node.func))
        elif isinstance(node, (ast.Attribute, ast.Name)) and (name := self.whole(node)):
            yield Use(name, *_last_part(node))

    def whole(self, node: ast.expr) -> str:
        """Return what a name or an attribute of one means; empty where it is nothing imported."""
        if isinstance(node, ast.Name):
            return self.meaning.get(node.id, "")
        if isinstance(node, ast.Attribute) and (before := self.whole(node.value)):
            return f"{before}.{node.attr}"
        return ""


def characters(line: str, count: int) -> int:
    """Return how many characters a number of bytes is, which `ast` counts."""
    return len(line.encode()[:count].decode())


def parsed(cell: str) -> ast.Module | None:
    """Return the syntax tree of a cell, its magics left out; none where it is no Python."""
    try:
        return ast.parse(MAGIC.sub(r"\1pass", cell))
    except SyntaxError:
        return None


def variables(cell: str) -> set[str]:
    """Return the names that a cell assigns or takes as arguments.

    >>> sorted(variables("rows = [norm(x) for x in data]"))
    ['rows', 'x']
    """
    nodes = [*ast.walk(tree)] if (tree := parsed(cell)) else []
    names = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return names | {node.arg for node in nodes if isinstance(node, ast.arg)}


def defined(tree: ast.Module) -> set[str]:
    """Return the functions and classes that a cell defines."""
    return {node.name for node in ast.walk(tree) if isinstance(node, SCOPES)}


def _last_part(node: ast.expr) -> tuple[int, int]:
    name = node.attr if isinstance(node, ast.Attribute) else ast.unparse(node)
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return node.end_lineno, node.end_col_offset - len(name.encode())
