"""A visit to a GPU: every step in its time, everything on the disk, nothing left running."""

import json
import os
import sys
import time
from pathlib import Path

import pytest
import torch

from lnlib.kernels import visit
from lnlib.kernels.visit import Step


def python(code):
    return [sys.executable, "-c", code]


def test_does_everything_in_order(tmp_path, monkeypatch):
    done = [*visit.steps(tmp_path)]
    assert [step.name for step in done] in (
        ["tests", "memcheck", "racecheck", "bench", "search"],
        ["tests", "memcheck", "bench", "search"],
    )
    tests = {Path(word).stem for word in done[0].command if word.endswith(".py")}
    assert tests == {
        f"test_{name}"
        for name in ("bytes", "derivatives", "host", "launch_search", "planted_bugs", "values")
    }
    monkeypatch.setattr(visit, "find_spec", lambda name: None)
    first = next(visit.steps(tmp_path))
    assert first.command is None
    assert "pytest is not installed" in first.note
    monkeypatch.setattr(visit, "TESTS", tmp_path / "none")
    assert "left out" in next(visit.steps(tmp_path)).note


@pytest.mark.parametrize("found", ["/usr/local/cuda/bin/compute-sanitizer", None])
def test_watches_if_it_can(tmp_path, monkeypatch, found):
    monkeypatch.setattr(visit.shutil, "which", lambda name, path: found)
    watched = [s for s in visit.steps(tmp_path) if "lnlib.kernels.visit" in (s.command or [])]
    assert [s.command[0] == found for s in watched] == ([True, True] if found else [False])
    assert all(bool(s.note) == (found is None) for s in watched)


def test_ends_a_step_with_all_it_has_started(tmp_path):
    sign = tmp_path / "sign of life"
    child = f"import time\nwhile True: open({str(sign)!r}, 'a').write('.'); time.sleep(0.05)"
    parent = "import subprocess, sys\nprint('begun', flush=True)\n"
    parent += f"subprocess.run([sys.executable, '-c', {child!r}])"
    log = tmp_path / "endless.log"
    told = visit.run(Step("endless", 1, python(parent)), 10, {**os.environ}, log)
    assert told["exit"] == "ended after 10 s"
    assert told["last"] == log.read_text().strip() == "begun"
    assert sign.exists()
    size = sign.stat().st_size
    time.sleep(0.5)
    assert sign.stat().st_size == size


def test_says_how_a_step_ended(tmp_path):
    failing = Step("failing", 1, python("import sys; print('no kernel'); sys.exit(3)"))
    told = visit.run(failing, 100, {**os.environ}, tmp_path / "failing.log")
    assert (told["step"], told["exit"], told["last"]) == ("failing", 3, "no kernel")
    budget = Step("bench", 1, python("import sys; print(*sys.argv[1:])"), stops=True)
    told = visit.run(budget, 100, {**os.environ}, tmp_path / "bench.log")
    assert told["last"] == f"--budget {100 - visit.RESERVE}"
    nothing = visit.run(Step("tests", 0, None, "left out"), 0, {}, tmp_path / "none.log")
    assert nothing == {"step": "tests", "note": "left out"}


def test_what_a_step_leaves_over_goes_to_those_that_follow(tmp_path, monkeypatch):
    now, limits = [1000.0], []

    def run(step, limit, environment, log):
        limits.append(limit)
        now[0] += {"short": 1.0, "long": limit, "last": limit}.get(step.name, 0.0)
        assert environment["TRITON_INTERPRET"] == "1" or torch.cuda.is_available()
        return {"step": step.name}

    steps = [Step("short", 1, []), Step("none", 0, None), Step("long", 1, []), Step("last", 2, [])]
    monkeypatch.setattr(visit, "steps", lambda folder: iter(steps))
    monkeypatch.setattr(visit, "run", run)
    monkeypatch.setattr(visit.time, "monotonic", lambda: now[0])
    visit.visit(100 + visit.RESERVE, tmp_path)
    assert limits == [25, 0, 33, 66]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [step["step"] for step in summary["steps"]] == ["short", "none", "long", "last"]
    assert {"revision", "seconds"} <= summary["provenance"].keys()


def test_the_program_that_is_watched_is_right(monkeypatch, capsys):
    pytest.importorskip("triton", reason="there is no Triton for this system")
    from lnlib import kernels
    from lnlib.kernels import operators

    monkeypatch.setattr(kernels, "DEVICES", kernels.DEVICES)
    monkeypatch.setattr(operators, "processors", operators.processors)
    monkeypatch.setattr(visit.problems, "usual_dtype", lambda device: torch.float16)
    visit.many_turns()
    said = capsys.readouterr().out
    for dtype in (torch.float16, torch.float32):
        assert [said.count(f"{dtype} 67×{n}: ") for n in (64, 1000, 1001)] == [4, 4, 4]
