"""Where runs are computed: in processes of this machine, or on a Dask cluster.

Both are executors of `concurrent.futures`, so whoever hands out runs does not ask which it is.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

import torch

from lnlib.randomness import VARIABLE, moved


@contextmanager
def workers(count: int = 1, scheduler: str | None = None) -> Iterator[Executor]:
    """Yield an executor whose runs are computed by several workers.

    Args:
        count: processes of this machine.
        scheduler: the address of a Dask cluster to use instead, as in "tcp://10.0.0.1:8786".
            What a lost worker had begun, another one computes.

    Raises:
        ImportError: if a scheduler is given and Dask is missing.
        OSError: if no scheduler answers there.

    Example:
        >>> with workers(2) as executor:
        ...     executor.submit(abs, -3).result()
        3
    """
    if scheduler is None:
        with ProcessPoolExecutor(count, get_context("spawn")) as executor:
            yield executor
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError(
            "scheduler: Dask is not installed; run `pip install 'lnlib[cluster]'`"
        ) from error
    with Client(scheduler) as client:  # type: ignore[no-untyped-call]
        yield client.get_executor()


def finished(
    run: Callable[..., Any], tasks: dict[Any, dict[str, Any]], executor: Executor
) -> Iterator[tuple[Any, Any]]:
    """Run every task on one thread of a worker; yield its key and its result when it is done.

    Each runs under this process's `LNLIB_SEED`. If one fails or the caller stops, those that have
    not begun are dropped.

    Args:
        run: importable by the workers.
        tasks: for each key the keyword arguments of one run.
        executor: see `workers`.
    """
    futures = {executor.submit(_alone, run, task, moved()): key for key, task in tasks.items()}
    try:
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        for future in futures:
            future.cancel()


def _alone(run: Callable[..., Any], task: dict[str, Any], seed: int) -> Any:
    os.environ[VARIABLE] = str(seed)
    torch.set_num_threads(1)
    return run(**task)
