"""Start the processes of one machine as one group, and let none wait for ever."""

import logging
import multiprocessing
import pickle
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from signal import SIGTERM
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import ProcessException, start_processes

from lnlib.kernels import cpu

LOOPS = ("lnlib.kernels.loops",) if cpu.INSTALLED else ()
START = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


def launch(
    work: Callable[..., Any], *arguments: Any, processes: int = 2, timeout: float = 60.0
) -> list[Any]:
    """Run `work(*arguments)` in several processes of this machine, as one group on gloo.

    A process that dies ends the others. One that is late ends them too: they wait `timeout` for it
    in a collective operation, and this function as long once the first of them is done.

    Args:
        work: a function, also one defined in a notebook.
        arguments: what it is called with, in each process.
        processes: how many.
        timeout: in seconds.

    Returns:
        What `work` returned in each process, in the order of ranks: tensors, numbers, strings, and
        tuples, lists and dicts of them.

    Raises:
        RuntimeError: if a process failed; says which, and how.
        TimeoutError: if one was not done in time; says which.

    Example:
        >>> launch(lambda: dist.get_rank(), processes=2)
        [0, 1]
    """
    import cloudpickle  # what the notebooks need, not who calls layer_norm

    logging.getLogger(start_processes.__module__).setLevel(logging.ERROR)  # our errors say as much
    multiprocessing.set_forkserver_preload([__name__, *LOOPS])  # imported once for all processes
    with tempfile.TemporaryDirectory() as folder:
        start = (processes, timeout, folder, cloudpickle.dumps((work, arguments)))
        context = start_processes(_work, start, processes, join=False, start_method=START)
        deadline = None
        try:
            while not context.join(timeout=0.1):
                late = [rank for rank, p in enumerate(context.processes) if p.is_alive()]
                if deadline is None and len(late) < processes:
                    deadline = time.monotonic() + timeout
                if deadline is not None and time.monotonic() > deadline:
                    raise TimeoutError(
                        f"rank {', '.join(map(str, late))} of {processes} was still at work "
                        f"{timeout:g} s after the first was done; look for a rank that does more "
                        "than the others, or raise timeout"
                    )
        except ProcessException as error:
            rank = _first(error, context.processes, folder)
            how = _how(rank, context.processes[rank].exitcode, folder, timeout)
            message = f"rank {rank} of {processes} {how}; the others were stopped"
            raise RuntimeError(message) from error
        finally:
            for process in context.processes:
                process.kill()
        return [torch.load(Path(folder) / f"{rank}.pt") for rank in range(processes)]


def _first(error: ProcessException, processes: Sequence[Any], folder: str) -> int:
    """Return the rank that failed first: those that wait for it fail as well."""
    told = {int(path.stem): path for path in Path(folder).glob("*.failed")}
    for rank, process in enumerate(processes):
        if process.exitcode not in (None, 0, -SIGTERM) and rank not in told:  # SIGTERM: stopped
            return rank
    if not told:
        return error.error_index
    return min(told, key=lambda rank: told[rank].stat().st_mtime_ns)


def _how(rank: int, exit_code: int, folder: str, timeout: float) -> str:
    told = Path(folder, f"{rank}.failed")
    if not told.exists():
        return f"died with exit code {exit_code}"
    message = told.read_text()
    if "Timed out" in message:
        return f"waited {timeout:g} s for another rank that was late ({message})"
    return f"failed ({message})"


def _work(rank: int, processes: int, timeout: float, folder: str, start: bytes) -> None:
    torch.set_num_threads(1)
    try:
        dist.init_process_group(
            "gloo",
            init_method=f"file://{folder}/meeting",
            rank=rank,
            world_size=processes,
            timeout=timedelta(seconds=timeout),
        )
        dist.barrier()  # one that is done early would close connections that others still make
        work, arguments = pickle.loads(start)
        torch.save(work(*arguments), Path(folder, f"{rank}.pt"))
    except Exception as error:
        message = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
        Path(folder, f"{rank}.failed").write_text(message)
        raise
    dist.destroy_process_group()
