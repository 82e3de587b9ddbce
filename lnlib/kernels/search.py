"""Tune the launches of our kernels on the GPU that is here.

For every row length and each pass the search begins with the launch that `lnlib.kernels.launch`
chooses and times it in turns with its neighbours: half and twice as many rows, warps, programs; a
stage more or less. It goes on from the fastest and stops where no neighbour gains half a percent.
A launch is timed only if its results pass the gate.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lnlib.kernels import conditions, gate, operators, problems, results
from lnlib.kernels.launch import Launch
from lnlib.kernels.measure import PROTOCOL, measure
from lnlib.kernels.peers import Call
from lnlib.kernels.problems import PLAIN, Problem
from lnlib.kernels.results import Result, described

GAIN = 1.005  # a neighbour that is faster by less is noise
Launches = tuple[Launch, ...]


class _Launched(torch.autograd.Function):
    """A norm whose kernels are launched as one says."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w: Tensor, b: Tensor | None, eps: float, hows: dict[str, Launches]
    ) -> Any:
        kind: dict[str, Any] = {"columns": len(w), "eps": eps, "center": b is not None}
        kind["weight_offset"] = 0.0
        (how,) = hows.get("forward", (None,))
        y, _, stats = operators.forward(x, None, w, b, **kind, keep=True, how=how)
        ctx.save_for_backward(x, w, b, stats)
        ctx.kind, ctx.how = kind, hows.get("backward")
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, w, b, stats = ctx.saved_tensors
        wanted = (True, False, True, b is not None)
        dx, _, dw, db = operators.backward(
            dy, None, x, w, b, stats, **ctx.kind, wanted=wanted, how=ctx.how
        )
        return dx, dw, db, None, None


def launched(operation: str, passed: str, hows: Launches) -> Call:
    """Return a norm whose forward or backward pass is launched in this way."""

    def norm(x: Tensor, w: Tensor, b: Tensor, eps: float) -> Any:
        bias = b if operation == "layer_norm" else None
        return _Launched.apply(x, w, bias, eps, {passed: hows})  # type: ignore[no-untyped-call]

    return norm


def neighbours(how: Launch) -> list[Launch]:
    """Return the launches one step away.

    Example:
        >>> [(h.rows, h.warps) for h in neighbours(Launch("forward_kernel", 2, 512, 4))]
        [(4, 4), (1, 4), (2, 8), (2, 2)]
    """
    steps = []
    for name in ("rows", "warps", "programs"):
        if value := getattr(how, name):
            steps += [{name: value * 2}, {name: value // 2}]
    if how.stages:
        steps += [{"stages": how.stages + 1}, {"stages": how.stages - 1}]
    if how.strips:
        steps += [{"strips": how.strips * 2, "columns": how.columns // 2}]
        steps += [{"strips": how.strips // 2, "columns": how.columns * 2}]
    elif how.rows is None:
        steps += [{"columns": how.columns * 2}, {"columns": how.columns // 2}]
    possible = (s for s in steps if min(s.values()) >= 1 and s.get("warps", 1) <= 32)
    return [replace(how, **step) for step in possible]


def climb(
    problem: Problem, passed: str, device: torch.device,
    prepare: Callable[[Problem, str, Iterable[Launches]], None],
) -> Iterator[list[Result]]:  # fmt: skip
    """Yield what the launches reach at each step on the way to the fastest.

    Args:
        problem: an operation without residual, a shape, a dtype.
        passed: "forward" or "backward".
        device: what to run on.
        prepare: is told of the launches before they are timed.
    """
    best, seen = results.launches(problem, passed, device), set[Launches]()
    while True:
        around = [
            (*best[:i], other, *best[i + 1 :])
            for i, how in enumerate(best)
            for other in neighbours(how)
        ]
        fresh = [best, *(hows for hows in around if hows not in seen)]
        if len(fresh) == 1:
            return
        seen.update(fresh)
        named = {described(hows): hows for hows in fresh}
        prepare(problem, passed, fresh)
        norms = {name: launched(problem.operation, passed, hows) for name, hows in named.items()}
        found = measure(norms, problem, device, [passed])
        yield found
        speed = {row.contender: row.of_copy or 0 for row in found}
        name = max(speed, key=speed.__getitem__)
        if speed[name] <= GAIN * speed[described(best)]:
            return
        best = named[name]


def search(path: Path | None, device: torch.device) -> None:
    """Climb from the rule to the fastest launch for every row length, norm and pass; print a table.

    Args:
        path: a recording that is written after every step.
        device: what to run on.

    Raises:
        DeviceLost: a launch has left the GPU unusable.
    """
    about, rows = conditions.provenance(device) | {"protocol": PROTOCOL}, list[Result]()
    with _compilers(device) as prepare:
        for problem in _problems(device):
            for passed in ("forward", "backward"):
                found: list[Result] = []
                for step in climb(problem, passed, device, prepare):
                    found += step
                    if path:
                        results.write(path, about, map(asdict, rows + found))
                rows += found
                print(row_of_table(problem, passed, found), flush=True)


def row_of_table(problem: Problem, passed: str, found: list[Result]) -> str:
    """Return what the rule reaches, and the fastest launch where it is another."""
    first, best = found[0], max(found, key=lambda row: row.of_copy or 0)
    head = f"{problem.operation:10} {problem.shape.columns:>6} {passed:8} rule"
    rule = f"{first.of_copy:.3f} {first.contender}" if first.of_copy else first.failure
    if best.of_copy and best.of_copy > GAIN * (first.of_copy or 0):
        return f"{head} {rule}\n{'best':>31} {best.of_copy:.3f} {best.contender}"
    return f"{head} {rule}"


def _problems(device: torch.device) -> list[Problem]:
    small = problems.interpreting()
    shapes = problems.sweep(2048, (64, 1000)) if small else problems.sweep(problems.fitting(device))
    return [Problem(o, shape, problems.usual_dtype(device)) for shape in shapes for o in PLAIN]


@contextmanager
def _compilers(
    device: torch.device,
) -> Iterator[Callable[[Problem, str, Iterable[Launches]], None]]:
    """Yield what compiles launches in many processes, into the cache on the disk."""
    if device.type != "cuda":
        yield lambda problem, passed, launches: None
        return
    pool = ProcessPoolExecutor(min(8, os.cpu_count() or 1), get_context("spawn"))

    def prepare(problem: Problem, passed: str, launches: Iterable[Launches]) -> None:
        few = replace(problem, shape=replace(problem.shape, rows=64))
        list(pool.map(_compile, *zip(*((few, passed, hows) for hows in launches), strict=True)))

    try:
        yield prepare
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _compile(problem: Problem, passed: str, hows: Launches) -> None:
    device = torch.device("cuda")
    norm = launched(problem.operation, passed, hows)
    try:
        gate.outputs(norm, problem.operation, problems.data(problem, device))
    except Exception:  # it will fail again where that is noted
        return
