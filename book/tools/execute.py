"""Execute the book's notebooks and write them clean.

`python -m book.tools.execute [PAGE ...]` does so in all editions, two notebooks at a time.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import nbformat
import torch
from nbclient import NotebookClient
from tqdm import tqdm

from book.tools import address
from book.tools.notebooks import EXECUTION, clean, outputs, pages, read, write
from book.tools.reading import with_run_time
from lnlib.provenance import environment, installed


def execute(
    notebook: nbformat.NotebookNode, environment: Mapping[str, str] | None = None, **options: Any
) -> None:
    """Run a notebook top to bottom in an empty folder, on one thread of the CPU, without bars.

    Args:
        notebook: gets the outputs.
        environment: variables that its kernel sees beside those of this process.
        options: of the `NotebookClient`, such as `allow_errors` or another `timeout`.
    """
    variables = {
        **os.environ, "TQDM_DISABLE": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1",
        **(environment or {}),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            kernel_name="python3",
            extra_arguments=["--log-level=ERROR"],
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": folder}},
            **{"timeout": 600, **options},
        )
        client.execute(env=variables)


def refresh(path: Path) -> float:
    """Execute one notebook and rewrite it; return the seconds it took."""
    notebook = read(path)
    address.fill(notebook, *address.read())
    start = time.perf_counter()
    execute(notebook)
    seconds = time.perf_counter() - start
    clean(notebook)
    note(notebook, read(path))
    write(notebook, path)
    return seconds


def note(notebook: nbformat.NotebookNode, before: nbformat.NotebookNode) -> None:
    """Note when and with what a notebook was executed, unless that is known of the same outputs."""
    if outputs(notebook) != outputs(before) or EXECUTION not in notebook.metadata:
        capability = torch.backends.cpu.get_cpu_capability()
        made = environment() | installed("numpy") | {"capability": capability}
        notebook.metadata[EXECUTION] = nbformat.from_dict(made)


def refresh_all(paths: list[Path], jobs: int = 2) -> None:
    """Execute and rewrite notebooks, ``jobs`` at a time; each says how long its page runs.

    Twins run the same code: the faster one was less disturbed by what else the machine did.
    """
    fastest: dict[str, float] = {}
    with (
        ThreadPoolExecutor(jobs) as pool,
        tqdm(total=len(paths), unit="page", disable=None) as progress,
    ):
        running = {pool.submit(refresh, path): path for path in paths}
        for done in as_completed(running):
            path = running[done]
            seconds = done.result()
            fastest[path.stem] = min(seconds, fastest.get(path.stem, seconds))
            tqdm.write(f"{path.parent.name}/{path.stem}: {seconds:.1f} s")
            progress.update()
    for path in paths:
        notebook = read(path)
        first = notebook.cells[0]
        first.source = with_run_time(first.source, path.parent.name, fastest[path.stem])
        write(notebook, path)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Execute and rewrite notebooks.")
    parser.add_argument("page", nargs="*", help="file stems, for example 1b_numerik; default: all")
    refresh_all(pages(parser.parse_args().page))


if __name__ == "__main__":
    main()
