"""Run the book under new seeds and on other instruction sets, and record what held.

`python -m book.tools.replicate` runs every page whose record is missing or stale. `--page PAGE`
runs this page; `--sweep SWEEP` runs this sweep with other seeds, then the pages that read it, which
find it in place of the one that comes with the library. Both can be repeated. Sweeps take hours:
they are kept in `book/replications`, and only one whose file is deleted is run again. Runs of pages
are kept in `_build/replications`, so that an interrupted command goes on where it stopped.
"""

import argparse
import json
import os
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import nbformat
from tqdm import tqdm

from book import ROOT
from book.tools import replications
from book.tools.execute import execute
from book.tools.notebooks import text
from book.tools.replications import OWN, Cell, Effect, Record, Replication
from lnlib.experiments.__main__ import SWEEPS, run_sweep
from lnlib.experiments.workers import finished, workers
from lnlib.randomness import VARIABLE

FINISHED = ROOT / "_build" / "replications"
CONDITIONS = (OWN, "10000 native", "20000 avx2", "30000 default")
AT_THE_END = """
import json, sys

def comparisons(values):
    "Yield the comparisons among variables and the entries of dictionaries, by name."
    for name, value in values.items():
        if type(value).__name__ == "Paired":
            yield name, (value.mean, value.error, value.n)
        elif type(value) is dict and "[" not in name:
            yield from comparisons({f"{name}[{k!r}]": v for k, v in value.items() if plain(k)})

def plain(key):
    "Whether a key reads alike in every run."
    parts = key if type(key) is tuple else [key]
    return all(isinstance(part, str | int | float) for part in parts)

print(json.dumps({
    "modules": sorted(m for m in sys.modules if m.split(".")[0] == "lnlib"),
    "effects": dict(comparisons(dict(globals()))),
}))
"""


def observe(page: str, condition: str, recordings: str) -> dict[str, Any]:
    """Run a page to its end, whatever fails, and say what failed and what was compared.

    The cells from which readers start their exercises are left out: they load all checks.

    Args:
        page: the text of a notebook.
        condition: the offset of the seeds and the instruction set of torch, as in "10000 avx2".
        recordings: a folder of sweeps that go before those of the library.

    Returns:
        The errors by cell id, the library's modules that were loaded, and the comparisons.
    """
    seed, instructions = condition.split()
    environment = {VARIABLE: seed, "LNLIB_RECORDINGS": recordings}
    if instructions != "native":
        environment["ATEN_CPU_CAPABILITY"] = instructions
    notebook = nbformat.reads(page, as_version=4)
    notebook.cells = [c for c in notebook.cells if "start" not in c.metadata.get("tags", ())]
    notebook.cells.append(nbformat.v4.new_code_cell(AT_THE_END))
    execute(notebook, environment, timeout=None, allow_errors=True)
    seen = json.loads(notebook.cells[-1].outputs[0].text)
    return {**seen, "errors": errors(notebook), "sweeps": sweeps(page, Path(recordings))}


def sweeps(page: str, folder: Path) -> dict[str, str]:
    """Return `replications.sweeps` of a page's text."""
    return replications.sweeps(nbformat.reads(page, as_version=4), folder)


def errors(notebook: nbformat.NotebookNode) -> dict[str, str]:
    """Return the first line of what went wrong in each cell that failed."""
    return {
        cell.id: f"{output.ename}: {output.evalue}".splitlines()[0][:100]
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "error"
    }


def summary(
    notebook: nbformat.NotebookNode, seen: dict[str, dict[str, Any]], before: Replication | None
) -> Replication:
    """Return the record of a page from what was observed under each condition."""
    modules = seen[OWN]["modules"]
    cells = {}
    for name, fingerprint in replications.fingerprints(notebook, modules).items():
        source = next(cell.source for cell in notebook.cells if cell.id == name)
        failed = {c: found["errors"][name] for c, found in seen.items() if name in found["errors"]}
        cells[name] = Cell(
            fingerprint,
            failed,
            {
                effect: {
                    condition: _rounded(found["effects"][effect])
                    for condition, found in seen.items()
                    if effect in found["effects"]
                }
                for effect in seen[OWN]["effects"]
                if replications.variable(effect) in replications.assigned(source)
            },
        )
        if failed and before and name in before.cells:
            cells[name] = replace(cells[name], remark=before.cells[name].remark)
    replicated = {c: found["sweeps"] for c, found in seen.items() if found["sweeps"]}
    return Replication([*seen], modules, cells, replicated)


