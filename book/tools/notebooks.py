"""Execute the book's notebooks and write them with clean metadata.

``python -m book.tools.notebooks [PAGE ...]`` re-executes both editions, two notebooks at a time.
``python -m book.tools.notebooks --address URL [--revision TAG]`` writes the repository's address,
and the revision of it that the notebooks install, into ``_config.yml`` and the set-up cells, and
executes nothing. A release is pinned so: its notebooks install the lnlib that they were made with.
"""

import argparse
import os
import re
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import nbformat
import yaml
from nbclient import NotebookClient
from tqdm import tqdm

from book import BOOK, ROOT

CONFIG = ROOT / "_config.yml"
EDITIONS = ("de", "en")
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
CELL_METADATA = ("mystnb", "tags")
ADDRESS = re.compile(r"^( *repository, revision = ).*$", re.MULTILINE)


def pages(names: Iterable[str] = ()) -> list[Path]:
    """Return the notebooks of both editions, or only those with the given file stems."""
    wanted = set(names)
    found = sorted(p for e in EDITIONS for p in (BOOK / e).glob("*.ipynb"))
    if missing := wanted - {p.stem for p in found}:
        raise ValueError(f"no page of the book is called {', '.join(sorted(missing))}")
    return [p for p in found if not wanted or p.stem in wanted]


def address() -> tuple[str, str]:
    """Return the repository's published address, empty while there is none, and the revision."""
    settings = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    return str(settings["repository"]["url"]), str(settings["repository"]["branch"])


def set_address(url: str, revision: str) -> None:
    """Write the repository's address and revision into the configuration and every notebook."""
    settings = CONFIG.read_text(encoding="utf-8")
    for line in (f'  url: "{url}"', f"  branch: {revision}"):
        key = line.split(":")[0]
        settings, count = re.subn(rf"^{key}: .*$", line, settings, flags=re.MULTILINE)
        if count != 1:
            raise ValueError(f"{CONFIG.name} has {count} lines '{key}: …', expected one")
    CONFIG.write_text(settings, encoding="utf-8", newline="\n")
    for path in pages():
        notebook = read(path)
        fill_address(notebook, url, revision)
        write(notebook, path)


def set_up(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return the cell that installs what a page needs and imports it."""
    cell: nbformat.NotebookNode = next(c for c in notebook.cells if c["id"] == "setup")
    return cell


def installation(notebook: nbformat.NotebookNode) -> str:
    """Return the beginning of the set-up cell, which is the same on all pages."""
    source: str = set_up(notebook).source
    return source[: source.index("\n", source.index("%pip"))]


def fill_address(notebook: nbformat.NotebookNode, url: str, revision: str) -> None:
    """Write the repository's address and revision into the set-up cell."""
    cell = set_up(notebook)
    cell.source, count = ADDRESS.subn(lambda m: f'{m[1]}"{url}", "{revision}"', cell.source)
    if count != 1:
        raise ValueError(
            f"the set-up cell assigns `repository, revision` {count} times, expected once"
        )


def clean(notebook: nbformat.NotebookNode) -> None:
    """Drop everything from the metadata that is not part of the book."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        kept = {k: cell.metadata[k] for k in CELL_METADATA if cell.metadata.get(k)}
        cell.metadata = nbformat.from_dict(kept)
        for output in cell.get("outputs", []):
            if "metadata" in output:
                output.metadata = nbformat.from_dict({})


def execute(notebook: nbformat.NotebookNode) -> None:
    """Run a notebook top to bottom in an empty folder, on the CPU, without progress bars."""
    environment = {**os.environ, "TQDM_DISABLE": "1", "CUDA_VISIBLE_DEVICES": ""}
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            kernel_name="python3",
            extra_arguments=["--log-level=ERROR"],
            timeout=600,
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": folder}},
        )
        client.execute(env=environment)


def read(path: Path) -> nbformat.NotebookNode:
    """Read a notebook of the current format."""
    notebook: nbformat.NotebookNode = nbformat.read(path, as_version=4)
    return notebook


def text(notebook: nbformat.NotebookNode) -> str:
    """Return the one file content that represents a notebook."""
    return f"{nbformat.writes(notebook)}\n"


def write(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write a notebook deterministically."""
    nbformat.validate(notebook)
    path.write_text(text(notebook), encoding="utf-8", newline="\n")


def refresh(path: Path) -> float:
    """Execute one notebook and rewrite it; return the seconds it took."""
    notebook = read(path)
    fill_address(notebook, *address())
    start = time.perf_counter()
    execute(notebook)
    seconds = time.perf_counter() - start
    clean(notebook)
    write(notebook, path)
    return seconds


def refresh_all(paths: list[Path], jobs: int = 2) -> None:
    """Execute and rewrite notebooks, ``jobs`` at a time, and print each one's run time."""
    with (
        ThreadPoolExecutor(jobs) as pool,
        tqdm(total=len(paths), unit="page", disable=None) as progress,
    ):
        running = {pool.submit(refresh, path): path for path in paths}
        for done in as_completed(running):
            path = running[done]
            tqdm.write(f"{path.parent.name}/{path.stem}: {done.result():.1f} s")
            progress.update()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", nargs="*", help="file stems, for example 1b_numerik; default: all")
    parser.add_argument("--address", metavar="URL", help="write the repository's address, only")
    parser.add_argument("--revision", metavar="TAG", default="main", help="with --address")
    options = parser.parse_args()
    if options.address is not None:
        set_address(options.address, options.revision)
    else:
        refresh_all(pages(options.page))


if __name__ == "__main__":
    main()
