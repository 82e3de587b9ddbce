"""Layer norm and RMSNorm on this device: all that is installed, side by side, against a copy.

Each contender is checked against float64 on all rows before it is timed. Those that pass run in
turns with two yardsticks: a copy, and an addition that reads two tensors and writes one. Every
shape of the sweep moves the same bytes, so that short rows are not judged by the cost of a launch.
The file is written after every shape, and a contender that fails says so in it.

    python -m lnlib.kernels.bench --json my_device.json               # measure
    python -m lnlib.kernels.bench --json my_device.json --budget 300  # for 300 s at most
    python -m lnlib.kernels.bench --search --json my_search.json      # tune launches on this GPU
    python -m lnlib.kernels.bench --visit 600 --json visit/           # tests and all of this
    python -m lnlib.pages.speed my_device.json                        # draw what was measured

With `TRITON_INTERPRET=1` and no GPU, everything runs in Triton's interpreter on small shapes: a
rehearsal, in which times mean nothing.
"""

import argparse
import math
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch

from lnlib import kernels
from lnlib.kernels import conditions, peers, problems, results
from lnlib.kernels.clock import DeviceLost, at_most, keep_memory
from lnlib.kernels.measure import PROTOCOL, measure
from lnlib.kernels.results import Result
from lnlib.kernels.search import search
from lnlib.kernels.visit import visit


def bench(path: Path | None, device: torch.device, *, go_on: bool, without: list[str]) -> None:
    """Measure every problem that the file does not hold yet.

    Args:
        path: a recording that is written after every problem.
        device: what to measure.
        go_on: keep what the file holds.
        without: contenders that are left out.

    Raises:
        DeviceLost: a contender has left the GPU unusable.
    """
    found: list[Result] = []
    about = conditions.provenance(device) | {"protocol": PROTOCOL, "states": []}
    if go_on and path and path.exists():
        about, found = results.load(path)

    def write() -> None:
        if path:
            results.write(path, about, map(asdict, found))

    for problem in problems.problems(device):
        named = problem.about
        if any(named.items() <= asdict(row).items() for row in found):
            continue
        norms = peers.contenders(problem.operation)
        try:
            rows = measure({n: c for n, c in norms.items() if n not in without}, problem, device)
        except DeviceLost as lost:
            about["lost"] = {**about.get("lost", {}), lost.culprit: str(lost)}
            write()
            raise
        about["states"].append(named | conditions.state(device))
        found += rows
        print(*filter(None, [*map(results.line, rows), results.host(rows)]), sep="\n", flush=True)
        write()
        torch.compiler.reset()
        torch.cuda.empty_cache()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m lnlib.kernels.bench", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the measurements")
    parser.add_argument("--budget", type=float, metavar="SECONDS", help="stop in time")
    parser.add_argument("--go-on", action="store_true", help="keep what FILE holds")
    parser.add_argument(
        "--without", action="append", default=[], metavar="NAME", help="leave it out"
    )
    parser.add_argument("--search", action="store_true", help="tune the launches instead")
    parser.add_argument("--visit", type=float, metavar="SECONDS", help="all, into the folder FILE")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if options.visit:
        visit(options.visit, options.json or Path("visit"))
        return
    keep_memory()
    if problems.interpreting():
        kernels.DEVICES = ("cpu",)
        options.without.append("torch.compile")  # compiling takes longer than a rehearsal may
    end, lost = time.monotonic() + (options.budget or math.inf), None
    with at_most(options.budget):
        try:
            if options.search:
                search(options.json, device)
            else:
                bench(options.json, device, go_on=options.go_on, without=options.without)
        except DeviceLost as failure:
            lost = failure
    if lost:
        print(lost, flush=True)
        if options.search or not (options.json and lost.culprit):
            raise SystemExit(1)
        again = ["--json", str(options.json), "--go-on"]
        for name in [*options.without, lost.culprit]:
            again += ["--without", name]
        if options.budget:
            again += ["--budget", str(max(1.0, end - time.monotonic()))]
        os.execv(sys.executable, [sys.executable, "-m", "lnlib.kernels.bench", *again])


if __name__ == "__main__":
    main()
