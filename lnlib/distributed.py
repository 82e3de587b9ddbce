r"""Normalization when a batch is spread over processes.

Layer norm needs nothing: each example is where it is. Batch norm needs the statistics of examples
that are elsewhere, hence communication in the forward and in the backward pass.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from lnlib import functional

Norm = Callable[[Tensor], Tensor]


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
    count = torch.tensor(float(len(input)), dtype=input.dtype)
    dist.all_reduce(count)
    mean: Tensor = _sum_of_all(input.sum(0)) / count
    centred = input - mean
    variance: Tensor = _sum_of_all(centred.square().sum(0)) / count
    return centred * torch.rsqrt(variance + eps)


METHODS: dict[str, Norm] = {
    "BN, alone": lambda x: functional.batch_norm(x, None, None, training=True),
    "BN, synchronised": batch_norm,
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
    with tempfile.TemporaryDirectory() as folder:
        spawn(_work, (processes, folder, x, dy), nprocs=processes)
        parts = [torch.load(Path(folder) / f"{rank}.pt") for rank in range(processes)]
    return {
        name: tuple(torch.cat(tensors) for tensors in zip(*(p[name] for p in parts), strict=True))
        for name in METHODS
    }


def _work(rank: int, processes: int, folder: str, x: Tensor, dy: Tensor) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=processes
    )
    found = {}
    for name, norm in METHODS.items():
        part = x.tensor_split(processes)[rank].clone().requires_grad_()
        y = norm(part)
        (dx,) = torch.autograd.grad(y, part, dy.tensor_split(processes)[rank])
        found[name] = (y.detach(), dx)
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()
