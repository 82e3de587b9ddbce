"""Check contenders and time those that pass: one problem, all passes, all in turns."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
import torch._functorch.config as functorch

from lnlib import kernels
from lnlib.kernels import problems, results
from lnlib.kernels.clock import CACHE, ROUNDS, Times, alive, graph_of, in_turns
from lnlib.kernels.gate import Data, deviation, passes
from lnlib.kernels.peers import FORWARD_ONLY, Call
from lnlib.kernels.problems import Problem
from lnlib.kernels.results import TENSORS, Result

SMALL = 2**26  # bytes of a tensor below which a graph is timed, too: launches count
PROTOCOL = (
    "each contender checked against float64 on all rows, then in turns with a copy and an addition "
    f"(two reads, one write), {ROUNDS[0]} to {ROUNDS[1]} rounds after one that does not count; "
    f"median, quantiles .2 and .8; before each run {CACHE >> 20} MiB are written to empty the "
    "cache; ms: CUDA events with the host ahead; host_us: from call to return; forward: without "
    "gradients; graph_ms: replay of a CUDA graph, for tensors below 64 MiB; on a CPU instead the "
    "shortest wall time, after a pause and a run that does not count, with no cache emptied and "
    "freed memory kept"
)


def measure(
    norms: dict[str, Call], problem: Problem, device: torch.device,
    timed: Sequence[str] = tuple(TENSORS), seconds: float | None = None,
) -> list[Result]:  # fmt: skip
    """Check contenders on one problem, then time them; one that fails says so instead of a time.

    Args:
        norms: the contenders, as from `peers.contenders`.
        problem: what they compute.
        device: what they run on.
        timed: of "forward", "backward" and "both", those that are timed.
        seconds: how long the rounds of each pass may go on, see `clock.in_turns`.

    Raises:
        DeviceLost: a contender has left the GPU unusable.
    """
    data = problems.data(problem, device)
    ready, errors, failures = {}, {}, {}
    with functorch.patch(donated_buffer=False):  # a compiled pass back runs many times
        for name, norm in norms.items():
            back = name not in FORWARD_ONLY
            try:
                errors[name] = deviation(norm, problem.operation, data, back=back)
                if not errors[name] <= 1:
                    failures[name] = f"{errors[name]:.2g} times the error that rounding explains"
                else:
                    ready[name] = passes(norm, problem.operation, data, back=back)
            except Exception as failure:  # another project's, and part of the result
                failures[name] = _short(failure)
                alive(device, name, failure)
        turns = {p: _turns(p, ready, data, device, seconds) for p in timed}
        few = {n: norms[n] for n in ready}
        graphs = _graphs(few, problem.operation, timed, data, device, seconds)
    return [
        Result(
            contender=name,
            passed=passed,
            **problem.about,
            copy_ms=times["copy"].ms,
            add_ms=times["add"].ms,
            **(asdict(times[name]) if name in times else {}),
            graph_ms=graphs.get((name, passed)),
            error=errors[name] if math.isfinite(errors.get(name, math.nan)) else None,
            launch=_launched(problem, passed, device) if name == "lnlib" else "",
            failure=failures.get(name) or (_short(failed[name]) if name in failed else ""),
        )
        for name in norms
        for passed, (times, failed) in turns.items()
        if passed == "forward" or name not in FORWARD_ONLY
    ]


def _turns(
    passed: str, ready: dict[str, Any], data: Data, device: torch.device, seconds: float | None
) -> tuple[dict[str, Times], dict[str, Exception]]:
    """Time one pass of all contenders, and the yardsticks."""
    one, other = data.cotangents[0], data.inputs[0].contiguous()
    target = torch.empty_like(one)
    runs = {"copy": lambda: target.copy_(one), "add": lambda: torch.add(one, other, out=target)}
    return in_turns(
        runs | {n: run[passed] for n, run in ready.items() if passed in run}, device, seconds
    )


def _graphs(
    norms: dict[str, Call], operation: str, timed: Sequence[str], data: Data,
    device: torch.device, seconds: float | None,
) -> dict[tuple[str, str], float]:  # fmt: skip
    """Time the passes once more as graphs, where launches count and as far as they are captured."""
    if device.type != "cuda" or data.inputs[0].nbytes >= SMALL:
        return {}
    replays = {}
    for name, norm in norms.items():
        for passed in timed:
            try:
                prepare = lambda n=norm, p=passed: passes(n, operation, data)[p]  # noqa: E731
                replays[f"{name} {passed}"] = graph_of(prepare, device)
            except Exception as failure:
                alive(device, name, failure)
    times, _ = in_turns(replays, device, seconds)
    return {(n, p): times[f"{n} {p}"].ms for n in norms for p in timed if f"{n} {p}" in times}


def _launched(problem: Problem, passed: str, device: torch.device) -> str:
    if device.type not in kernels.DEVICES:
        return ""
    each = ("forward", "backward") if passed == "both" else (passed,)
    return results.described(how for p in each for how in results.launches(problem, p, device))


def _short(failure: Exception) -> str:
    return " ".join(repr(failure).split())[:300]
