"""Run the notebooks as readers get them, each alone, and report which fail.

`python -m book.tools.newest FOLDER REPORT` runs those of a folder with what this Python has
installed, two at a time, and writes a report in Markdown; `make test-newest` installs the newest
versions first.
"""

import argparse
import re
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import nbformat
from nbclient.exceptions import CellControlSignal, DeadKernelError

from book.tools.execute import execute
from book.tools.notebooks import read

NAME = re.compile(r"[\w.-]+")
INSTALLED = {"PYTHONPATH": ""}  # the kernels import what is installed, not what lies here


def complaints(notebook: nbformat.NotebookNode) -> dict[str, str]:
    """Run a notebook to its end; return what went wrong in which cell.

    A new warning counts, too: a reader sees it in red. What libraries say when they are imported
    does not, nor what they call outdated in themselves.
    """
    silent = {c.id for c in notebook.cells if c.cell_type == "code" and not warnings(c)}
    try:
        execute(notebook, INSTALLED, allow_errors=True)
    except (CellControlSignal, DeadKernelError) as error:  # it takes too long, or has crashed
        return {"": one_line(str(error))}
    found = {}
    for cell in (c for c in notebook.cells if c.cell_type == "code"):
        for output in cell.outputs:
            if output.output_type == "error":
                found[cell.id] = one_line(f"{output.ename}: {output.evalue}")
        if cell.id in silent - found.keys() - {"setup"} and (said := warnings(cell)):
            found[cell.id] = one_line(said)
    return found


def warnings(cell: nbformat.NotebookNode) -> str:
    """Return what a cell has written to its error stream, but no FutureWarning."""
    texts = (o.text for o in cell.outputs if o.output_type == "stream" and o.name == "stderr")
    return "".join(text for text in texts if "FutureWarning" not in text)


def one_line(text: str, width: int = 160) -> str:
    """Return the beginning of a text as one line that a table can hold."""
    return " ".join(text.split())[:width].replace("|", "\\|")


def versions() -> dict[str, str]:
    """Return the installed version of each package that the library names in its ranges."""
    found = {}
    for name in (match[0] for line in requires("lnlib") or () if (match := NAME.match(line))):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # an extra that was not asked for, or another platform's
            continue
    return dict(sorted(found.items()))


def report(failed: Mapping[str, Mapping[str, str]], count: int) -> str:
    """Return a report in Markdown.

    Args:
        failed: for each notebook that failed, what went wrong in which cell.
        count: of all notebooks.
    """
    python = ".".join(map(str, sys.version_info[:3]))
    used = ", ".join(f"{name} {number}" for name, number in versions().items())
    lines = [f"{len(failed)} of {count} notebooks fail with Python {python}, {used}.", ""]
    if failed:
        lines += ["| notebook | cell | what it says |", "|---|---|---|"]
    for name, cells in failed.items():
        lines += [f"| {name} | {cell} | {said} |" for cell, said in cells.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Run notebooks as readers get them.")
    parser.add_argument("folder", type=Path, help="of the notebooks")
    parser.add_argument("report", type=Path, help="the file to write")
    options = parser.parse_args()
    paths = sorted(options.folder.glob("*.ipynb"))
    failed = {}
    with ThreadPoolExecutor(2) as pool:
        for path, found in zip(paths, pool.map(complaints, map(read, paths)), strict=True):
            print(f"{path.stem}: {'fails' if found else 'runs'}", flush=True)
            if found:
                failed[path.stem] = found
    text = report(failed, len(paths))
    options.report.write_text(text, encoding="utf-8")
    print(f"\n{text}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
