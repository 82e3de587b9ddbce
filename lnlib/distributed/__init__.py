r"""Normalization when a batch, or the features of each example, are spread over processes.

A norm needs communication exactly where a mean crosses processes. Layer norm with whole rows needs
none: data and sequence parallelism leave each token where it is. `layer_norm` is for rows whose
features are spread (tensor parallelism), `batch_norm` for batches that are. Both run on whatever
`torch.distributed` runs on: gloo on CPUs, NCCL on GPUs.

`launch` starts the processes of one machine. `torchrun` starts them on several; this compares the
functions of this module with a single process there:

    torchrun --standalone --nproc-per-node 2 -m lnlib.distributed
"""

import logging
import multiprocessing
import os
import pickle
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributed.tensor import DTensor
from torch.multiprocessing.spawn import ProcessException, ProcessExitedException, start_processes
from torch.utils._python_dispatch import TorchDispatchMode

from lnlib import functional, layout

Norm = Callable[[Tensor], Tensor]
START = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


# --- features spread over processes --------------------------------------------------------------


class _Standardize(torch.autograd.Function):
    """Standardize rows of which each process has some columns; one exchange each way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        width = x.shape[-1]
        var, mean = torch.var_mean(x, -1, correction=0)
        own = torch.cat([mean.flatten(), width * var.flatten(), x.new_tensor([width])])
        received = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(received, own)
        parts = torch.stack(received)
        counts, (means, squares) = parts[:, -1], parts[:, :-1].unflatten(1, (2, -1)).unbind(1)
        count, merged_mean, merged_squares = merge(counts, means, squares)
        rstd = torch.rsqrt(merged_squares / count + eps).view_as(mean).unsqueeze(-1)
        x_hat = (x - merged_mean.view_as(mean).unsqueeze(-1)) * rstd
        ctx.save_for_backward(x_hat, rstd, count)
        return x_hat

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        x_hat, rstd, count = ctx.saved_tensors
        sums = torch.stack([g.sum(-1, keepdim=True), (g * x_hat).sum(-1, keepdim=True)])
        dist.all_reduce(sums)
        mean_g, mean_gx = sums / count
        return rstd * (g - mean_g - x_hat * mean_gx), None


def merge(counts: Tensor, means: Tensor, squares: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""Merge the statistics of the parts of each row.

    $$n=\sum_p n_p,\qquad \mu=\frac1n\sum_p n_p\mu_p,\qquad
    M=\sum_p M_p+\sum_p n_p(\mu_p-\mu)^2$$

    Nothing is subtracted that is large beside the result, unlike in $\sum x^2 - n\mu^2$.

    Args:
        counts: $n_p$, how many values each part has, of shape (P,).
        means: $\mu_p$, of shape (P, N) for N rows.
        squares: $M_p$, each part's sum of squared distances from its own mean, of shape (P, N).

    Returns:
        n, of shape (), μ and M, of shape (N,).

    Example:
        >>> means, squares = torch.tensor([[0.0], [3.0]]), torch.tensor([[0.0], [2.0]])
        >>> merge(torch.tensor([1.0, 2.0]), means, squares)  # of 0 and of 2, 4
        (tensor(3.), tensor([2.]), tensor([8.]))

    Source: Chan, Golub, LeVeque (1983), https://doi.org/10.1080/00031305.1983.10483115.
    """
    count = counts.sum()
    mean = counts @ means / count
    return count, mean, squares.sum(0) + counts @ (means - mean).square()