def _rounded(effect: Effect) -> Effect:
    mean, error, pairs = effect
    return round(mean, 6), round(error, 6), pairs


def replicate_sweeps(names: list[str], seed: int, executor: Executor) -> None:
    """Run sweeps under other seeds, going on where they stopped."""
    with patch.dict(os.environ, {VARIABLE: str(seed)}):
        for name in names:
            path = replications.SWEPT / str(seed) / f"{name}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                run_sweep(name, path, executor)


def replicate_pages(
    names: list[str], pages: dict[str, nbformat.NotebookNode], executor: Executor
) -> Record:
    """Run pages under every condition; return the record of all pages with how these fared."""
    tasks: dict[tuple[str, str], dict[str, str]] = {}
    seen: dict[tuple[str, str], dict[str, Any]] = {}
    for name in names:
        page = text(pages[name])
        for condition in CONDITIONS:
            key, folder = (name, condition), replications.swept(condition)
            if (found := kept(_file(*key), page, folder)) is not None:
                seen[key] = found
            else:
                tasks[key] = {"page": page, "condition": condition, "recordings": str(folder)}
    progress = tqdm(total=len(names) * len(CONDITIONS), initial=len(seen), unit="run")
    with progress:
        for key, found in finished(observe, tasks, executor):
            keep(_file(*key), tasks[key]["page"], found)
            seen[key] = found
            progress.update()
    record = {name: found for name, found in replications.load().items() if name in pages}
    for name in names:
        by_condition = {condition: seen[name, condition] for condition in CONDITIONS}
        record[name] = summary(pages[name], by_condition, record.get(name))
    return record


def kept(path: Path, page: str, folder: Path) -> dict[str, Any] | None:
    """Return what an earlier run observed, if it ran the same code with the same recordings."""
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text())
    same = found["fingerprints"] == _fingerprints(page, found)
    return found if same and found["sweeps"] == sweeps(page, folder) else None


def keep(path: Path, page: str, found: dict[str, Any]) -> None:
    """Write what was observed, whole or not at all."""
    found["fingerprints"] = _fingerprints(page, found)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".part").write_text(json.dumps(found))
    path.with_suffix(".part").replace(path)


def _file(page: str, condition: str) -> Path:
    return FINISHED / page / f"{condition}.json"


def _fingerprints(page: str, found: dict[str, Any]) -> dict[str, str]:
    return replications.fingerprints(nbformat.reads(page, as_version=4), found["modules"])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m book.tools.replicate",
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    pages = {k: p for k, p in replications.first_edition().items() if replications.asserting(p)}
    parser.add_argument("--page", action="append", choices=pages, metavar="PAGE", default=[])
    parser.add_argument("--sweep", action="append", choices=SWEEPS, metavar="SWEEP", default=[])
    parser.add_argument("--seed", type=int, default=10000, help="the offset of the sweeps' seeds")
    parser.add_argument("--workers", type=int, default=2, help="processes, each on one thread")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="a Dask cluster to use instead")
    options = parser.parse_args()
    with workers(options.workers, options.scheduler) as executor:
        replicate_sweeps(options.sweep, options.seed, executor)
        folder = replications.SWEPT / str(options.seed)
        readers = [
            name
            for name in pages
            if not {*options.sweep}.isdisjoint(replications.read_by(pages[name], folder))
        ]
        wanted = options.page + readers or replications.stale(replications.load(), pages)
        record = replicate_pages(wanted, pages, executor)
    replications.save(record)
    for complaint in replications.unexplained(record):
        print(complaint)


if __name__ == "__main__":
    main()
