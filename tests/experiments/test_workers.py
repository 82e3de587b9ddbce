"""Workers: processes or a Dask cluster give the same rows, and a lost worker loses none."""

import os
import signal
import time
from pathlib import Path

import dask
import distributed
import pytest

from lnlib.experiments import sweep
from lnlib.experiments.workers import workers
from lnlib.randomness import VARIABLE, moved

POINTS = [{"x": x} for x in range(8)]


def square(x):
    return {"square": x * x, "seed": moved(x)}


def once_fatal(x, folder):
    """Take the worker down the first time that x is 3."""
    flag = Path(folder, "died")
    if x == 3 and not flag.exists():
        flag.touch()
        time.sleep(0.5)  # others of this worker finish
        os.kill(os.getpid(), signal.SIGKILL)
    return {"square": x * x}


@pytest.fixture(scope="module")
def scheduler():
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster:
        yield cluster.scheduler_address


def test_a_cluster_changes_nothing(tmp_path, scheduler, monkeypatch):
    monkeypatch.setenv(VARIABLE, "100")
    alone = sweep(square, POINTS, tmp_path / "one.jsonl")
    with workers(2) as executor:
        together = sweep(square, POINTS, tmp_path / "two.jsonl", executor)
    with workers(scheduler=scheduler) as executor:
        far = sweep(square, POINTS, tmp_path / "three.jsonl", executor)
    assert alone == together == far
    assert far[3] == {"x": 3, "square": 9, "seed": 103}


def test_a_worker_that_is_killed_loses_nothing(tmp_path, scheduler):
    points = [{**point, "folder": str(tmp_path)} for point in POINTS]
    with workers(scheduler=scheduler) as executor:
        rows = sweep(once_fatal, points, tmp_path / "runs.jsonl", executor)
    assert (tmp_path / "died").exists()
    assert [row["square"] for row in rows] == [x * x for x in range(8)]


def test_no_scheduler_is_a_clear_error():
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(OSError, match=r"127\.0\.0\.1:9"),
        workers(scheduler="tcp://127.0.0.1:9"),
    ):
        pass
