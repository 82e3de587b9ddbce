"""Record a sweep: `python -m lnlib.experiments transformer --workers 2`.

An interrupted sweep goes on where it stopped: its finished runs lie in a file of JSON lines in the
current folder until the sweep is whole.
"""

import argparse
from pathlib import Path

from lnlib.experiments import (
    conditional,
    generative,
    recurrent,
    reinforcement,
    sweeps,
    theory,
    transformer,
)

SWEEPS = {
    name: sweep
    for page in (conditional, generative, recurrent, reinforcement, theory, transformer)
    for name, sweep in page.SWEEPS.items()
}


def main() -> None:
    """Run one sweep and write it where the pages read it, or where one asks."""
    parser = argparse.ArgumentParser(prog="python -m lnlib.experiments", description=__doc__)
    parser.add_argument("name", choices=SWEEPS)
    parser.add_argument("--workers", type=int, default=1, help="processes, each on one thread")
    parser.add_argument(
        "--json", type=Path, metavar="FILE",
        help="where to write the sweep; by default over the recording that comes with lnlib",
    )  # fmt: skip
    options = parser.parse_args()
    path = options.json or Path(str(sweeps.RECORDINGS / f"{options.name}.json"))
    unfinished = Path(f"{options.name}.jsonl")
    run, points = SWEEPS[options.name]
    sweeps.record(path, sweeps.sweep(run, points(), unfinished, workers=options.workers))
    print(path)
    unfinished.unlink()


if __name__ == "__main__":
    main()
