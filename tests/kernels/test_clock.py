"""Times are taken in turns; what fails drops out, and what takes too long is stopped."""

import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from lnlib.kernels import clock

CPU, GPU = torch.device("cpu"), torch.device("cuda")


class Event:
    """A CUDA event, by a clock that moves when something runs."""

    now = 0.0

    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        self.at = Event.now

    def elapsed_time(self, other):
        return other.at - self.at


@pytest.fixture
def gpu(monkeypatch):
    """A GPU on which everything takes a millisecond."""
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: None)
    monkeypatch.setattr(clock, "CACHE", 8)
    made = clock._Gpu(CPU)
    zero = made.cache.zero_

    class Cache:
        def zero_(self):
            run()
            zero()

    made.cache = Cache()
    made.device = GPU
    return made


def run(ms=1.0):
    Event.now += ms


def fail():
    raise RuntimeError("no kernel for this shape")


def test_runs_in_turns():
    order = []
    runs = {name: lambda n=name: order.append(n) for name in "abc"}
    times, failed = clock.in_turns(runs, CPU, seconds=0)
    assert order == list("aabbcc") * (clock.ROUNDS[0] + 1)
    assert times.keys() == {*"abc"}
    assert not failed


def test_does_not_count_the_first_round_and_takes_the_shortest_on_a_cpu(monkeypatch):
    monkeypatch.setattr(clock.time, "perf_counter", lambda: Event.now / 1e3)
    lengths = iter([7, 90, 7, 3, 7, 1, 7, 2, 7, 50, 7, 4])  # of two runs a turn, the second counts
    times, _ = clock.in_turns({"a": lambda: run(next(lengths))}, CPU, seconds=0)
    assert times["a"] == clock.Times(*map(pytest.approx, (1, 2, 4)))


def test_takes_the_median_on_a_gpu(gpu, monkeypatch):
    lengths = iter([90, 3, 1, 2, 50, 4])
    monkeypatch.setattr(clock, "_Gpu", lambda device: gpu)
    times, _ = clock.in_turns({"a": lambda: run(next(lengths))}, torch.device("cuda"), seconds=0)
    assert times["a"].ms == 3


def test_goes_on_without_what_fails():
    calls = iter([run, run, fail])
    times, failed = clock.in_turns({"late": lambda: next(calls)(), "right": run}, CPU, seconds=0)
    assert times.keys() == {"right"}
    assert "no kernel" in str(failed["late"])


def test_a_gpu_clears_its_cache_before_each_run_and_times_the_run_alone(gpu):
    failed = {}
    before = Event.now
    times = gpu.round({"short": run, "long": lambda: run(5.0), "wrong": fail}, failed)
    assert Event.now - before == 1 + 3 + 6  # head start, clearing, runs
    assert {n: ms for n, (ms, _) in times.items()} == {"short": 1.0, "long": 5.0}
    assert times["short"][1] > 0  # microseconds of the host
    assert failed.keys() == {"wrong"}


def test_the_host_gets_the_head_start_that_it_needs(gpu):
    gpu.round({"slow to call": lambda: time.sleep(0.01)}, {})
    assert 15 <= gpu.head_start <= 100


def test_a_lost_gpu_names_who_lost_it(gpu, monkeypatch):
    def lost(device=None):
        raise RuntimeError("an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "synchronize", lost)
    with pytest.raises(clock.DeviceLost, match="wrong has left"):
        gpu.round({"right": run, "wrong": fail}, {})
    with pytest.raises(clock.DeviceLost) as silent:
        gpu.round({"right": run}, {})
    assert silent.value.culprit == ""


def test_a_graph_is_captured_on_the_stream_that_prepared_it(monkeypatch):
    told, here = [], ["default"]

    @contextmanager
    def on(name):
        here.append(name)
        yield
        here.pop()

    class Graph:
        def replay(self):
            told.append("replay")

    stream = SimpleNamespace(wait_stream=lambda other: None)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: on("side"))
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, stream: on("captured"))

    def prepare():
        told.append(f"prepared on {here[-1]}")
        return lambda: told.append(here[-1])

    replay = clock.graph_of(prepare, GPU)
    replay()
    assert told == ["prepared on side", "side", "side", "side", "captured", "replay"]


def test_stops_in_time_even_in_what_catches_exceptions(capsys):
    with clock.at_most(0.05):
        while True:
            try:
                time.sleep(10)
            except Exception:
                pass
    assert "stopped after 0.05 s" in capsys.readouterr().out
    with clock.at_most(None):
        pass
