"""Record a sweep: `python -m lnlib.experiments transformer --workers 2`.

An interrupted sweep goes on where it stopped: its finished runs lie in a file of JSON lines beside
the one to be written until the sweep is whole.
"""

import argparse
from concurrent.futures import Executor
from pathlib import Path

import torch

from lnlib.experiments import (
    batches,
    conditional,
    fading,
    gan,
    generative,
    language,
    recurrent,
    regularization,
    reinforcement,
    sweeps,
    theory,
    vision,
)
from lnlib.experiments.workers import workers
from lnlib.randomness import VARIABLE, moved

SWEEPS = {
    name: sweep
    for page in (
        batches,
        conditional,
        fading,
        gan,
        generative,
        language,
        recurrent,
        regularization,
        reinforcement,
        theory,
        vision,
    )
    for name, sweep in page.SWEEPS.items()
}


def main() -> None:
    """Run one sweep and write it where the pages read it, or where one asks."""
    parser = argparse.ArgumentParser(prog="python -m lnlib.experiments", description=__doc__)
    parser.add_argument("name", choices=SWEEPS)
    parser.add_argument("--workers", type=int, default=1, help="processes, each on one thread")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="a Dask cluster to use instead")
    parser.add_argument(
        "--json", type=Path, metavar="FILE",
        help="where to write the sweep; by default over the recording that comes with lnlib",
    )  # fmt: skip
    options = parser.parse_args()
    if moved() and not options.json:
        parser.error(f"the book's recordings begin at seed 0; with {VARIABLE} name a --json FILE")
    path = options.json or Path(str(sweeps.RECORDINGS / f"{options.name}.json"))
    with workers(options.workers, options.scheduler) as executor:
        run_sweep(options.name, path, executor)
    print(path)


def run_sweep(name: str, path: Path, executor: Executor) -> None:
    """Run a sweep to its end, going on where it stopped, and write it.

    Raises:
        ValueError: if it was begun with another version of torch.
    """
    begun = f"{path.stem}.{moved()}.torch-"
    unfinished = path.with_name(f"{begun}{torch.__version__}.jsonl")
    for other in path.parent.glob(f"{begun}*.jsonl"):
        if other != unfinished:
            raise ValueError(
                f"{name}: the runs in {other} are of torch {other.stem.removeprefix(begun)}, "
                f"this is {torch.__version__}; go on with that version, or move the file away"
            )
    run, points = SWEEPS[name]
    sweeps.record(path, sweeps.sweep(run, points(), unfinished, executor))
    unfinished.unlink()


if __name__ == "__main__":
    main()
