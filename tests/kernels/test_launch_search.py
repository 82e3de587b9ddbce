"""The search climbs from the rule to the fastest launch that is right."""

from dataclasses import replace
from itertools import chain

import pytest
import torch

pytest.importorskip("triton", reason="there is no Triton for this system")
from kernel_cases import DEVICE

from lnlib.kernels import clock, launch, measure, problems, results, search
from lnlib.kernels.launch import Launch
from lnlib.kernels.problems import Problem, Shape
from lnlib.kernels.results import Result

HERE = torch.device(DEVICE)
PROBLEM = Problem("layer_norm", Shape(9, 64, "search"), torch.float32)


def nothing(problem, passed, launches):
    """Compiled beforehand."""


def found(problem, passed, speed, failing=()):
    """What a search sees of launches whose speed is known."""

    def measured(norms, problem, device, timed):
        assert timed == [passed]
        about = {"operation": problem.operation, "passed": passed, "dtype": "float32"}
        about |= {"rows": 9, "columns": 64, "why": "search", "copy_ms": 1.0}
        for name in norms:
            ms = None if name in failing else 1 / speed(name)
            yield Result(name, ms=ms, failure="" if ms else "out of resources", **about)

    return lambda *arguments: list(measured(*arguments))


def warps(name):
    return int(name.split("warps=")[1].split()[0])


def test_climbs_to_the_top_and_tries_nothing_twice(monkeypatch):
    peak = {1: 0.5, 2: 0.7, 4: 0.6, 8: 0.8, 16: 0.9, 32: 0.85}
    start = Launch("forward_kernel", 1, 64, 4)
    monkeypatch.setattr(results, "launches", lambda *arguments: (start,))
    monkeypatch.setattr(
        search, "measure", found(PROBLEM, "forward", lambda name: peak[warps(name)])
    )
    rows = [*chain(*search.climb(PROBLEM, "forward", HERE, nothing))]
    assert rows[0].contender == results.described([start])
    assert warps(max(rows, key=lambda r: r.of_copy).contender) == 16
    tops = [r.contender for r in rows if warps(r.contender) == 32]
    assert len(tops) == len({*tops})
    assert "best" in search.row_of_table(PROBLEM, "forward", rows)


def test_stays_where_gains_are_noise_and_passes_over_what_fails(monkeypatch):
    start = (Launch("forward_kernel", 1, 64, 4),)
    twice = results.described([replace(start[0], warps=8)])
    monkeypatch.setattr(results, "launches", lambda *arguments: start)
    measured = found(PROBLEM, "forward", lambda name: 0.9 + warps(name) / 1e5, {twice})
    monkeypatch.setattr(search, "measure", measured)
    rows = [*chain(*search.climb(PROBLEM, "forward", HERE, nothing))]
    assert [r.failure for r in rows if r.contender == twice] == ["out of resources"]
    assert "best" not in search.row_of_table(PROBLEM, "forward", rows)


def test_neighbours_of_every_launch_of_the_rule_differ_in_one_step():
    for columns in (64, 4096, 16384, 65536, 100_000):
        for how in (launch.forward(columns), *launch.backward(columns)):
            around = search.neighbours(how)
            assert around
            for other in around:
                assert other != how
                assert other.kernel == how.kernel
                assert 1 <= other.warps <= 32
                width = (how.columns * (how.strips or 1), other.columns * (other.strips or 1))
                assert how.strips is None or width[0] == width[1]


@pytest.mark.parametrize("passed", ["forward", "backward"])
@pytest.mark.parametrize("operation", problems.PLAIN)
def test_launches_are_right_however_they_are_launched(operation, passed, monkeypatch):
    monkeypatch.setattr(clock, "ROUNDS", (1, 1))
    problem = replace(PROBLEM, operation=operation)
    rule = results.launches(problem, passed, HERE)
    norms = {}
    for hows in (rule, tuple(replace(how, rows=(how.rows or 1) * 2, warps=2) for how in rule)):
        norms[results.described(hows)] = search.launched(operation, passed, hows)
    for row in measure.measure(norms, problem, HERE, [passed], seconds=0):
        assert (row.failure, row.passed) == ("", passed)
        assert row.error <= 1


def test_writes_after_every_step_and_prints_the_table(monkeypatch, tmp_path, capsys):
    path = tmp_path / "search.json"
    monkeypatch.setattr(clock, "ROUNDS", (1, 1))
    monkeypatch.setattr(search, "neighbours", lambda how: [replace(how, warps=2)])
    monkeypatch.setattr(search, "_problems", lambda device: [PROBLEM])
    search.search(path, torch.device("cpu") if DEVICE == "cpu" else HERE)
    table = capsys.readouterr().out.splitlines()
    assert [line.split()[2] for line in table if "rule" in line] == ["forward", "backward"]
    about, rows = results.load(path)
    assert {r.passed for r in rows} == {"forward", "backward"}
    assert "protocol" in about


def test_keeps_the_steps_before_the_time_was_up(monkeypatch, tmp_path):
    speeds = iter([warps, warps])

    def measured(*arguments):
        return found(PROBLEM, "forward", next(speeds, out_of_time))(*arguments)

    def out_of_time(name):
        raise clock.TimeUp

    monkeypatch.setattr(search, "measure", measured)
    monkeypatch.setattr(search, "_problems", lambda device: [PROBLEM])
    with pytest.raises(clock.TimeUp):
        search.search(tmp_path / "search.json", torch.device("cpu"))
    _, rows = results.load(tmp_path / "search.json")
    assert max(warps(r.contender) for r in rows) == 4 * warps(rows[0].contender)


def test_launches_are_compiled_side_by_side_before_they_are_timed(monkeypatch):
    compiled = []

    class Pool:
        def __init__(self, workers, context):
            assert 1 <= workers <= 8
            self.map = map

        def shutdown(self, wait, cancel_futures):
            assert (wait, cancel_futures) == (False, True)

    monkeypatch.setattr(search, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(search, "_compile", lambda *task: compiled.append(task))
    around = [(how,) for how in search.neighbours(launch.forward(64))]
    with search._compilers(torch.device("cuda")) as prepare:
        prepare(PROBLEM, "forward", around)
    assert [hows for _, _, hows in compiled] == around
    assert {(problem.shape.rows, passed) for problem, passed, _ in compiled} == {(64, "forward")}
