"""Record a sweep: `python -m lnlib.experiments transformer --workers 2`.

An interrupted sweep goes on where it stopped: its finished runs lie in a file of JSON lines in the
current folder until the sweep is whole.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

from lnlib.experiments import generative, recurrent, reinforcement, sweeps, theory, transformer

SWEEPS: dict[str, tuple[Callable[..., sweeps.Row], Callable[[], list[sweeps.Row]]]] = {
    "deep": (transformer.run_deep, transformer.deep_points),
    "gan": (generative.run_gan, generative.gan_points),
    "generative": (generative.run, generative.points),
    "recurrent": (recurrent.run, recurrent.points),
    "reinforcement": (reinforcement.run, reinforcement.points),
    "theory": (theory.run, theory.points),
    "transformer": (transformer.run, transformer.points),
}


def main() -> None:
    """Run one sweep and write it into the package."""
    parser = argparse.ArgumentParser(prog="python -m lnlib.experiments", description=__doc__)
    parser.add_argument("name", choices=SWEEPS)
    parser.add_argument("--workers", type=int, default=1, help="processes, each on one thread")
    arguments = parser.parse_args()
    run, points = SWEEPS[arguments.name]
    unfinished = Path(f"{arguments.name}.jsonl")
    rows = sweeps.sweep(run, points(), unfinished, workers=arguments.workers)
    print(sweeps.record(arguments.name, rows))
    unfinished.unlink()


if __name__ == "__main__":
    main()