def layer_norm(
    input: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    r"""Normalize each row over its last axis, of which this process has a part.

    $$y_p = \frac{x_p-\mu}{\sqrt{\sigma^2+\varepsilon}}\odot\gamma_p+\beta_p,\qquad
    \mu,\sigma^2\ \text{from the } (n_p,\mu_p,M_p)\ \text{of all processes}$$

    Forward, each process contributes two numbers a row and one more to one all-gather; `merge` does
    the rest, in the same order everywhere. Backward, the means of δ⊙γ and δ⊙γ⊙x̂ are one all-reduce
    of two numbers a row. The gradients of `weight` and `bias` need none.

    Args:
        input: this process's columns, of shape (..., H_p), H_p ≥ 1; the leading axes are the same
            on every process, H_p may differ.
        weight: γ_p, of shape (H_p,); None for 1.
        bias: β_p, of shape (H_p,); None for 0.
        eps: ε, a variance.

    Returns:
        This process's columns of y, of the input's shape and dtype.

    Raises:
        RuntimeError: if there is no process group.
        TypeError: if `input` is not real floating point.
        ValueError: if a shape does not fit, there is no column, or `eps` is negative.

    Example:
        >>> try:
        ...     layer_norm(torch.ones(2, 3))
        ... except RuntimeError as error:
        ...     print(error)
        there is no process group; call torch.distributed.init_process_group, or run under launch
    """
    if not dist.is_initialized():
        raise RuntimeError(
            "there is no process group; call torch.distributed.init_process_group, "
            "or run under launch"
        )
    layout.check_eps(eps)
    layout.check_input(tuple(input.shape), input.dtype, input.is_floating_point(), 1)
    columns = (input.shape[-1],)
    if not columns[0]:
        raise ValueError(
            f"input must have a column on every process, got the shape {tuple(input.shape)}; "
            "spread the features over fewer processes"
        )
    functional._check_parameters(columns, weight=weight, bias=bias)
    wide = input.to(functional._compute_dtype(input))
    y: Tensor = _Standardize.apply(wide, eps)  # type: ignore[no-untyped-call]
    y = y if weight is None else y * weight
    return (y if bias is None else y + bias).to(input.dtype)


# --- examples spread over processes --------------------------------------------------------------


class _SumOfAll(torch.autograd.Function):
    """The sum of a tensor over all processes; its gradient is summed likewise."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


def _sum_of_all(x: Tensor) -> Tensor:
    total: Tensor = _SumOfAll.apply(x)  # type: ignore[no-untyped-call]
    return total


def batch_norm(input: Tensor, eps: float = 1e-5) -> Tensor:
    r"""Normalize over the batches of all processes, each of which holds a part.

    $$\mu = \frac{\sum_p \sum_{x\in p} x}{\sum_p n_p},\qquad
    \sigma^2 = \frac{\sum_p \sum_{x\in p} (x-\mu)^2}{\sum_p n_p}$$

    Two sums are exchanged forward, the second only after the mean is known, so that no precision
    is lost; their gradients are exchanged backward.

    Args:
        input: this process's part, of shape (N, C); the parts may differ in N.
        eps: ε, a variance.

    Returns:
        y, of the input's shape and dtype.
    """
    count = input.new_tensor(float(len(input)))
    dist.all_reduce(count)
    mean: Tensor = _sum_of_all(input.sum(0)) / count
    centered = input - mean
    variance: Tensor = _sum_of_all(centered.square().sum(0)) / count
    return centered * torch.rsqrt(variance + eps)


METHODS: dict[str, Norm] = {
    "BN, alone": lambda x: functional.batch_norm(x, None, None, training=True),
    "BN, synchronized": batch_norm,
    "LN": lambda x: functional.layer_norm(x, x.shape[1:]),
}


def normalize_in_parts(x: Tensor, dy: Tensor, processes: int = 2) -> dict[str, tuple[Tensor, ...]]:
    """Normalize a batch of which each process has a part, by every method of `METHODS`.

    Args:
        x: the whole batch, of shape (N, C).
        dy: cotangent of the output, of the same shape.
        processes: how many to start on this machine.

    Returns:
        For each method the output and the gradient of the input, of shape (N, C), put together.
    """
    parts = launch(_by_every_method, x, dy, processes=processes)
    return {
        name: tuple(torch.cat(tensors) for tensors in zip(*(p[name] for p in parts), strict=True))
        for name in METHODS
    }


def _by_every_method(x: Tensor, dy: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    found = {}
    for name, norm in METHODS.items():
        part = own(x, 0).clone().requires_grad_()
        y = norm(part)
        (dx,) = torch.autograd.grad(y, part, own(dy, 0))
        found[name] = (y.detach(), dx)
    return found


# --- counting and starting -----------------------------------------------------------------------


def own(x: Tensor, dim: int) -> Tensor:
    """Return this process's part of a tensor that is split along `dim`, as evenly as it goes."""
    return x.tensor_split(dist.get_world_size(), dim)[dist.get_rank()]


class Traffic(TorchDispatchMode):
    r"""Counts the numbers that this process sends in collective operations, forward and backward.

    Of n numbers in each of P processes, a ring sends $(P-1)\,n$ for an all-gather and
    $2\,\frac{P-1}{P}\,n$ for an all-reduce; a reduce-scatter and a broadcast are not known.

    Attributes:
        calls: the name of each operation with its n, in order.

    Example:
        with Traffic() as traffic:
            layer_norm(x)
        traffic.calls  # [("all-gather", 2 * len(x) + 1)]

    Source: Thakur, Rabenseifner, Gropp (2005), https://doi.org/10.1177/1094342005051521.
    """

    OPERATIONS: ClassVar = {  # which argument is sent
        "c10d::allreduce_": ("all-reduce", 0),
        "c10d::allgather_": ("all-gather", 1),
        "_c10d_functional::all_reduce": ("all-reduce", 0),
        "_c10d_functional::all_gather_into_tensor": ("all-gather", 0),
    }

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[tuple[str, int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: D105
        if DTensor in types:  # its own operations on plain tensors come by again
            return NotImplemented
        known = self.OPERATIONS.get(func.name().split(".")[0])
        if known:
            name, position = known
            sent = args[position]
            tensors = [sent] if isinstance(sent, Tensor) else sent
            self.calls.append((name, sum(t.numel() for t in tensors)))
        return func(*args, **(kwargs or {}))

    @property
    def numbers(self) -> float:
        """How many numbers this process sent, if the operations are rings."""
        P = dist.get_world_size()
        price = {"all-gather": P - 1, "all-reduce": 2 * (P - 1) / P}
        return sum(price[name] * n for name, n in self.calls)


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
    multiprocessing.set_forkserver_preload([__name__])  # imports torch once for all processes
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
            rank = error.error_index
            raise RuntimeError(
                f"rank {rank} of {processes} {_how(error, timeout)}; the others were stopped"
            ) from error
        finally:
            for process in context.processes:
                process.kill()
        return [torch.load(Path(folder) / f"{rank}.pt") for rank in range(processes)]


def _how(error: ProcessException, timeout: float) -> str:
    if isinstance(error, ProcessExitedException):
        return f"died with exit code {error.exit_code}"
    message = str(error).strip().splitlines()[-1]
    if "Timed out" in message:
        return f"waited {timeout:g} s for another rank that was late ({message})"
    return f"failed ({message})"


def _work(rank: int, processes: int, timeout: float, folder: str, start: bytes) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=processes,
        timeout=timedelta(seconds=timeout),
    )
    work, arguments = pickle.loads(start)
    torch.save(work(*arguments), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def main() -> None:
    """Compare the functions of this module with a single process; run it under torchrun."""
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo", timeout=timedelta(seconds=60)
    )
    x, dy = torch.randn(
        2, 64, 1000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    ).to(device)
    cases: dict[str, tuple[Norm, Norm, int]] = {
        "layer_norm, features spread": (lambda x: functional.layer_norm(x, (1000,)), layer_norm, 1),
        "batch_norm, examples spread": (METHODS["BN, alone"], batch_norm, 0),
    }
    for name, (whole, spread, dim) in cases.items():
        reference = x.clone().requires_grad_()
        y = whole(reference)
        (dx,) = torch.autograd.grad(y, reference, dy)
        part = own(x, dim).clone().requires_grad_()
        with Traffic() as traffic:
            y_part = spread(part)
            (dx_part,) = torch.autograd.grad(y_part, part, own(dy, dim))
        torch.testing.assert_close(y_part, own(y, dim), rtol=0, atol=1e-12)
        torch.testing.assert_close(dx_part, own(dx, dim), rtol=0, atol=1e-12)
        if dist.get_rank() == 0:
            print(f"{name}: as in one process; sent by each {traffic.numbers:.0f} numbers")
    dist.destroy_process_group()
