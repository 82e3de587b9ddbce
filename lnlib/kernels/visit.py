"""All that a GPU has to tell, in a given time: tests, sanitizer, measurement, search.

Each step is a process of its own, ended when its share of the time is over; what a step leaves over
goes to those that follow. Everything is written into a folder as it comes. Nothing is needed but
torch and Triton, and where pytest or the sanitizer is missing, the summary says so.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import torch

from lnlib import kernels
from lnlib.kernels import conditions, operators, peers, problems
from lnlib.kernels.gate import deviation
from lnlib.kernels.problems import Problem, Shape

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests" / "kernels"
NO_KERNELS = ("bench", "clock", "cpu", "gate", "machine_code", "visit")  # tests that launch none
RESERVE = 6.0  # seconds to begin and to end: of a step, and of the visit


@dataclass
class Step:
    """A command, its share of the time, and what should be known about it.

    Without a command there is only the note. `stops` says that it takes a budget.
    """

    name: str
    share: float
    command: list[str] | None
    note: str = ""
    stops: bool = False
    environment: dict[str, str] = field(default_factory=dict)


def steps(folder: Path) -> Iterator[Step]:
    """Yield what is done, in order; without a command, only what is said about it."""
    if not TESTS.exists():
        yield Step("tests", 0, None, f"there is no {TESTS}: left out")
    elif not find_spec("pytest"):
        yield Step("tests", 0, None, "pytest is not installed: left out")
    else:
        files = sorted(TESTS.glob("test_*.py"), reverse=True)  # values first
        some = [str(f) for f in files if f.stem.removeprefix("test_") not in NO_KERNELS]
        alone = ["-c", os.devnull, f"--rootdir={ROOT}", f"--confcutdir={TESTS}"]
        command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", *alone, *some]
        yield Step("tests", 25, command, environment={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"})
    sanitizer = shutil.which("compute-sanitizer", path=f"{os.environ['PATH']}:/usr/local/cuda/bin")
    note = "" if sanitizer else "compute-sanitizer is not installed: the same program without it"
    for tool in ("memcheck", "racecheck"):
        watched = [sanitizer, "--tool", tool, "--error-exitcode", "9"] if sanitizer else []
        command = [*watched, sys.executable, "-m", "lnlib.kernels.visit"]
        yield Step(tool, 15, command, note, environment={"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"})
        if not sanitizer:
            break
    measuring = [sys.executable, "-m", "lnlib.kernels.bench"]
    yield Step("bench", 40, [*measuring, "--json", str(folder / "bench.json")], stops=True)
    searching = [*measuring, "--search", "--json", str(folder / "search.json")]
    yield Step("search", 25, searching, stops=True)


def visit(seconds: float, folder: Path) -> list[dict[str, Any]]:
    """Do all steps in the time given and return the summary, which is also in the folder.

    Args:
        seconds: after which everything has ended.
        folder: for the logs, the recordings and the summary.
    """
    end, folder = time.monotonic() + seconds - RESERVE, folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    about = conditions.provenance(device) | {"seconds": seconds}
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
    if device.type == "cpu":
        print("no GPU: a rehearsal in Triton's interpreter, in which times mean nothing")
        environment["TRITON_INTERPRET"] = "1"
    todo, done = list(steps(folder)), list[dict[str, Any]]()
    for i, step in enumerate(todo):
        left = end - time.monotonic()
        limit = left * step.share / (sum(s.share for s in todo[i:]) or 1)
        log = folder / f"{step.name}.log"
        done.append(run(step, limit, environment, log))
        summary = {"provenance": about, "steps": done}
        (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
        print(" ".join(f"{key}={value}" for key, value in done[-1].items()), flush=True)
    return done


def run(step: Step, limit: float, environment: dict[str, str], log: Path) -> dict[str, Any]:
    """Run a step, end it with all it has started when its time is over, and say how it went."""
    told: dict[str, Any] = {"step": step.name} | ({"note": step.note} if step.note else {})
    if step.command is None:
        return told
    command = [*step.command]
    if step.stops:
        command += ["--budget", f"{max(1.0, limit - RESERVE):.1f}"]
    start = time.monotonic()
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT,
            env=environment | step.environment, start_new_session=True,
        )  # fmt: skip
        try:
            told["exit"] = process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            told["exit"] = f"ended after {limit:.0f} s"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # and what it has left behind
            process.wait()
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return told | {
        "seconds": round(time.monotonic() - start, 1),
        "last": lines[-1] if lines else "",
    }


def many_turns() -> None:
    """Run every kernel with several turns a program, ragged at the end; raise if one is wrong.

    First in the GPU's usual 16 bits, for which there are kernels of their own, then in float32.
    Rows of 1001 entries begin at no multiple of 16 bytes.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    _, shared = operators.processors(device)
    operators.processors = lambda device: (2, shared)
    kernels.DEVICES = (device.type,)
    long = () if problems.interpreting() else (4096, 9000, 16384, 40000)
    dtypes = dict.fromkeys((problems.usual_dtype(device), torch.float32))
    for dtype, columns in product(dtypes, (64, 1000, 1001, *long)):
        for operation in (*problems.PLAIN, *problems.ADDED):
            problem = Problem(operation, Shape(67, columns, ""), dtype)
            error = deviation(peers.of_lnlib(operation), operation, problems.data(problem, device))
            about = f"{operation} {dtype} 67×{columns}"
            print(f"{about}: {error:.2g} of what rounding explains", flush=True)
            if not error <= 1:
                raise SystemExit(1)


if __name__ == "__main__":
    many_turns()
