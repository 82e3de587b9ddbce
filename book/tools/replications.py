"""What held when the pages ran under other seeds and on other instruction sets.

`book/replications.json` says so for every cell that asserts something, together with a fingerprint
of what the cell runs: the page's code up to it, the modules of the library that it loads, and the
recordings that it reads. `python -m book.tools.replicate` writes it.
"""

import ast
import hashlib
import io
import json
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import nbformat

from book import BOOK, ROOT
from book.tools.languages import FIRST
from book.tools.ledger import asserts
from book.tools.notebooks import installation, parse, plain, read

PATH = BOOK / "replications.json"
SWEPT = BOOK / "replications"
DRAWING = ("lnlib.pages", "lnlib.provenance")  # changes no figure that a cell asserts

OWN = "0 native"  # the book's own seeds, and the instructions of the machine
Effect = tuple[float, float, int]


@dataclass(frozen=True)
class Cell:
    """How a cell that asserts something has fared.

    Args:
        fingerprint: of what it runs.
        failed: the conditions under which an assertion failed, each with the error's first line.
        effects: for each comparison that the cell assigns, alone or as an entry of a dictionary,
            its mean, standard error and number of pairs under each condition.
        remark: what is to be done about a failure.
    """

    fingerprint: str
    failed: dict[str, str] = field(default_factory=dict)
    effects: dict[str, dict[str, Effect]] = field(default_factory=dict)
    remark: str = ""


@dataclass(frozen=True)
class Replication:
    """How a page has fared.

    Args:
        conditions: under which it was run: an offset of the seeds and an instruction set each.
        modules: of the library, those that it loads.
        cells: those that assert something, by id.
        sweeps: for a condition, the sweeps that were run with its seeds, too, each with a hash of
            its rows; of the others the page read the recordings that come with the library.
    """

    conditions: list[str]
    modules: list[str]
    cells: dict[str, Cell]
    sweeps: dict[str, dict[str, str]] = field(default_factory=dict)


Record = dict[str, Replication]  # by the file stem of the page


def load(path: Path = PATH) -> Record:
    """Return what is recorded."""
    if not path.exists():
        return {}
    return {
        page: Replication(
            entry["conditions"],
            entry["modules"],
            {name: Cell(**cell) for name, cell in entry["cells"].items()},
            entry["sweeps"],
        )
        for page, entry in json.loads(path.read_text(encoding="utf-8")).items()
    }


def save(record: Record, path: Path = PATH) -> None:
    """Write the record, a line for each cell."""

    def lines(entries: dict[str, str]) -> str:
        return ",\n".join(f"{json.dumps(key)}: {value}" for key, value in entries.items())

    def line(value: object) -> str:
        return json.dumps(value, ensure_ascii=False)

    pages = {
        page: f'{{"conditions": {line(found.conditions)},\n"modules": {line(found.modules)},\n'
        f'"sweeps": {line(found.sweeps)},\n'
        f'"cells": {{\n{lines({k: line(asdict(c)) for k, c in found.cells.items()})}\n}}}}'
        for page, found in sorted(record.items())
    }
    path.write_text(f"{{\n{lines(pages)}\n}}\n", encoding="utf-8")


def asserting(notebook: nbformat.NotebookNode) -> list[str]:
    """Return the ids of a page's cells that assert something."""
    return [c.id for c in notebook.cells if c.cell_type == "code" and asserts(c.source)]


def assigned(source: str) -> set[str]:
    r"""Return the names that a cell assigns.

    >>> sorted(assigned("lead, rest = 1, 2\nfor x in (): pass"))
    ['lead', 'rest', 'x']
    """
    names = (node for node in ast.walk(parse(source)) if isinstance(node, ast.Name))
    return {name.id for name in names if isinstance(name.ctx, ast.Store)}


def variable(effect: str) -> str:
    """Return the variable that holds a comparison.

    >>> variable("lead[('LN', 'none')]"), variable("lead")
    ('lead', 'lead')
    """
    return effect.partition("[")[0]


def fingerprints(
    notebook: nbformat.NotebookNode, modules: Iterable[str], root: Path = ROOT
) -> dict[str, str]:
    """Return a fingerprint for every asserting cell of a page.

    Args:
        notebook: the page.
        modules: of the library, those that the page loads.
        root: the folder of `lnlib`.
    """
    found, wanted, set_up = hashlib.sha256(), {*asserting(notebook)}, installation(notebook)
    for module in sorted(modules):
        if not module.startswith(DRAWING) and (path := _source(module, root)).exists():
            found.update(code(path.read_text(encoding="utf-8")).encode())
    for name in read_by(notebook, root / "lnlib" / "recordings"):
        found.update(rows(root / "lnlib" / "recordings" / f"{name}.json"))
    prints = {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            found.update(code(cell.source.removeprefix(set_up)).encode())
            if cell.id in wanted:
                prints[cell.id] = found.hexdigest()[:16]
    return prints


def read_by(notebook: nbformat.NotebookNode, folder: Path) -> list[str]:
    """Return the recordings of a folder that a page names."""
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    names = sorted(path.stem for path in folder.glob("*.json"))
    return [name for name in names if any(f'"{name}"' in text for text in texts)]


def swept(condition: str) -> Path:
    """Return the folder of the sweeps that were run with the seeds of a condition."""
    return SWEPT / condition.split()[0]


def sweeps(notebook: nbformat.NotebookNode, folder: Path) -> dict[str, str]:
    """Return the sweeps of a folder that a page reads, each with a hash of its rows."""
    return {
        name: hashlib.sha256(rows(folder / f"{name}.json")).hexdigest()[:16]
        for name in read_by(notebook, folder)
    }


def rows(path: Path) -> bytes:
    """Return what a recording holds, without when and where it was made."""
    return json.dumps(json.loads(path.read_bytes())["rows"]).encode()


@cache
def code(source: str) -> str:
    r"""Return what a text runs: without comments, documentation and blank lines.

    >>> code("def f():  # f\n    'Return 1.'\n\n    return 1")
    'def f():\n    return 1'
    """
    source = plain(source)
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _documents(body[0]):
            first, last = body[0].lineno - 1, body[0].end_lineno
            lines[first:last] = [""] * (last - first)
    return "\n".join(line.rstrip() for line in lines if line.strip())


def stale(record: Record, pages: dict[str, nbformat.NotebookNode]) -> list[str]:
    """Return the pages whose record is missing or was made with other code or other sweeps."""
    return [
        page
        for page, notebook in pages.items()
        if asserting(notebook) and (page not in record or _differs(record[page], notebook))
    ]


def unexplained(record: Record) -> Iterator[str]:
    """Yield every cell that failed somewhere and whose record does not say what is to be done."""
    for page, replication in record.items():
        for name, cell in replication.cells.items():
            if cell.failed and not cell.remark:
                yield f"{page}, cell {name}: {cell.failed}"


def first_edition() -> dict[str, nbformat.NotebookNode]:
    """Return the pages of the edition that is run; the others hold the same code."""
    return {path.stem: read(path) for path in sorted((BOOK / FIRST).glob("*.ipynb"))}


def _differs(replication: Replication, notebook: nbformat.NotebookNode) -> bool:
    recorded = {name: cell.fingerprint for name, cell in replication.cells.items()}
    if recorded != fingerprints(notebook, replication.modules):
        return True
    return any(
        replication.sweeps.get(condition, {}) != sweeps(notebook, swept(condition))
        for condition in replication.conditions
    )


def _source(module: str, root: Path) -> Path:
    path = root.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _documents(statement: Any) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
