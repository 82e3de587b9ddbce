"""Time calls in turns, so that what drifts drifts for all of them alike.

On a CPU a turn begins with a pause, in which the threads of the one before fall asleep, and a run
that does not count, which wakes one's own; of all turns the shortest counts, because what else the
computer does can only lengthen one. On a GPU each run finds a cold second-level cache and is
timed by CUDA events with the host ahead: the device's time, without waiting for orders. What the
host needs for a call is timed beside it.
"""

import ctypes
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

Run = Callable[[], Any]
ROUNDS = 5, 31  # at least, at most
SECONDS = {"cuda": 0.25, "cpu": 4.0}
CACHE = 2**28  # bytes written before each run: more than any cache of the second level
PAUSE = 0.01  # s on a CPU; some libraries' threads look out for work for milliseconds
KEPT = {-1: 2**31 - 1, -3: 2**25}  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD: bytes, the most there are
MOST_CLEARED = 100  # times, while the host gets ahead: a queue holds about a thousand orders


class DeviceLost(RuntimeError):
    """No call can use the GPU any more in this process; `culprit` ran last ("": not known)."""

    def __init__(self, culprit: str, failure: Exception) -> None:
        super().__init__(f"{culprit or 'a call'} has left the GPU unusable: {failure!r}")
        self.culprit = culprit


@dataclass(frozen=True)
class Times:
    """Median of all turns, on a CPU the shortest; one and four fifths; the host's time."""

    ms: float
    low_ms: float
    high_ms: float
    host_us: float | None = None


def alive(device: torch.device, culprit: str, failure: Exception) -> None:
    """Raise `DeviceLost` if a failure was one that a process does not recover from."""
    if device.type == "cuda":
        try:
            torch.cuda.synchronize(device)
        except Exception:
            raise DeviceLost(culprit, failure) from failure


def keep_memory() -> None:
    """Let the C library of Linux keep what is freed; elsewhere, do nothing.

    Else it hands large tensors back to the system, which gives them out again page by page: a cost
    that hits now one, now the other, as the order of what is freed will have it.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", lambda *setting: None)  # glibc alone has it
        for setting in KEPT.items():
            mallopt(*setting)


def in_turns(
    runs: dict[str, Run], device: torch.device, seconds: float | None = None
) -> tuple[dict[str, Times], dict[str, Exception]]:
    """Return the times of several calls, and what those raised that failed.

    Args:
        runs: the calls; each runs once in every round.
        device: what they run on.
        seconds: how long to go on, between the limits `ROUNDS`; by default a quarter of a second on
            a GPU, four seconds on a CPU. A first round does not count.

    Raises:
        DeviceLost: a call has left the GPU unusable.

    Example:
        >>> times, failed = in_turns({"right": dict, "wrong": lambda: 1 / 0}, torch.device("cpu"))
        >>> list(times), failed
        (['right'], {'wrong': ZeroDivisionError('division by zero')})
    """
    once = _Gpu(device).round if device.type == "cuda" else _round_on_cpu
    failed: dict[str, Exception] = {}
    rounds: list[dict[str, tuple[float, float | None]]] = []
    seconds, end = SECONDS[device.type] if seconds is None else seconds, math.inf
    while len(rounds) <= ROUNDS[0] or (time.monotonic() < end and len(rounds) <= ROUNDS[1]):
        rounds.append(once({n: run for n, run in runs.items() if n not in failed}, failed))
        end = min(end, time.monotonic() + seconds)
    middle = 0.5 if device.type == "cuda" else 0.0
    times = {n: _quantiles([r[n] for r in rounds[1:]], middle) for n in runs if n not in failed}
    return times, failed


def _quantiles(samples: list[tuple[float, float | None]], middle: float) -> Times:
    def at(q: float, values: list[float]) -> float:
        return sorted(values)[round(q * (len(values) - 1))]

    device = [ms for ms, _ in samples]
    host = [us for _, us in samples if us is not None]
    return Times(
        at(middle, device), at(0.2, device), at(0.8, device), at(0.5, host) if host else None
    )


def _round_on_cpu(
    runs: dict[str, Run], failed: dict[str, Exception]
) -> dict[str, tuple[float, float | None]]:
    times: dict[str, tuple[float, float | None]] = {}
    for name, run in runs.items():
        time.sleep(PAUSE)
        try:
            run()
            start = time.perf_counter()
            run()
        except Exception as failure:
            failed[name] = failure
        else:
            times[name] = (time.perf_counter() - start) * 1e3, None
    return times


class _Gpu:
    """Rounds on a GPU; the longer the host needs for one, the greater its head start in the next.

    It gets the head start while the GPU clears the cache again and again.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.head_start = device, 1
        self.cache = torch.empty(CACHE, dtype=torch.int8, device=device)

    def round(
        self, runs: dict[str, Run], failed: dict[str, Exception]
    ) -> dict[str, tuple[float, float | None]]:
        clear = self._events()
        clear[0].record()
        for _ in range(self.head_start):
            self.cache.zero_()
        clear[1].record()
        host, events = {}, {}
        for name, run in runs.items():
            self.cache.zero_()
            events[name] = self._events()
            events[name][0].record()
            start = time.perf_counter()
            try:
                run()
            except Exception as failure:
                failed[name] = failure
                alive(self.device, name, failure)
            else:
                host[name] = (time.perf_counter() - start) * 1e3
                events[name][1].record()
        try:
            torch.cuda.synchronize(self.device)
        except Exception as failure:
            raise DeviceLost("", failure) from failure
        cleared = clear[0].elapsed_time(clear[1]) / self.head_start
        wanted = math.ceil(1.5 * sum(host.values()) / cleared)
        self.head_start = min(max(wanted, 1), MOST_CLEARED)
        return {n: (events[n][0].elapsed_time(events[n][1]), 1e3 * ms) for n, ms in host.items()}

    def _events(self) -> tuple[Any, Any]:
        return torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)


def graph_of(prepare: Callable[[], Run], device: torch.device) -> Run:
    """Capture a call in a CUDA graph and return its replay: the kernels without the host.

    Args:
        prepare: returns the call; what it does before is not captured, but on the same stream,
            because a backward pass runs on the stream of its forward pass.
        device: a GPU.
    """
    stream, graph = torch.cuda.Stream(device), torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        run = prepare()
        for _ in range(3):
            run()
    torch.cuda.current_stream(device).wait_stream(stream)
    with torch.cuda.graph(graph, stream=stream):
        run()

    def replay(kept: Run = run) -> None:  # the graph reads its tensors
        graph.replay()

    return replay


class TimeUp(BaseException):
    """No `Exception`, so that nobody takes it for the failure of a contender."""


@contextmanager
def at_most(seconds: float | None) -> Iterator[None]:
    """Leave the block after so many seconds, wherever it is; None for no limit.

    Example:
        >>> with at_most(0.01):
        ...     while True:
        ...         pass
        stopped after 0.01 s
    """
    if seconds is None:
        yield
        return

    def stop(*_: Any) -> None:
        raise TimeUp

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except TimeUp:
        print(f"stopped after {seconds:g} s", flush=True)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
