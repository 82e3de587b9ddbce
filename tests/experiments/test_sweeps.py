"""Sweeps: every point once, resumed where they stopped, chosen without a look at the test."""

import json
import sys

import pytest

from lnlib.experiments import Recording, choose, recorded, sweep, sweeps
from lnlib.experiments.__main__ import SWEEPS, main, run_sweep
from lnlib.experiments.workers import workers
from lnlib.randomness import SEED, VARIABLE

POINTS = [{"x": x, "name": name} for x in (1, 2, 3) for name in ("a", "b")]


def square(x, name):
    return {"square": x * x}


def test_workers_change_nothing(tmp_path):
    alone = sweep(square, POINTS, tmp_path / "one.jsonl")
    with workers(2) as executor:
        together = sweep(square, POINTS, tmp_path / "two.jsonl", executor)
    assert alone == together == [{**p, "square": p["x"] ** 2} for p in POINTS]


def test_an_interrupted_sweep_resumes_where_it_stopped(tmp_path):
    path, calls = tmp_path / "runs.jsonl", []

    def interrupted(x, name):
        if len(calls) == 4:
            raise KeyboardInterrupt
        calls.append((x, name))
        return square(x, name)

    with pytest.raises(KeyboardInterrupt):
        sweep(interrupted, POINTS, path)
    assert len(calls) == len(path.read_text().splitlines()) == 4
    with path.open("a") as file:
        file.write('{"x": 3, "na')  # cut off while it was written
    resumed = []

    def second(x, name):
        resumed.append((x, name))
        return square(x, name)

    assert sweep(second, POINTS, path) == [{**p, "square": p["x"] ** 2} for p in POINTS]
    assert resumed == [(p["x"], p["name"]) for p in POINTS[4:]]
    assert len([json.loads(line) for line in path.read_text().splitlines()]) == 6


def test_a_failing_run_loses_none_that_is_finished(tmp_path):
    def failing(x, name):
        if x == 2:
            raise RuntimeError("as planned")
        return square(x, name)

    with pytest.raises(RuntimeError, match="as planned"):
        sweep(failing, POINTS, tmp_path / "runs.jsonl")
    assert len((tmp_path / "runs.jsonl").read_text().splitlines()) == 2


def test_a_repeated_point_is_refused(tmp_path):
    with pytest.raises(ValueError, match="points: expected each once, got 1 repeated"):
        sweep(square, [*POINTS, POINTS[0]], tmp_path / "runs.jsonl")


def runs(norm, rate, validation, test=0.0):
    return [
        {"norm": norm, "learning_rate": rate, "seed": i, "validation": v, "test": test}
        for i, v in enumerate(validation)
    ]


def test_the_choice_is_each_arms_own_and_spurns_divergence():
    rows = [
        *runs("LN", 0.1, [1.0, None]),  # one seed diverged
        *runs("LN", 0.01, [2.0, 2.2], test=9.0),
        *runs("LN", 0.001, [2.0, 2.4], test=-9.0),  # better on the test data
        *runs("BN", 0.1, [3.0, 3.0]),
        *runs("BN", 0.01, [4.0, 4.0]),
    ]
    chosen = choose(rows, ["norm"])
    assert chosen[("LN",)] == runs("LN", 0.01, [2.0, 2.2], test=9.0)
    assert [row["learning_rate"] for row in chosen[("BN",)]] == [0.1, 0.1]


@pytest.mark.parametrize("name", SWEEPS)
def test_recordings_hold_every_point_of_their_sweep(name):
    recording, points = recorded(name), SWEEPS[name][1]()
    rows = zip(recording.rows, points, strict=True)
    assert [{key: row[key] for key in point} for row, point in rows] == points
    assert {"date", "python", "torch", "machine", "seed"} == recording.provenance.keys()
    assert recording.provenance["seed"] == 0


def test_a_sweep_is_recorded_where_one_asks(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(SWEEPS, "squares", (square, lambda: POINTS))
    monkeypatch.setattr(sys, "argv", ["", "squares", "--json", "found.json"])
    main()
    assert capsys.readouterr().out == "found.json\n"
    assert [path.name for path in tmp_path.iterdir()] == ["found.json"]
    recording = Recording(**json.loads((tmp_path / "found.json").read_text()))
    assert recording.where(x=3) == [{"x": 3, "name": name, "square": 9} for name in "ab"]


def test_a_sweep_is_not_finished_with_another_torch(tmp_path, monkeypatch):
    monkeypatch.setitem(SWEEPS, "squares", (square, lambda: POINTS))
    begun = tmp_path / f"found.{SEED}.torch-1.0.0.jsonl"
    begun.write_text('{"x": 1, "name": "a", "square": 1}\n')
    with workers(1) as executor, pytest.raises(ValueError, match=r"are of torch 1\.0\.0, this is"):
        run_sweep("squares", tmp_path / "found.json", executor)
    assert [path.name for path in tmp_path.iterdir()] == [begun.name]


def test_an_unknown_recording_says_how_to_make_it():
    with pytest.raises(FileNotFoundError, match=r"python -m lnlib\.experiments nothing"):
        recorded("nothing")


def test_a_recording_that_was_cut_off_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("LNLIB_RECORDINGS", str(tmp_path))
    whole = (sweeps.RECORDINGS / "gan.json").read_text()
    (tmp_path / "gan.json").write_text(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"gan\.json was cut off .* lnlib\.experiments gan"):
        recorded("gan")
    (tmp_path / "gan.json").unlink()
    assert recorded("gan").rows


def test_the_recordings_of_the_book_begin_at_seed_0(monkeypatch, capsys):
    monkeypatch.setenv(VARIABLE, "5")
    monkeypatch.setattr(sys, "argv", ["", "gan"])
    with pytest.raises(SystemExit):
        main()
    assert "with LNLIB_SEED name a --json FILE" in capsys.readouterr().err
