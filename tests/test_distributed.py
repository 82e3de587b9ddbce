"""Normalization over processes: equal to one process, counted, and never a hang."""

import os
import subprocess
import sys
import time
from functools import partial

import pytest
import torch
import torch.distributed as dist

from lnlib import distributed, functional
from lnlib.distributed import processes

PROCESSES = (2, 4)


def whole(x, dy, weight, bias, eps):
    leaves = [t.clone().requires_grad_() for t in (x, weight, bias)]
    y = functional.layer_norm(leaves[0], (x.shape[-1],), *leaves[1:], eps)
    return y.detach(), *torch.autograd.grad(y, leaves, dy)


def in_parts(x, dy, weight, bias, eps):
    leaves = [distributed.own(t, -1).clone().requires_grad_() for t in (x, weight, bias)]
    with distributed.Sent() as sent:
        y = distributed.layer_norm(*leaves, eps)
        gradients = torch.autograd.grad(y, leaves, distributed.own(dy, -1))
    return (y.detach(), *gradients), sent.calls, sent.numbers


def several(cases):
    return [in_parts(*case) for case in cases]


def case(*shape, eps, dtype=torch.float64, offset=0.0):
    generator = torch.Generator().manual_seed(0)
    x, dy = torch.randn(2, *shape, dtype=torch.float64, generator=generator)
    weight, bias = torch.randn(2, shape[-1], dtype=torch.float64, generator=generator)
    return *((t + o).to(dtype) for t, o in ((x, offset), (dy, 0), (weight, 0), (bias, 0))), eps


CASES = {
    "a row": case(7, eps=1e-5),
    "rows": case(6, 8, eps=0.3),
    "tokens, uneven": case(2, 3, 9, eps=0.3),
    "one column each": case(5, 4, eps=0.3),
    "float32, far from zero": case(6, 64, eps=1e-5, dtype=torch.float32, offset=1e4),
    "bfloat16": case(6, 8, eps=0.3, dtype=torch.bfloat16),
}


@pytest.fixture(scope="module", params=PROCESSES)
def results(request):
    """Every case on every process, from one start of the processes."""
    parts = distributed.launch(several, [*CASES.values()], processes=request.param)
    return request.param, dict(zip(CASES, zip(*parts, strict=True), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_spread_features_give_what_one_process_gives(results, name):
    _, found = results
    x, dy, *rest = CASES[name]
    expected = whole(x.double(), dy.double(), *(t.double() for t in rest[:2]), rest[2])
    eps = 1e-13 if x.dtype == torch.float64 else torch.finfo(x.dtype).eps
    for position, reference in enumerate(expected):
        got = torch.cat([tensors[position] for tensors, *_ in found[name]], -1)
        assert got.dtype == x.dtype
        largest = max(x.abs().max().item(), reference.abs().max().item())  # the mean is rounded
        torch.testing.assert_close(got.double(), reference, rtol=eps, atol=4 * eps * largest)


@pytest.mark.parametrize("name", CASES)
def test_two_numbers_a_row_travel_each_way(results, name):
    processes, found = results
    rows = CASES[name][0].numel() // CASES[name][0].shape[-1]
    for _, calls, numbers in found[name]:
        assert calls == [("all-gather", 2 * rows + 1), ("all-reduce", 2 * rows)]
        ring = (processes - 1) * (2 * rows + 1) + 2 * (processes - 1) / processes * 2 * rows
        assert numbers == pytest.approx(ring)


def misfits():
    x = torch.ones(2, 3)
    found = []
    for arguments in (
        (x, torch.ones(2)),
        (x, None, torch.ones(4)),
        (x, None, None, -1.0),
        (x.long(),),
        (torch.ones(2, 0),),
    ):
        try:
            distributed.layer_norm(*arguments)
        except (TypeError, ValueError) as error:
            found.append(str(error))
    return found


def test_misfits_are_named_before_anything_is_sent():
    (messages,) = distributed.launch(misfits, processes=1)
    for message, word in zip(messages, ("weight", "bias", "eps", "input", "column"), strict=True):
        assert word in message


@pytest.mark.parametrize("processes", PROCESSES)
@pytest.mark.parametrize("method", distributed.METHODS)
def test_batches_in_parts(method, processes):
    generator = torch.Generator().manual_seed(0)
    x, dy = torch.randn(2, 13, 5, dtype=torch.float64, generator=generator)
    norm = distributed.METHODS["LN" if method == "LN" else "BN, alone"]
    x_whole = x.clone().requires_grad_()
    y = norm(x_whole)
    expected = y, torch.autograd.grad(y, x_whole, dy)[0]
    found = distributed.normalize_in_parts(x, dy, processes)[method]
    for part, reference in zip(found, expected, strict=True):
        error = (part - reference).abs().max().item()
        assert (error < 1e-12) == (method != "BN, alone")
    if method == "BN, alone":  # each normalizes with its own part
        first = norm(x.tensor_split(processes)[0])
        torch.testing.assert_close(found[0][: len(first)], first, rtol=0, atol=1e-12)


def no_data():
    raise ValueError("no data")


def with_a_fault(fault, others_wait):
    if dist.get_rank() == 1:
        fault()
    if others_wait:
        dist.all_reduce(torch.ones(1))


SLEEP = partial(time.sleep, 600)


@pytest.mark.parametrize(
    ("fault", "others_wait", "error", "message"),
    [
        (
            partial(os._exit, 3),
            True,
            RuntimeError,
            "rank 1 of 2 died with exit code 3; the others were stopped",
        ),
        (no_data, True, RuntimeError, r"rank 1 of 2 failed \(ValueError: no data\); the others"),
        (SLEEP, True, RuntimeError, "rank 0 of 2 waited 2 s for another rank that was late"),
        (SLEEP, False, TimeoutError, "rank 1 of 2 was still at work 2 s after the first was done"),
    ],
    ids=["dies", "raises", "comes late", "never ends"],
)
def test_a_rank_that_is_missing_ends_in_an_error(fault, others_wait, error, message):
    begin = time.monotonic()
    with pytest.raises(error, match=message):
        distributed.launch(with_a_fault, fault, others_wait, timeout=2.0)
    assert time.monotonic() - begin < 120  # it would have slept for 600 s


@pytest.mark.parametrize(
    ("fault", "message"),
    [(partial(os._exit, 3), "rank 1 of 2 died with exit code 3"), (no_data, "rank 1 of 2 failed")],
    ids=["dies", "raises"],
)
def test_who_failed_first_is_blamed_when_all_are_found_dead(fault, message, monkeypatch):
    start = processes.start_processes

    def start_and_look_late(*arguments, **options):
        context = start(*arguments, **options)
        for process in context.processes:
            process.join(100)
        return context

    monkeypatch.setattr(processes, "start_processes", start_and_look_late)
    with pytest.raises(RuntimeError, match=message):
        distributed.launch(with_a_fault, fault, True)


@pytest.mark.parametrize("processes", PROCESSES)
def test_runs_under_torchrun(processes):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(processes), "-m", "lnlib.distributed"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert len(lines) == 2
    assert all("as in one process" in line for line in lines)
